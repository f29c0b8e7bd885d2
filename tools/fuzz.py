"""Broken inputs for every command: each must end well, or with one message of stt-ft's, and touch nothing that it was not given.

    python tools/fuzz.py --count 20000                     all of it; --state FILE goes on where it was stopped
    python tools/fuzz.py --only 4711 --keep                one seed again, with the traceback, and what it worked on kept

A seed decides all of a case: a command, which of its input files are damaged and how, and which of its flags are changed. Commands run in
this process, on clips of a few seconds and a model of random weights. A case fails by a traceback, by taking over 20 s, by an end of the
process, or by a change beside the folder that it works in. Causes are told apart by the exception and the line of stt_ft it came from.
Coverage-guided fuzzers (atheris) want a compiler's help in every library below; seeds and knowledge of the formats have found more here.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import inspect
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HANG_S = 20
BLOCK = 25
"""Seeds that a worker is given at a time."""

MAX_MEMORY = 12 << 30

# --- What is run --------------------------------------------------------------------------------------------------------------------

DATASET = ("work/data/*.jsonl", "work/data/audio/*.json", "work/data/dataset.yaml", "work/data/audio/*.wav")
MODEL = ("work/model/*",)
RUN = ("work/run/args.yaml", "work/run/*.jsonl", "work/run/checkpoints/*/*/*")
REPORT = ("work/report/report.json", "work/report/frames.jsonl", "work/report/frames.dev.jsonl")


@dataclass(frozen=True)
class Line:
    """A command line, how often it is drawn, and the files it reads, one of which at least is damaged."""

    words: str
    weight: float
    inputs: tuple[str, ...] = ()


LINES = (
    Line("ingest work/corpora/folder --out work/new", 4, ("work/corpora/folder/*", "work/corpora/folder/*")),
    Line("ingest work/corpora/kaldi --out work/new", 3, ("work/corpora/kaldi/*",)),
    Line("ingest work/corpora/nemo.jsonl --out work/new", 3, ("work/corpora/nemo.jsonl",)),
    Line("ingest work/corpora/cv --out work/new", 3, ("work/corpora/cv/*.tsv", "work/corpora/cv/clips/*")),
    Line("ingest work/corpora/cuts.jsonl.gz --out work/new", 3, ("work/corpora/cuts.jsonl.gz",)),
    Line("ingest work/data --out work/new", 3, DATASET),
    Line("ingest work/corpora/folder --out work/data", 2, ("work/corpora/folder/*", *DATASET)),
    Line("annotate work/data --aligner sphinx", 1.5, DATASET),
    Line("convert work/data --norealign", 5, DATASET),
    Line("convert work/data --style auto", 3, DATASET),
    Line("check work/data", 5, DATASET),
    Line("check work/data --base work/model --json", 4, (*DATASET, *MODEL)),
    Line("check work/data --html work/page.html", 2, DATASET),
    Line("split work/data --by both --dev 0.3 --heldout 0.3", 4, DATASET),
    Line("synthesize work/script.yaml --out work/new --count 1", 2, ("work/script.yaml",)),
    Line("synthesize work/data --out work/data --count 1", 1, DATASET),
    Line("encode work/data --base work/model --device cpu", 4, (*DATASET, *MODEL, "work/data/tokens/*/*")),
    Line("train work/recipe.yaml", 5, ("work/recipe.yaml", *DATASET, "work/data/tokens/*/*", *MODEL)),
    Line("train work/recipe.yaml --run_dir work/run", 3, RUN),
    Line("merge work/run --out work/new", 4, (*RUN, *MODEL)),
    Line("merge work/run --out work/model2 --last 2 --overwrite", 1, RUN),
    Line("export work/model --out work/new", 4, MODEL),
    Line("export work/model --out work/new --format transformers", 1, MODEL),
    Line("export work/model --out work/new --format gguf", 1, MODEL),
    Line("export work/model --out work/new --format mlx", 1, MODEL),
    Line("push work/model a/b --dry_run --report work/report --dataset work/data", 3, (*MODEL, *REPORT, *DATASET)),
    Line("transcribe work/model work/data/audio/train_000.wav --device cpu --pauses --json", 3, (*MODEL, "work/data/audio/train_000.wav")),
    Line("transcribe work/model work/corpora/folder --device cpu --srt --written", 2, ("work/corpora/folder/*",)),
    Line("evaluate work/model work/data --out work/new --device cpu --nosilero", 2, (*MODEL, *DATASET, "work/data/tokens/*/*")),
    Line("evaluate work/model work/data --out work/report --run_dir work/run --device cpu --set_on none", 1, (*RUN, *REPORT)),
    Line("gate work/report", 4, REPORT),
    Line("gate work/report --config work/gate.yaml --junit work/junit.xml", 4, (*REPORT, "work/gate.yaml")),
    Line("run work/recipe.yaml --annotate.aligner sphinx", 0.5, ("work/recipe.yaml", *DATASET, "work/gate.yaml")),
    Line("init work/new", 0.5, ("work/new/*",)),
    Line("record --script work/script.yaml --out work/data --speaker zoe", 2, ("work/script.yaml", *DATASET)),
    Line("record --make_script digits --count 3 --script work/new.yaml", 1),
    Line("doctor", 0.1),
)

WRITES = ("out", "html", "junit", "run_dir", "directory", "script", "workdir")
"""Parameters that name a place to write: the person at the keyboard may name any, so they are only given places in the folder."""

CHOSEN = ("recipe.yaml", "args.yaml")
"""Files whose paths are chosen by whoever trains, who may name any place."""

PLACES = ("work/data", "work/data/train.jsonl", "work/new/deep", "work", "", "x" * 300, "work/missing/../new", "/dev/full", "work/é 😀")


def make_template(root: Path) -> None:
    """Fill `root` with one of each: a dataset that has been through every stage, corpora, a model, a run, a report, recipe and script."""
    import soundfile

    from stt_ft.cli import main
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.provenance import file_sha256
    from stt_ft.simulation.casting import HELDOUT_CAST, TUNING_CAST
    from stt_ft.simulation.takes import TakePlan, write_takes

    work, corpora = root / "work", root / "work" / "corpora"
    data, used = Dataset(work / "data"), set[str]()
    for split, kind, count, cast in (
        ("train", "number", 2, TUNING_CAST),
        ("dev", "number", 1, TUNING_CAST),
        ("heldout", "number", 1, HELDOUT_CAST),
    ):
        plan = TakePlan(split=split, kind=kind, count=count, cast=cast)
        data.write_clips(split, list(write_takes(data, plan, seed=3, used_digits=used)))
    data.write_info({"name": "data", "language": "en", "sessions": [{"speaker": "zoe", "room": "kitchen"}]})
    names = {path.stem: path for path in (work / "data" / "audio").glob("*.wav")}
    sound, rate = soundfile.read(str(next(iter(sorted(names.values())))), dtype="float32")
    sound = sound[: rate * 2]

    folder = corpora / "folder"
    folder.mkdir(parents=True)
    for index, suffix in enumerate(("wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64")):
        soundfile.write(str(folder / f"{suffix}.{suffix}"), sound[index * 100 :], rate)
    soundfile.write(str(folder / "stereo.wav"), sound.repeat(2).reshape(-1, 2)[50:], rate)
    if shutil.which("ffmpeg"):
        for suffix in ("m4a", "webm", "opus"):
            command = ["ffmpeg", "-v", "error", "-i", str(folder / "wav.wav"), "-t", f"1.{len(suffix)}", str(folder / f"{suffix}.{suffix}")]
            subprocess.run(command, check=True)
    (folder / "wav.txt").write_text("order number 41")
    (folder / "flac.json").write_text(
        json.dumps({"text": "order 41", "speaker": "zoe", "alignments": [["order", [0.1, 0.4], "SPEAKER_MAIN"]]})
    )
    kaldi = corpora / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text("rec1 ../folder/wav.wav\nrec2 ../folder/flac.flac\n")
    (kaldi / "segments").write_text("utt1 rec1 0.0 1.0\nutt2 rec1 1.0 1.9\nutt3 rec2 0.1 1.5\n")
    (kaldi / "text").write_text("utt1 order 41\nutt2 two three\nutt3 hello\n")
    (kaldi / "utt2spk").write_text("utt1 a\nutt2 a\nutt3 b\n")
    rows = [
        {"audio_filepath": f"folder/{name}", "duration": 1.0, "offset": at, "text": "order 41", "speaker": 3}
        for name, at in (("wav.wav", 0), ("wav.wav", 1), ("ogg.ogg", 0.5))
    ]
    (corpora / "nemo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (corpora / "cv" / "clips").mkdir(parents=True)
    shutil.copy(folder / "mp3.mp3", corpora / "cv" / "clips" / "a.mp3")
    shutil.copy(folder / "wav.wav", corpora / "cv" / "clips" / "b.wav")
    (corpora / "cv" / "train.tsv").write_text("client_id\tpath\tsentence\nx1\ta.mp3\torder 41\nx2\tb.wav\thello\n")
    word = {"symbol": "order", "start": 0.2, "duration": 0.3, "score": None}
    said = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.5, "text": "order", "speaker": "a", "alignment": {"word": [word]}}
    source = {"type": "file", "channels": [0], "source": "folder/wav.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": rate, "num_samples": len(sound), "duration": len(sound) / rate}
    cut = {"id": "c", "start": 0.2, "duration": 1.5, "channel": 0, "supervisions": [said], "recording": recording, "type": "MonoCut"}
    (corpora / "cuts.jsonl.gz").write_bytes(gzip.compress(json.dumps(cut).encode() + b"\n", mtime=0))

    (work / "script.yaml").write_text(
        'language: en\nprompts:\n  - {id: a_1, kind: number, say: "order 4107382"}\n  - {id: b, say: "hello there", direction: "slowly"}\n'
    )
    (work / "gate.yaml").write_text(
        "checks:\n  numbers.false_cut_offs: {max: 0.5, max_ratio: 0.9}\n  numbers.digit_strings_exact: {min: 0.0, max_drop: 0.1}\n"
    )
    recipe = "dataset: work/data\nrun_dir: work/new_run\nbase: work/model\nprecision: float32\ndevice: cpu\nthreads: 1\nlora: {rank: 2}\n"
    recipe += "schedule: {max_steps: 2}\nbatch: {batch_size: 2}\nvalidation: {every_steps: 1}\ncheckpoint: {keep: null}\n"
    (work / "recipe.yaml").write_text(recipe)
    _tool("make_random_base").make_random_base(work / "model")
    outside = root / "outside"
    outside.mkdir()
    shutil.copy(folder / "wav.wav", outside / "secret.wav")
    (outside / "secret.json").write_text(json.dumps({"alignments": [["41", [0.1, 0.4], "SPEAKER_MAIN"]]}))
    (outside / "secret.txt").write_text("secret")
    with _inside(root):
        for line in (
            "annotate work/data --aligner sphinx",
            "convert work/data",
            "encode work/data --base work/model --device cpu",
            "train work/recipe.yaml --run_dir work/run",
            "merge work/run --out work/model2",
            "evaluate work/model2 work/data --out work/report --baseline work/model --run_dir work/run --device cpu --nosilero",
        ):
            if main(line.split()) not in (0, 1):
                raise SystemExit(f"the template cannot be made: stt-ft {line}")
    sums = (f"{file_sha256(work / 'model' / name)}  {name}\n" for name in ("mimi.safetensors", "model.safetensors", "tokenizer.model"))
    (work / "model" / "SHA256SUMS").write_text("".join(sums))


@contextlib.contextmanager
def _inside(directory: Path) -> Any:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _tool(name: str) -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- How files are damaged ------------------------------------------------------------------------------------------------------------

WORDS = (
    "",
    "x",
    "é",
    "\ud800",
    "\0",
    "a\nb",
    "-1",
    "1e999",
    "NaN",
    "x" * 5000,
    "order 41",
    "😀",
    "SPEAKER_01",
    "hf://a",
    "hf://",
    "a/..",
    "~",
    "a/b",
    "true",
    "http://[",
    "Infinity",
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    3.5,
    -0.0,
    1e-9,
    1e9,
    1e12,
    1e300,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    float("nan"),
    float("inf"),
    float("-inf"),
    0.1,
)
ESCAPES = (
    "../outside/secret.wav",
    "../../outside/secret.wav",
    "../../outside/made",
    "{root}/outside/secret.wav",
    "{root}/outside",
    "/etc/passwd",
    "/dev/zero",
    "audio/../../../outside/secret.wav",
)


def strange(rng: random.Random, root: Path | None) -> Any:
    """Return a value of any JSON type that a program may not expect; without `root` none that leads out of the folder."""
    return rng.choice(
        [
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(WORDS),
            lambda: rng.choice(ESCAPES).format(root=root) if root else rng.choice(WORDS),
            lambda: rng.choice([None, True, False, [], {}, [[]], [None] * 3, {"a": {"b": []}}, ["x", [0, 1]], [1, 2], [0.1, 1e400]]),
        ]
    )()


def other_value(rng: random.Random, value: Any, root: Path | None) -> Any:
    """Return `value`, made of dictionaries and lists, with one value in it replaced, left out, renamed or doubled."""
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        inner = stack.pop()
        for key in list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            stack.append(inner[key])
    if not places or rng.random() < 0.02:
        return strange(rng, root)
    container, key = rng.choice(places)
    act = rng.random()
    if act < 0.7:
        old = container[key]
        near = isinstance(old, (int, float)) and not isinstance(old, bool) and rng.random() < 0.5
        container[key] = rng.choice(NUMBERS) if near else strange(rng, root)
    elif act < 0.85:
        del container[key]
    elif isinstance(container, dict):
        container[rng.choice(WORDS)] = container.pop(key)
    else:
        container.insert(key, container[key])
    return value


def broken_bytes(rng: random.Random, content: bytes, root: Path | None) -> bytes:
    """Return `content` with a few bytes changed, cut, doubled or put in."""
    content = bytearray(content)
    near_start = rng.random() < 0.5
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(max(1, min(len(content), 128 if near_start else len(content))))
        act = rng.randrange(6)
        if act == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif act == 1:
            del content[at : at + rng.choice((1, 2, 4, 100, len(content)))]
        elif act == 2:
            content[at:at] = content[max(0, at - 40) : at] * 2
        elif act == 3:
            content[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\x80\0\0\0"))
        elif act == 4:
            content[at:at] = rng.choice(
                (b"\xef\xbb\xbf", b"\xff", b"\r\n", b"\0", b"\n\n", b"{", b"[" * 2000, b"\xed\xa0\x80", b'"', b"9" * 500)
            )
        else:
            content[at : at + rng.randrange(30)] = json.dumps(strange(rng, root)).encode(errors="replace")
    return bytes(content)


def broken_text(rng: random.Random, path: Path, content: bytes, root: Path | None) -> bytes:
    """Return JSON, JSON lines, YAML or a table with one value replaced: well-formed, and wrong."""
    if path.suffix == ".gz":
        return gzip.compress(broken_text(rng, path.with_suffix(""), gzip.decompress(content), root), mtime=0)
    if path.suffix == ".yaml":
        import yaml

        return yaml.safe_dump(other_value(rng, yaml.safe_load(content), root), allow_unicode=True).encode(errors="surrogatepass")
    if path.suffix == ".json":
        return json.dumps(other_value(rng, json.loads(content), root)).encode(errors="surrogatepass")
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    if path.suffix == ".jsonl":
        lines[at] = json.dumps(other_value(rng, json.loads(lines[at]), root))
    else:
        cells = lines[at].split("\t" if "\t" in lines[at] else " ")
        cells[rng.randrange(len(cells))] = str(strange(rng, root))
        lines[at] = ("\t" if "\t" in lines[at] else " ").join(cells)
    return "\n".join(lines).encode(errors="surrogatepass") + b"\n"


def broken_tensors(rng: random.Random, content: bytes, root: Path | None) -> bytes:
    """Return a safetensors file with another header, its length right or not, or with other numbers."""
    (length,) = struct.unpack("<Q", content[:8])
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.2:
        at = rng.randrange(max(1, len(numbers) - 4))
        return (
            content[: 8 + length] + numbers[:at] + rng.choice((b"\xff\xff\xff\xff", b"\0\0\xc0\x7f", b"\0\0\x80\x7f")) + numbers[at + 4 :]
        )
    text = json.dumps(other_value(rng, header, root)).encode(errors="replace")
    text += b" " * (-len(text) % 8)
    said = rng.choice((0, 2**63, len(text) - 8, 10**9)) if rng.random() < 0.1 else len(text)
    return struct.pack("<Q", said) + text + numbers


def damage(rng: random.Random, path: Path, root: Path) -> str:
    """Damage the file at `path`, and return how."""
    act = rng.random()
    content = path.read_bytes()
    away = None if path.name in CHOSEN else root
    is_text = path.suffix in (".json", ".jsonl", ".yaml", ".gz", ".tsv", ".txt", ".scp", "")
    if act < 0.12:
        path.unlink()
        how = rng.choice(("removed", "a folder", "a link outside", "a link to nothing", "a link to itself", "unreadable", "empty"))
        if how == "a folder":
            path.mkdir()
        elif how.startswith("a link"):
            inside = {"a link outside": root / "outside" / f"secret{path.suffix}", "a link to itself": path}
            path.symlink_to(inside.get(how, root / "nothing"))
        elif how != "removed":
            path.write_bytes(b"" if how == "empty" else content)
            path.chmod(0 if how == "unreadable" else 0o644)
        return how
    if path.suffix == ".safetensors" and act < 0.7:
        with contextlib.suppress(Exception):  # what is damaged already may not be read any more
            path.write_bytes(broken_tensors(rng, content, root))
            return "another header"
    if is_text and act < 0.7:
        with contextlib.suppress(Exception):
            path.write_bytes(broken_text(rng, path, content, away))
            return "another value"
    path.write_bytes(broken_bytes(rng, content, away))
    return "other bytes"


# --- A case ---------------------------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """How a case ended: `cause` is empty where it went well."""

    seed: int
    line: str
    damage: list[str] = field(default_factory=list)
    cause: str = ""
    detail: str = ""
    seconds: float = 0.0


def changed_flags(rng: random.Random, words: list[str], root: Path) -> list[str]:
    """Return a command line with a flag added or changed."""
    from stt_ft.cli import parameters_of
    from stt_ft.core.config import describe
    from stt_ft.core.recipe import Recipe
    from stt_ft.stages import COMMANDS, stage

    names = [p.name for p in parameters_of(stage(words[0])) if p.kind is inspect.Parameter.KEYWORD_ONLY]
    keys = [doc.key for doc in describe(Recipe)] if COMMANDS[words[0]].takes_recipe else []
    if not names + keys:
        return words
    name = rng.choice(names + keys)
    if name in ("mic", "list_devices", "command") or (name == "device" and words[0] == "record"):
        return words
    if name in WRITES:
        value = rng.choice(PLACES)
    elif rng.random() < 0.3:
        value = rng.choice(
            (
                "0.5",
                "2",
                "auto",
                "cpu",
                "cuda",
                "en",
                "fr",
                "fr-be",
                "speaker",
                "clip",
                "none",
                "dev",
                "train",
                "true",
                "false",
                "phone,20dB",
                "1,2",
                "[1, 2]",
                "{a: 1}",
                "off",
                "full",
            )
        )
    else:
        value = str(strange(rng, None)).replace("\0", "")
    value = value.encode(errors="replace").decode()
    kept = [word for word in words if not word.startswith(f"--{name}=")]
    for index, word in enumerate(kept[:-1]):
        if word == f"--{name}":
            kept = kept[:index] + kept[index + 2 :]
            break
    return [*kept, f"--{name}={value}"]


def run_case(seed: int, template: Path, root: Path, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run the case of `seed` in the empty directory `root`."""
    from stt_ft import cli

    rng = random.Random(seed)
    shutil.copytree(template, root, dirs_exist_ok=True, symlinks=True)
    line = rng.choices(LINES, [line.weight for line in LINES])[0]
    words = line.words.split()
    done: list[str] = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        files = sorted(path for path in root.glob(rng.choice(line.inputs)) if path.is_file()) if line.inputs else []
        if files:
            path = rng.choice(files)
            done.append(f"{path.relative_to(root)}: {damage(rng, path, root)}")
    while rng.random() < (0.25 if done else 0.8):
        words = changed_flags(rng, words, root)
    outcome = Outcome(seed=seed, line=" ".join(words)[:500], damage=done)
    before, begin_s = listing(root), time.monotonic()
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    say(outcome.line)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _inside(root):
            code = cli.main(words)
        if code not in (0, 1, 2):
            outcome.cause = f"exit {code}"
        elif code and err.getvalue().count("\nstt-ft: ") + err.getvalue().startswith("stt-ft: ") != 1:
            outcome.cause = f"exit {code} with other than one message"
        elif "Traceback" in err.getvalue():
            outcome.cause = "a traceback in what is said"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome.cause, outcome.detail = cause_of(error), traceback.format_exc()
    outcome.seconds = time.monotonic() - begin_s
    changed = sorted(set(listing(root).items()) ^ set(before.items()))
    if changed and not outcome.cause:
        outcome.cause = f"{words[0]} changed what lies outside: {changed[0][0]}"
    outcome.detail = outcome.detail or err.getvalue()[-2000:]
    return outcome


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of every file outside the folder that is worked in."""
    outside = {str(path.relative_to(root)): path.lstat() for path in (root / "outside").rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in outside.items()}


def cause_of(error: BaseException) -> str:
    """Return the exception and the last line of stt_ft in its traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "stt_ft" in Path(frame.filename).parts]
    at = frames[-1] if frames else None
    place = "" if at is None else f" at {'/'.join(Path(at.filename).parts[-2:])}:{at.lineno} ({at.name})"
    return f"{type(error).__name__}{place}: {' '.join(str(error).split())[:100]}"


# --- Many cases -----------------------------------------------------------------------------------------------------------------------


def prepare_process() -> None:
    """Bound the memory of this process, give it nothing to read from, and let it not wait for the disk."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.fsync = lambda _file: None
    sys.stdin = io.StringIO()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries say


def worker(connection: Connection, template: Path, place: Path) -> None:
    """Do the seeds that come through `connection`, and send back before each its number and line, and after it its outcome."""
    prepare_process()
    while (seeds := connection.recv()) is not None:
        for seed in seeds:
            root = Path(tempfile.mkdtemp(dir=place))
            connection.send(("begin", seed, ""))
            outcome = run_case(seed, template, root, say=lambda line, seed=seed: connection.send(("line", seed, line)))
            for path in [root, *root.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o755)
            shutil.rmtree(root, ignore_errors=True)
            connection.send(("end", seed, outcome))
        connection.send(("block", seeds[0], None))


class Worker:
    """A process that does cases, watched from outside."""

    def __init__(self, template: Path, place: Path) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(target=worker, args=(theirs, template, place), daemon=True)
        self.process.start()
        theirs.close()
        self.seeds: list[int] = []
        self.seed, self.line, self.since_s = -1, "", time.monotonic()

    def give(self, seeds: list[int]) -> None:
        self.seeds, self.since_s = seeds, time.monotonic()
        self.connection.send(seeds)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def fuzz(seeds: list[int], *, workers: int, state: Path | None) -> list[Outcome]:
    """Do the cases of all `seeds` that `state` does not know, print failures as they come, and return them, those of `state` too."""
    known = [json.loads(line) for line in state.read_text().splitlines()] if state and state.exists() else []
    done = {seed for entry in known if "done" in entry for seed in entry["done"]}
    failures = [Outcome(**entry) for entry in known if "cause" in entry]
    blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
    blocks = [left for block in blocks if (left := [seed for seed in block if seed not in done])]
    slow: Counter[int] = Counter()
    num_done, begin_s = 0, time.monotonic()

    def note(entry: dict[str, Any]) -> None:
        if state:
            with state.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def failed(outcome: Outcome) -> None:
        failures.append(outcome)
        note(vars(outcome))
        print(f"seed {outcome.seed}: {outcome.cause}\n    stt-ft {outcome.line}\n    {'; '.join(outcome.damage)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="stt-ft-fuzz-", ignore_cleanup_errors=True) as directory:
        place, template = Path(directory) / "cases", Path(directory) / "template"
        for path in (place, template):
            path.mkdir()
        os.environ.update(HOME=directory, MPLCONFIGDIR=directory, XDG_CACHE_HOME=directory, OMP_NUM_THREADS="1")
        maker = multiprocessing.get_context("fork").Process(target=_make_template, args=(template,))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit("fuzz: the template cannot be made")
        print(f"template made in {time.monotonic() - begin_s:.1f} s", flush=True)
        hands = [Worker(template, place) for _ in range(workers)]
        busy: list[Worker] = []
        while blocks or busy:
            while blocks and len(busy) < workers:
                hand = next(one for one in hands if one not in busy)
                hand.give(blocks.pop(0))
                busy.append(hand)
            for hand in list(busy):
                try:
                    ended = False
                    while not ended and hand.connection.poll(0.02):
                        kind, seed, what = hand.connection.recv()
                        hand.seed, hand.since_s = seed, time.monotonic()
                        hand.line = what if kind == "line" else hand.line
                        if kind == "end":
                            num_done += 1
                            hand.seeds = hand.seeds[1:]
                            note({"done": [seed]})
                            if what.cause:
                                failed(what)
                            if num_done % 500 == 0:
                                speed = num_done / (time.monotonic() - begin_s)
                                print(f"{num_done} done, {speed:.1f} a second, {len(failures)} failed", flush=True)
                        ended = kind == "block"
                    if ended:
                        busy.remove(hand)
                        continue
                    if time.monotonic() - hand.since_s <= HANG_S:
                        continue
                    why = f"more than {HANG_S} s: {hand.line.split()[0] if hand.line else ''}"
                except (EOFError, ConnectionResetError):
                    hand.process.join()
                    why = f"the process ended ({hand.process.exitcode}): {hand.line.split()[0] if hand.line else ''}"
                hand.stop()
                busy.remove(hand)
                hands[hands.index(hand)] = Worker(template, place)
                seed, *rest = hand.seeds
                slow[seed] += 1
                if slow[seed] < 2:  # a busy machine is no fault: once more
                    rest = [seed, *rest]
                else:
                    num_done += 1
                    note({"done": [seed]})
                    failed(Outcome(seed=seed, line=hand.line, cause=why))
                if rest:
                    blocks.insert(0, rest)
        for hand in hands:
            hand.stop()
    print(f"{num_done} cases in {time.monotonic() - begin_s:.0f} s, {len(failures)} failed")
    return failures


def _make_template(template: Path) -> None:
    prepare_process()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            make_template(template)
        except BaseException:
            print(said.getvalue(), traceback.format_exc(), file=sys.__stdout__)
            raise


def summary(failures: list[Outcome]) -> str:
    """Return the distinct causes, the most frequent first, each with seeds that show it."""
    seeds = defaultdict(list)
    for outcome in failures:
        seeds[outcome.cause].append(outcome.seed)
    ordered = sorted(seeds.items(), key=lambda item: -len(item[1]))
    return "\n".join(f"{len(found):6d}  {cause}   seeds {', '.join(map(str, found[:4]))}" for cause, found in ordered)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--only", type=int, help="one seed, with all that it says")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--state", type=Path, help="file that remembers what is done, to go on from")
    given = parser.parse_args()
    seeds = [given.only] if given.only is not None else list(range(given.first, given.first + given.count))
    os.environ["HF_HUB_OFFLINE"] = "1"
    import stt_ft.evaluation.build
    import stt_ft.training.loop  # noqa: F401  the workers are forked: all of them have it then

    failures = fuzz(seeds, workers=given.workers, state=given.state)
    for outcome in failures if given.only is not None else ():
        print(outcome.detail)
    print(summary(failures) or "no traceback, no hang, nothing changed outside")
    return min(1, len(failures))


if __name__ == "__main__":
    sys.exit(main())

"""What the fuzzer works on: the command lines, and a folder with one of each file that they read."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    Line("ingest work/corpora/shar --out work/new", 2, ("work/corpora/shar/dev/*",)),
    Line("ingest work/corpora/webdataset --out work/new", 2, ("work/corpora/webdataset/*",)),
    Line("ingest work/corpora/huggingface --out work/new", 2, ("work/corpora/huggingface/data/*",)),
    Line("ingest work/data --out work/new", 3, DATASET),
    Line("archive work/data --out work/new --format shar", 2, DATASET),
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
    Line("train work/recipe.yaml --schedule.max_steps 2", 5, ("work/recipe.yaml", *DATASET, "work/data/tokens/*/*", *MODEL)),
    Line("train work/recipe.yaml --run_dir work/run --schedule.max_steps 2", 3, RUN),
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
    Line("run work/recipe.yaml --annotate.aligner sphinx --schedule.max_steps 2", 0.5, ("work/recipe.yaml", *DATASET, "work/gate.yaml")),
    Line("init work/new", 0.5, ("work/new/*",)),
    Line("record --script work/script.yaml --out work/data --speaker zoe", 2, ("work/script.yaml", *DATASET)),
    Line("record --make_script digits --count 3 --script work/new.yaml", 1),
    Line("doctor", 0.1),
)


def make_template(root: Path) -> None:
    """Fill `root` with one of each: a dataset that has been through every stage, corpora, a model, a run, a report, recipe and script."""
    import soundfile

    from stt_ft.cli import main
    from stt_ft.core.provenance import file_sha256
    from stt_ft.dataset.manifest import Dataset
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
    for name in ("shar", "webdataset", "huggingface"):
        shutil.copytree(Path(__file__).parents[2] / "tests" / "golden" / "archives" / name, corpora / name)

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
    with inside(root):
        for line in (
            "annotate work/data --aligner sphinx",
            "convert work/data",
            "encode work/data --base work/model --device cpu",
            "train work/recipe.yaml --run_dir work/run --schedule.max_steps 2",
            "merge work/run --out work/model2",
            "evaluate work/model2 work/data --out work/report --baseline work/model --run_dir work/run --device cpu --nosilero",
        ):
            if main(line.split()) not in (0, 1):
                raise SystemExit(f"the template cannot be made: stt-ft {line}")
    sums = (f"{file_sha256(work / 'model' / name)}  {name}\n" for name in ("mimi.safetensors", "model.safetensors", "tokenizer.model"))
    (work / "model" / "SHA256SUMS").write_text("".join(sums))


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Work in `directory` while the block lasts."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parents[1] / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

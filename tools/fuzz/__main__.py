"""Broken inputs for every command: each must end well, or with one message of stt-ft's, and touch nothing that it was not given.

    python tools/fuzz --count 20000                     all of it; --state FILE goes on where it was stopped
    python tools/fuzz --only 4711 --keep                one seed again, with the traceback, and what it worked on kept

A seed decides all of a case: a command, which of its input files are damaged and how, and which of its flags are changed. Commands run in
this process, on clips of a few seconds and a model of random weights. A case fails by a traceback, by taking over 20 s, by an end of the
process, or by a change beside the folder that it works in. Causes are told apart by the exception and the line of stt_ft it came from.
Coverage-guided fuzzers (atheris) want a compiler's help in every library below; seeds and knowledge of the formats have found more here.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
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

from damage import damage, strange
from world import LINES, inside, make_template

HANG_S = 20
BLOCK = 25
"""Seeds that a worker is given at a time."""

MAX_MEMORY = 12 << 30

WRITES = ("out", "html", "junit", "run_dir", "directory", "script", "workdir")
"""Parameters that name a place to write: the person at the keyboard may name any, so they are only given places in the folder."""

PLACES = ("work/data", "work/data/train.jsonl", "work/new/deep", "work", "", "x" * 300, "work/missing/../new", "work/é 😀")


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
    if name in ("mic", "list_devices", "command", "schedule.max_steps") or (name == "device" and words[0] == "record"):
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
    say(f"{outcome.line}  ({'; '.join(done)})")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), inside(root):
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--only", type=int, help="one seed, with all that it says")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--state", type=Path, help="file that remembers what is done, to go on from")
    given = parser.parse_args()
    seeds = [given.only] if given.only is not None else list(range(given.first, given.first + given.count))
    os.environ["HF_HUB_OFFLINE"] = "1"

    import stt_ft.evaluation.build
    import stt_ft.training.loop  # noqa: F401

    for name in ("torch._dynamo", "transformers.models.kyutai_speech_to_text", "gguf"):  # the workers are forked: what takes long, once
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

    failures = fuzz(seeds, workers=given.workers, state=given.state)
    for outcome in failures if given.only is not None else ():
        print(outcome.detail)
    print(summary(failures) or "no traceback, no hang, nothing changed outside")
    return min(1, len(failures))


if __name__ == "__main__":
    sys.exit(main())

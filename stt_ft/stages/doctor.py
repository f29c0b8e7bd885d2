"""`stt-ft doctor`: what is installed, which devices there are, what would fail and the way out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.resources
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from stt_ft.core.errors import CheckFailed
from stt_ft.core.progress import emit_json
from stt_ft.core.recipe import DEFAULT_BASE

_USES = {
    "synth": "demo, synthesize, annotate --aligner sphinx",
    "piper": "synthesize --engine piper",
    "vad": "evaluate, to compare with silence alone",
    "tensorboard": "a recipe with log: [tensorboard]",
    "wandb": "a recipe with log: [wandb]",
    "gguf": "export --format gguf",
    "transformers": "export --format transformers --verify",
    "mlx": "export --format mlx --verify, from an environment of its own that STT_FT_MLX_PYTHON names",
}
"""What the extras are for. Which there are is read from the package's metadata; `dev` is for working on stt-ft."""

_FREE_DISK_GIB = 12
"""What a fine-tuning of the 1b model takes: base 2, Whisper large-v3 3, checkpoints 3 x 1, merged model 2, and room."""

_HUB_URL = "https://huggingface.co/api/models/"
_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. `level`: ok; limited (some command would fail); broken (nothing would work). `way_out` is for the last two."""

    topic: str
    level: Literal["ok", "limited", "broken"]
    text: str
    way_out: str | None = None


def doctor(*, json: bool = False, network: bool = False) -> None:
    """Look at this machine and say what would fail, before it does.

    Installed packages are held against what stt-ft asks for; GPU, microphone, helper programs, disk and models are looked for.
    Exits with 1 when something that every command needs is missing.

    Args:
        json: write the findings to stdout as JSON.
        network: also ask the model hub whether it can be reached. Nothing goes over the network otherwise.
    """
    looks = (_python(), _packages(), _compute(), _microphone(), _programs(), _models(network=network), _disk())
    findings = [finding for look in looks for finding in look]
    if json:
        emit_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _print_table(findings)
    broken = [finding.topic for finding in findings if finding.level == "broken"]
    if broken:
        raise CheckFailed(f"doctor: nothing will work before this is mended: {', '.join(broken)}")


def _print_table(findings: list[Finding]) -> None:
    marks = {"ok": "ok", "limited": "--", "broken": "!!"}
    for finding in findings:
        print(f"{marks[finding.level]}  {finding.topic:<16}{finding.text}")
        if finding.way_out:
            print(f"{'':20}-> {finding.way_out}")


def _python() -> Iterator[Finding]:
    fits = (3, 10) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        topic="python",
        level="ok" if fits else "broken",
        text=f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        way_out=None if fits else "use Python 3.10 to 3.13",
    )


def _packages() -> Iterator[Finding]:
    """Hold every requirement in stt-ft's own metadata against what is installed."""
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("stt-ft") or ()]
        extras = [name for name in importlib.metadata.metadata("stt-ft").get_all("Provides-Extra") or () if name != "dev"]
    except importlib.metadata.PackageNotFoundError:
        yield Finding(topic="stt-ft", level="limited", text="runs from its source, not installed", way_out="pip install -e .")
        return
    for requirement in requirements:
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield _package(requirement, None)
        elif extra := next((name for name in extras if marker.evaluate({"extra": name})), None):
            yield _package(requirement, extra)


def _package(requirement: Requirement, extra: str | None) -> Finding:
    wanted = str(requirement.specifier)
    level = "limited" if extra else "broken"
    way_out = f"for {_USES.get(extra, extra)}: pip install 'stt-ft[{extra}]'" if extra else f"pip install '{requirement.name}{wanted}'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(topic=requirement.name, level=level, text=f"not installed (wanted {wanted})", way_out=way_out)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(topic=requirement.name, level=level, text=f"{version} does not fit {wanted}", way_out=way_out)
    return Finding(topic=requirement.name, level="ok", text=f"{version} ({wanted})")


def _compute() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        way_out = "enough for the tiny model and for tests; encode, train and evaluate of a 1b model and Whisper large-v3 will be slow"
        yield Finding(topic="gpu", level="limited", text="none that torch can use", way_out=way_out)
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bfloat16 = "with" if torch.cuda.is_bf16_supported() else "without"
        yield Finding(topic=f"cuda:{index}", level="ok", text=f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {bfloat16} bfloat16")


def _microphone() -> Iterator[Finding]:
    try:
        import sounddevice
    except ImportError:
        return
    except OSError as error:
        way_out = "record needs PortAudio: apt-get install libportaudio2 (Debian, Ubuntu); all else works without"
        yield Finding(topic="microphone", level="limited", text=str(error), way_out=way_out)
        return
    devices: Any = sounddevice.query_devices()
    inputs = [device["name"] for device in devices if device["max_input_channels"] > 0]
    if inputs:
        yield Finding(topic="microphone", level="ok", text=f"{len(inputs)} input devices: {', '.join(inputs)[:80]}")
    else:
        yield Finding(topic="microphone", level="limited", text="no input device", way_out="record needs one; recordings can be ingested")


def _programs() -> Iterator[Finding]:
    for program, needed_by in (
        ("ffmpeg", "ingest needs it for formats that libsndfile does not read (m4a, aac, webm)"),
        ("cargo", "export --verify builds the engine of candle and gguf with it: https://rustup.rs"),
    ):
        path = shutil.which(program)
        yield Finding(topic=program, level="ok" if path else "limited", text=path or "not on PATH", way_out=None if path else needed_by)


def _models(*, network: bool) -> Iterator[Finding]:
    tiny = importlib.resources.files("stt_ft") / "assets" / "tiny" / "config.json"
    missing = "the package is incomplete; install it again"
    yield Finding(
        topic="tiny model",
        level="ok" if tiny.is_file() else "limited",
        text="comes with this installation" if tiny.is_file() else "missing",
        way_out=None if tiny.is_file() else missing,
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub")
    cached = (cache / f"models--{DEFAULT_BASE.replace('/', '--')}" / "snapshots").is_dir()
    yield Finding(
        topic="1b model",
        level="ok" if cached else "limited",
        text=f"{DEFAULT_BASE} {'is' if cached else 'is not'} in {cache}",
        way_out=None if cached else "it is fetched on first use (2 GiB), or give --base a model directory",
    )
    if network:
        yield _hub()


def _hub() -> Finding:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(_HUB_URL + DEFAULT_BASE, timeout=_HUB_TIMEOUT_S) as answer:
            return Finding(topic="hub", level="ok", text=f"{_HUB_URL} answers {answer.status}")
    except OSError as error:
        way_out = "fetch the model elsewhere and give --base its directory"
        return Finding(topic="hub", level="limited", text=f"{_HUB_URL} cannot be reached: {error}", way_out=way_out)


def _disk() -> Iterator[Finding]:
    free_gib = shutil.disk_usage(".").free / 2**30
    enough = free_gib >= _FREE_DISK_GIB
    yield Finding(
        topic="disk",
        level="ok" if enough else "limited",
        text=f"{free_gib:.0f} GiB free in {Path.cwd()}",
        way_out=None if enough else f"a fine-tuning of the 1b model takes about {_FREE_DISK_GIB} GiB; demo takes less than 1",
    )

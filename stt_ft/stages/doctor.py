"""`stt-ft doctor`: installed packages, devices, commands that would fail and the way out."""

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
from typing import TYPE_CHECKING, Any, Literal

from packaging.requirements import Requirement

from stt_ft.assets import shipped
from stt_ft.core.errors import CheckFailed
from stt_ft.core.progress import emit_json
from stt_ft.core.recipe import DEFAULT_BASE, Recipe, load_recipe

if TYPE_CHECKING:
    from stt_ft.model.footprint import Footprint, Shape

_USES = {
    "synth": "demo, synthesize, annotate --aligner sphinx",
    "piper": "synthesize --synthesizer piper",
    "vad": "evaluate, to compare with silence alone",
    "smart_turn": "evaluate, to compare with Smart Turn",
    "eot_bench": "evaluate --eot_bench",
    "ray": "--engine ray of annotate, convert, check, encode, evaluate and synthesize",
    "cloud": "datasets in object stores (s3://, gs://)",
    "packed": "pack, and ingest and archive with Parquet files",
    "server": "evaluate --server",
    "studio": "studio",
    "tensorboard": "a recipe with log: [tensorboard]",
    "wandb": "a recipe with log: [wandb]",
    "gguf": "export --format gguf",
    "transformers": "export --format transformers --verify",
    "mlx": "export --format mlx --verify, from an environment of its own that STT_FT_MLX_PYTHON names",
}
"""Extra -> the commands that need it. The package's metadata lists the extras; `dev` is for working on stt-ft."""

_FREE_DISK_GIB = 12
"""Disk that a fine-tuning of the 1b model takes: base 2, Whisper large-v3 3, checkpoints 3 x 1, merged model 2, and a margin of 2."""

_HUB_URL = "https://huggingface.co/api/models/"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A result of the inspection. `level`: ok; limited (some command fails); broken (all fail). `way_out` is for the last two."""

    topic: str
    level: Literal["ok", "limited", "broken"]
    text: str
    way_out: str | None = None

    @classmethod
    def of(cls, topic: str, text: str, *, fits: bool, way_out: str, lack: Literal["limited", "broken"] = "limited") -> Finding:
        """Return what was found, with `way_out` and the level `lack` where it does not fit."""
        return cls(topic=topic, level="ok" if fits else lack, text=text, way_out=None if fits else way_out)


def doctor(*, base: str | None = None, json: bool = False, network: bool = False) -> None:
    """Inspect this machine and list the commands that would fail.

    Installed packages are held against what stt-ft asks for; GPU, microphone, helper programs, disk and models are looked for.
    Exits with 1 when something that every command needs is missing.

    Args:
        base: also say, from its sizes alone, what of this model's stages fits the memory and the disk here: a model directory, tiny, or a
            model of Kyutai's by its name, which need not be here. docs/real_1b.md holds the estimates against what was measured.
        json: write the findings to stdout as JSON.
        network: also ask the model hub whether it can be reached. Nothing goes over the network otherwise.
    """
    looks = [_python(), _packages(), _compute(), _microphone(), _programs(), _models(network=network), _disk()]
    looks += [] if base is None else [_fit(base)]
    findings = [finding for look in looks for finding in look]
    if json:
        emit_json([dataclasses.asdict(finding) for finding in findings])
    else:
        marks = {"ok": "ok", "limited": "--", "broken": "!!"}
        for finding in findings:
            print(f"{marks[finding.level]}  {finding.topic:<20}{finding.text}")
            if finding.way_out:
                print(f"{'':20}-> {finding.way_out}")
    broken = [finding.topic for finding in findings if finding.level == "broken"]
    if broken:
        raise CheckFailed(f"doctor: nothing will work before this is mended: {', '.join(broken)}")


def _python() -> Iterator[Finding]:
    fits = (3, 10) <= sys.version_info[:2] <= (3, 13)
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    yield Finding.of("python", text, fits=fits, lack="broken", way_out="use Python 3.10 to 3.13")


def _packages() -> Iterator[Finding]:
    """Compare every requirement in stt-ft's own metadata with the installed packages."""
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

    from stt_ft.core.cores import num_cores
    from stt_ft.model.device import bfloat16_speed, has_bfloat16

    speed = bfloat16_speed()
    faster = "at least as fast as float32: train takes it" if speed >= 1 else "slower than float32, which train takes"
    text = f"{num_cores()} cores, {torch.get_num_threads()} threads; bfloat16 is {faster} (precision: auto; {speed:.2g} times as fast)"
    yield Finding(topic="cpu", level="ok", text=text)
    if not torch.cuda.is_available():
        way_out = "enough for the tiny model and for tests; encode, train and evaluate of a 1b model and Whisper large-v3 will be slow"
        yield Finding(topic="gpu", level="limited", text="none that torch can use", way_out=way_out)
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bfloat16 = "with" if has_bfloat16(torch.device("cuda", index)) else "without"
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
    text = f"{len(inputs)} input devices: {', '.join(inputs)[:80]}" if inputs else "no input device"
    yield Finding.of("microphone", text, fits=bool(inputs), way_out="record needs one; recordings can be ingested")


def _programs() -> Iterator[Finding]:
    for program, needed_by in (
        ("ffmpeg", "ingest needs it for formats that libsndfile does not read (m4a, aac, webm)"),
        ("cargo", "export --verify builds the engine of candle and gguf with it: https://rustup.rs"),
    ):
        path = shutil.which(program)
        yield Finding.of(program, path or "not on PATH", fits=path is not None, way_out=needed_by)


def _models(*, network: bool) -> Iterator[Finding]:
    has_tiny = (importlib.resources.files("stt_ft") / "assets" / "tiny" / "config.json").is_file()
    text = "comes with this installation" if has_tiny else "missing"
    yield Finding.of("tiny model", text, fits=has_tiny, way_out="the package is incomplete; install it again")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub")
    cached = (cache / f"models--{DEFAULT_BASE.replace('/', '--')}" / "snapshots").is_dir()
    way_out = "it is fetched on first use (2 GiB), or give --base a model directory"
    yield Finding.of("1b model", f"{DEFAULT_BASE} {'is' if cached else 'is not'} in {cache}", fits=cached, way_out=way_out)
    if network:
        yield _hub()


def _hub() -> Finding:
    import urllib.request

    try:
        with urllib.request.urlopen(_HUB_URL + DEFAULT_BASE, timeout=5.0) as answer:
            return Finding(topic="hub", level="ok", text=f"{_HUB_URL} answers {answer.status}")
    except OSError as error:
        way_out = "fetch the model elsewhere and give --base its directory"
        return Finding(topic="hub", level="limited", text=f"{_HUB_URL} cannot be reached: {error}", way_out=way_out)


def _disk() -> Iterator[Finding]:
    free_gib = shutil.disk_usage(".").free / 2**30
    way_out = f"a fine-tuning of the 1b model takes about {_FREE_DISK_GIB} GiB; demo takes less than 1"
    yield Finding.of("disk", f"{free_gib:.0f} GiB free in {Path.cwd()}", fits=free_gib >= _FREE_DISK_GIB, way_out=way_out)


CLIP_S = 10.0
"""The clip that estimates of memory are for, in seconds: a number dictated with hesitation."""

_KEPT_CHECKPOINTS = 3


def _fit(base: str) -> Iterator[Finding]:
    """Hold what each stage of a fine-tuning of `base` takes, by the shipped recipe for it, against memory and disk."""
    from stt_ft.model.footprint import Footprint, Shape

    shape = Shape.named(base)
    recipe = shipped_recipe(base, shape)
    on_gpu, memory = _memory()
    name, footprint = ("GPU" if on_gpu else "CPU"), Footprint(shape=shape, on_gpu=on_gpu)
    yield _takes("merge, export", footprint.merge(), _cpu_memory(), "CPU", "it goes tensor by tensor; no setting makes it smaller")
    smaller = f"give `encode --batch_size` less than 16, or cut clips longer than {CLIP_S:g} s"
    yield _takes("encode", footprint.encode(CLIP_S), memory, name, smaller)
    for precision in ("bfloat16", "float32"):
        tried = dataclasses.replace(recipe, precision=precision)
        what = f"rank {recipe.lora.rank}, {recipe.batch.batch_size} clips of {CLIP_S:g} s a pass"
        yield _takes(f"train {precision}", footprint.train(tried, CLIP_S), memory, f"{name}, {what}", _less(tried, footprint, memory))
    yield _takes("evaluate", footprint.listen(CLIP_S, 32), memory, f"{name}, 32 clips at once", "give `evaluate --batch_size` less than 32")
    yield _takes("transcribe", footprint.listen(CLIP_S, 1), memory, f"{name}, 1 clip", "no setting makes it smaller")
    yield from _disk_for(footprint, dataclasses.replace(recipe, precision="float32"))


def shipped_recipe(base: str, shape: Shape) -> Recipe:
    """Return the recipe that comes with the package for `base`, or for models like it: tiny ones, those with pause heads, those without."""
    name = "tiny_cpu" if base == "tiny" else "stt_1b_digits" if shape.num_pause_heads else "stt_2_6b_digits"
    return load_recipe(shipped("configs") / f"{name}.yaml")


def _less(recipe: Recipe, footprint: Footprint, memory: float) -> str:
    """Return how training comes down to `memory` bytes: by checkpointing, by fewer clips a pass, by not listening."""
    for batch_size in (recipe.batch.batch_size, *(size for size in (4, 2, 1) if size < recipe.batch.batch_size)):
        for listens in (recipe.validation.listen, False):
            batch = dataclasses.replace(recipe.batch, batch_size=batch_size, gradient_checkpointing=True)
            validation = dataclasses.replace(recipe.validation, listen=listens)
            if footprint.train(dataclasses.replace(recipe, batch=batch, validation=validation), CLIP_S) <= memory * _FILLED:
                less = (
                    "" if batch_size == recipe.batch.batch_size else f", --batch.batch_size {batch_size} and as many more grad_accumulation"
                )
                deaf = "" if listens or not recipe.validation.listen else ", --validation.listen false"
                return f"it fits with --batch.gradient_checkpointing{less}{deaf}"
    return "no recipe with an adapter fits; another machine is needed"


_FILLED = 0.95
"""Share of the memory that one process may fill."""


def _takes(topic: str, num_bytes: float, memory: float, where: str, way_out: str) -> Finding:
    text = f"about {num_bytes / 2**30:.1f} GiB of {memory / 2**30:.0f} ({where})"
    return Finding.of(topic, text, fits=num_bytes <= memory * _FILLED, way_out=way_out)


def _memory() -> tuple[bool, float]:
    """Return whether a GPU computes here, and the bytes of its memory or the machine's."""
    import torch

    if torch.cuda.is_available():
        return True, float(torch.cuda.get_device_properties(0).total_memory)
    return False, _cpu_memory()


def _cpu_memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _disk_for(footprint: Footprint, recipe: Recipe) -> Iterator[Finding]:
    versions = len(recipe.augment.versions)
    kept = recipe.checkpoint.keep or _KEPT_CHECKPOINTS
    model, checkpoint = footprint.model_bytes() / 2**30, footprint.checkpoint_bytes(recipe) / 2**30
    sound, codes = footprint.sound_bytes_per_hour() / 2**20, footprint.codes_bytes_per_hour(versions) / 2**20
    needed = 3 * model + kept * checkpoint
    text = f"base {model:.1f} GiB, {kept} checkpoints of {checkpoint:.2f}, merged model {model:.1f}, export {model:.1f}"
    text += f"; an hour of recordings {sound:.0f} MiB, its codes at {versions} speeds {codes:.1f} MiB"
    free = shutil.disk_usage(".").free / 2**30
    yield Finding.of("disk for it", text, fits=needed <= free, way_out=f"{needed:.0f} GiB are needed, {free:.0f} are free in {Path.cwd()}")

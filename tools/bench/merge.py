"""Peak memory and time of merge and Candle export on a random base of the 1b shape, beside `cp` and beside upstream's way, in one run.

    python tools/bench/merge.py --workdir /tmp/bench --results tools/bench/results      some minutes, 12 GB of disk

Each measurement is a process of its own; its peak is the kernel's figure for it (ru_maxrss). Upstream's way is what its own loader offers:
`get_moshi_lm(…, lora_weights=…, fuse_lora=True)`, then `safetensors.torch.save_file`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
RANK, SCALING = 128, 2.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One process: how long it took and the most memory it held."""

    what: str
    wall_s: float
    cpu_s: float
    peak_mib: float


def measure(what: str, command: list[str]) -> Measurement:
    """Run `command` to its end and return what it cost; fails when it does."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    begin_s = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begin_s
    if status:
        raise SystemExit(f"{what} failed: {' '.join(command)}")
    measurement = Measurement(what=what, wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_mib=usage.ru_maxrss / 1024)
    print(measurement, file=sys.stderr, flush=True)
    return measurement


def make_adapter(base: Path, directory: Path) -> None:
    """Write a random adapter of rank 128 for every linear layer, as training leaves one."""
    from stt_ft.core.provenance import file_sha256
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.safetensors_file import SafetensorsWriter, TensorSpec, pytorch_name

    model = open_model(base)
    shapes = {}
    for name, spec in model.lm_header().tensors.items():
        if len(spec.shape) == 2 and "emb." not in name:
            module = pytorch_name(name).removesuffix(".weight")
            shapes |= {f"{module}.lora_A.weight": (RANK, spec.shape[1]), f"{module}.lora_B.weight": (spec.shape[0], RANK)}
    specs = {name: TensorSpec(dtype="BF16", shape=shape) for name, shape in shapes.items()}
    metadata = {"scaling": str(SCALING), "base": str(base), "base_sha256": file_sha256(model.lm_weights)}
    generator = torch.Generator().manual_seed(0)
    directory.mkdir(parents=True, exist_ok=True)
    with SafetensorsWriter(directory / "lora.safetensors", specs, metadata) as writer:
        for name, shape in shapes.items():
            tensor = torch.empty(shape).normal_(0, 0.02, generator=generator).bfloat16()
            writer.write(name, tensor.view(torch.uint8).flatten().numpy())
    config = {**model.config, "lora": True, "lora_rank": RANK, "lora_scaling": SCALING}
    (directory / "config.json").write_text(json.dumps(config))


MATMULS = """
import sys, torch
from pathlib import Path
from stt_ft.model.merge import Adapter, read_float32
adapter = Adapter.open(Path(sys.argv[1]))
names = [name.removesuffix(".lora_A.weight") for name in adapter.header.tensors if name.endswith(".lora_A.weight")]
for name in names:
    a, b = (read_float32(adapter.header, f"{name}.lora_{side}.weight") for side in "AB")
    torch.mm(b, a)
"""

UPSTREAM = """
import json, sys, torch
from pathlib import Path
from moshi.models import loaders
from safetensors.torch import save_file
base, adapter, out = map(Path, sys.argv[1:])
config = json.loads((adapter / "config.json").read_text())
others = ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lora_name", "model_type", "lm_gen_config", "tts_config",
    "stt_config", "model_id")
kwargs = {key: value for key, value in config.items() if key not in others}
lm = loaders.get_moshi_lm(base / config["moshi_name"], lm_kwargs=kwargs, lora_weights=adapter / "lora.safetensors", fuse_lora=True)
out.mkdir()
save_file(lm.state_dict(), out / "model.safetensors")
"""


def largest_errors(base: Path, adapter: Path, merged: list[Path]) -> list[float]:
    """Return how far each merged file lies from the formula in float64 at its worst weight, in units in the last place of bfloat16.

    The unit is that of the larger of `W` and the result: where `W` and the update cancel, the result has a far smaller one, and what is
    left of rounding either of them spans hundreds of those.
    """
    from stt_ft.model.merge import read_float32
    from stt_ft.model.safetensors_file import pytorch_name, read_header

    weights, updates = read_header(base), read_header(adapter)
    headers = [read_header(path) for path in merged]
    names = [{pytorch_name(name): name for name in header.tensors} for header in headers]
    worst = [0.0] * len(merged)
    for source in weights.tensors:
        name = pytorch_name(source)
        weight = read_float32(weights, source).double()
        exact, module = weight, name.removesuffix(".weight")
        if f"{module}.lora_A.weight" in updates.tensors:
            a, b = (read_float32(updates, f"{module}.lora_{side}.weight").double() for side in "AB")
            exact = weight + SCALING * b @ a
        unit = torch.maximum(weight.abs(), exact.abs()).clamp(min=2.0**-100).log2().floor().exp2() / 128
        for index, (header, name_in) in enumerate(zip(headers, names, strict=True)):
            error = (read_float32(header, name_in[name]).double() - exact).abs() / unit
            worst[index] = max(worst[index], float(error.max()))
    return worst


def write_page(path: Path, rows: list[Measurement], base: Path, errors: list[float]) -> None:
    """Write the results as Markdown."""
    size_gb = (base / "model.safetensors").stat().st_size / 1e9
    cp, matmuls = rows[0].wall_s, rows[1].wall_s
    lines = [
        f"# Merge and Candle export of a 1b base, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        "",
        f"`python tools/bench/merge.py`: random weights of the 1b shape ({size_gb:.2f} GB of bfloat16), an adapter of rank {RANK} on "
        f"every linear layer, {os.cpu_count()} CPU cores, torch {torch.__version__}, warm page cache, every row a process of its own "
        "(imports included).",
        "",
        "| | wall s | CPU s | peak MiB |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.wall_s:.1f} | {row.cpu_s:.1f} | {row.peak_mib:,.0f} |" for row in rows),
        "",
        f"The claim is 3 times the copy plus the bare matmuls: {3 * (cp + matmuls):.1f} s, and a peak under 1,430 MiB (1.5 GB).",
        f"From the formula in float64 our merge is at most {errors[0]:.2f} units in the last place of bfloat16 away, upstream's "
        f"{errors[1]:.2f} (of the larger of W and the result): upstream multiplies and adds in bfloat16, we in float32, rounded once.",
    ]
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "tools" / "bench" / "results")
    arguments = parser.parse_args()
    work: Path = arguments.workdir
    base, adapter = work / "base", work / "adapter"
    if not base.exists():
        make = [sys.executable, str(REPOSITORY / "tools" / "make_random_base.py"), "--shape", "1b", "--out", str(base)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    make_adapter(base, adapter)
    outputs = [work / name for name in ("copied", "merged", "exported", "upstream")]
    for output in outputs:
        shutil.rmtree(output, ignore_errors=True)
    copied, merged, exported, upstream = outputs
    python = [sys.executable, "-m", "stt_ft"]
    copied.mkdir()
    copy = 'cp "$0" "$1" && sync "$1"'
    rows = [
        measure("`cp` of the file, and sync", ["sh", "-c", copy, str(base / "model.safetensors"), str(copied / "model.safetensors")]),
        measure("the bare matmuls, float32", [sys.executable, "-c", MATMULS, str(adapter)]),
        measure("`stt-ft merge`", [*python, "merge", str(adapter), "--base", str(base), "--out", str(merged)]),
        measure("`stt-ft export --format candle`", [*python, "export", str(merged), "--out", str(exported)]),
        measure("upstream: fuse_lora, save_file", [sys.executable, "-c", UPSTREAM, str(base), str(adapter), str(upstream)]),
    ]
    weights = [directory / "model.safetensors" for directory in (base, merged, upstream)]
    errors = largest_errors(weights[0], adapter / "lora.safetensors", weights[1:])
    arguments.results.mkdir(parents=True, exist_ok=True)
    page = arguments.results / f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}-merge.md"
    write_page(page, rows, base, errors)
    print(page)


if __name__ == "__main__":
    main()

"""A directory of big files that appears whole or not at all, and only where it was asked for and fits."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from stt_ft.core.atomic import atomic_directory
from stt_ft.core.errors import CheckpointError

DISK_MARGIN_BYTES = 50_000_000
"""Room left free beyond what is about to be written."""


def check_output(out: Path, *, overwrite: bool, num_bytes: int) -> None:
    """Refuse to write where something else would be lost or there is no room.

    Raises:
        CheckpointError: `out` exists and `overwrite` is off, or is not a model directory, or the disk has less than `num_bytes` left.
    """
    if out.exists() and not overwrite:
        raise CheckpointError(f"{out}: exists already; give another --out, or --overwrite")
    if out.exists() and not (out.is_dir() and ((out / "config.json").is_file() or not any(out.iterdir()))):
        raise CheckpointError(f"{out}: is no model directory, so --overwrite leaves it alone; give another --out")
    existing = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes + DISK_MARGIN_BYTES:
        raise CheckpointError(
            f"{out}: needs {num_bytes / 1e9:.2f} GB of disk, {free / 1e9:.2f} GB are free; make room or give another --out"
        )


@contextlib.contextmanager
def whole_directory(out: Path) -> Iterator[Path]:
    """Yield a directory to fill; when the block ends well it takes the place of `out`, whatever stood there."""
    finished = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.new")
    with atomic_directory(finished) as directory:
        yield directory
    replaced = finished.with_suffix(".old")
    if out.exists():
        out.rename(replaced)
    finished.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)

"""A directory of big files that appears whole or not at all, and only where there is room and nothing else would be lost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from stt_ft.core.atomic import atomic_directory, recover, write_text
from stt_ft.core.errors import CheckpointError
from stt_ft.core.provenance import file_sha256
from stt_ft.core.storage import inside

SUMS_NAME = "SHA256SUMS"
"""Checksums of a directory's weights and tokenizer, as `sha256sum --check` reads them."""

CHECKED_SUFFIXES = (".safetensors", ".gguf", ".model")

DISK_MARGIN_BYTES = 50_000_000
"""Room left free beyond what is about to be written."""


def check_output(out: Path, *, overwrite: bool, num_bytes: int) -> None:
    """Refuse to write where something else would be lost or there is no room.

    Raises `CheckpointError`: `out` exists and `overwrite` is off, or is not a model directory, or the disk has less than `num_bytes` left.
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
    """Yield a directory to fill; when the block ends well it takes the place of `out`, whatever stood there.

    What a killed run left of the same directory is taken away first. The checksums of what was written lie beside it, and all of it is on
    the disk before the directory gets its name.
    """
    recover(out)
    with atomic_directory(out, replace=True) as directory:
        yield directory
        seal(directory)


def seal(directory: Path, suffixes: Sequence[str] = CHECKED_SUFFIXES, *, known: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the checksums of the files in `directory` that have one of `suffixes`, and bring all of its files to the disk.

    `known` has those, by the name of the file, that are known already.
    """
    sums = (
        f"{known.get(path.name) or file_sha256(path)}  {path.name}\n" for path in sorted(directory.iterdir()) if path.suffix in suffixes
    )
    write_text(directory / SUMS_NAME, "".join(sums))
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def check_sums(directory: Path, sha256_of: Callable[[Path], str] = file_sha256) -> None:
    """Compare weights and tokenizer with the checksums that stt-ft left, where it did; a flipped bit shows nowhere else.

    Every command that opens a model does so, at about a gigabyte a second; `sha256_of` may remember.

    Raises `CheckpointError` naming a file that differs, or a line that is none of `sha256sum`'s.
    """
    sums = directory / SUMS_NAME
    try:
        lines = sums.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        match = re.fullmatch(rb"([0-9a-f]{64}) [ *](.+)", line)
        try:
            path = inside(directory, match[2].decode()) if match else None
        except ValueError:
            path = None
        if match is None or path is None:
            raise CheckpointError(f"{sums}, line {number}: expected HASH  NAME, as sha256sum writes them; make it again or remove it")
        expected = match[1].decode()
        if path.is_file() and sha256_of(path) != expected:
            raise CheckpointError(f"{path}: not the bytes that {SUMS_NAME} tells of ({expected[:12]}…); copy or make it again")

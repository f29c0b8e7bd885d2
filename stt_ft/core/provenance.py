"""How a result was made: versions, options and inputs. No clock: the same work done again leaves the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import stt_ft
from stt_ft.core.config import to_dict
from stt_ft.core.storage import Readable, read_bytes

PACKAGES = ("moshi", "torch", "numpy", "safetensors", "sentencepiece")
"""Packages whose version can change a result; their versions are in every record."""


def record(stage: str, options: Any, inputs: Mapping[str, Path] | None = None, *, packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """Return how `stage` was run, ready for JSON: all its options, versions, and the SHA-256 of the files that the result depends on.

    Args:
        stage: name of the command.
        options: a dictionary or a configuration.
        inputs: name -> file; raises `FileNotFoundError` for one that is not there.
        packages: packages whose versions are recorded beside this one's; those not installed are left out.
    """
    versions = {"stt_ft": stt_ft.__version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    hashes = {name: file_sha256(path) for name, path in (inputs or {}).items()}
    return {"stage": stage, "options": to_dict(options), "versions": versions, "inputs": hashes}


def file_sha256(path: Readable) -> str:
    """Return the SHA-256 in hexadecimal of the bytes of a file, read a block at a time, or of a piece of an archive."""
    if not isinstance(path, Path):
        return hashlib.sha256(read_bytes(path)).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

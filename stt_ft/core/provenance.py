"""How a result was made: which versions, options and inputs. No clock: the same work done again leaves the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import stt_ft
from stt_ft.core.config import to_dict

PACKAGES = ("moshi", "torch", "numpy", "safetensors", "sentencepiece")
"""Packages whose version can change a result; their versions are in every record."""

_BLOCK_BYTES = 1 << 20


def record(stage: str, options: Any, inputs: Mapping[str, Path] | None = None, *, packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """Return how `stage` was run, ready for JSON: its resolved options, versions, and the SHA-256 of its input files.

    Args:
        stage: name of the command.
        options: its options, all of them, as a dictionary or configuration dataclass.
        inputs: name -> file that the result depends on.
        packages: packages whose versions are recorded beside this one's; those not installed are left out.

    Raises:
        FileNotFoundError: an input is not there.
    """
    return {
        "stage": stage,
        "options": to_dict(options),
        "versions": {"stt_ft": stt_ft.__version__, "python": platform.python_version(), **installed_versions(packages)},
        "inputs": {name: file_sha256(path) for name, path in (inputs or {}).items()},
    }


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return package -> version for those of `packages` that are installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, read a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

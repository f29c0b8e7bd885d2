"""Files that come with the package: the tiny model and, where stt-ft is installed, recipes and prompt scripts."""

from __future__ import annotations

from pathlib import Path


def shipped(folder: str) -> Path:
    """Return where the files of a folder of the repository lie, such as `configs` or `recordings/scripts`.

    The wheel packs them below this directory (pyproject.toml); in a checkout they are where the repository has them.
    """
    packed = Path(__file__).parent / folder
    return packed if packed.is_dir() else Path(__file__).parents[2] / folder

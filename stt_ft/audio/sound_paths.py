"""From what a user types to sound files: names, patterns such as takes/*.wav, and directories."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import AudioError


def sound_files(words: Sequence[str]) -> list[Path]:
    """Return the files that `words` name, in the order of the words, each once; raises `AudioError` for a word that names none.

    A pattern (`*`, `?`, `[a-z]`, `**` for directories below) stands for the files it matches, a directory for the sound files in it.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            matches = sorted(one for one in path.iterdir() if one.suffix.lower() in AUDIO_SUFFIXES)
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(Path(one) for one in glob.glob(str(path.expanduser()), recursive=True) if Path(one).is_file())
        else:
            matches = [path]
        if not matches:
            raise AudioError(f"{word}: no sound files {'in this directory' if path.is_dir() else 'match this pattern'}")
        found |= dict.fromkeys(matches)
    return list(found)

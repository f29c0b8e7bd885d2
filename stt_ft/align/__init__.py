"""Alignment: pocketsphinx or Whisper finds when each word of a clip is said; the clip's sidecar keeps the times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stt_ft.align.aligner import Work


def work_named(name: str, *, model: str, language: str, device: str, batch_size: int) -> Work:
    """Return the aligner `whisper` or `sphinx`, ready for recordings in `language`; only `whisper` uses the other options.

    Raises:
        ConfigError: options that cannot be, or a language that the aligner does not know.
    """
    from stt_ft.core.errors import ConfigError

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    if name == "whisper":
        from stt_ft.align.whisper_aligner import WhisperWork

        return WhisperWork(model, language=language, device=device, batch_size=batch_size)
    if language != "en":
        raise ConfigError(f"--aligner sphinx knows English only, these recordings are in {language!r}; use --aligner whisper alone")
    from stt_ft.align.sphinx_aligner import SphinxWork

    return SphinxWork()

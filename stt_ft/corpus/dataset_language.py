"""Which language a dataset is in, for the stages that hear and read it."""

from __future__ import annotations

from collections.abc import Sequence

from stt_ft.core.manifest import Dataset


def language_of(data: Dataset, asked: str | None, *, choices: Sequence[str] = ()) -> str:
    """Return the language that was asked for, or else that of dataset.yaml, or else English.

    Args:
        data: the dataset.
        asked: what the user asked for, None for nothing.
        choices: dialects that are told apart, such as fr-be; of any other ("en-US") only the language is kept.
    """
    if asked is not None:
        return asked
    language = str(data.info().get("language") or "en").lower().replace("_", "-")
    return language if language in choices else language.partition("-")[0]

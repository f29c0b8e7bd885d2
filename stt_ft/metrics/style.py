"""How a transcript is written: as a sentence or not, and where full stops fall in time.

A tuned model that forgets capitals and full stops has forgotten how the base writes. One that writes a full stop at a hesitation misleads
agents that read the text's tail: they answer there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stt_ft.text.written_style import ends_sentence


def is_written_as_sentence(words: Sequence[str]) -> bool:
    """Return whether a transcript begins with a capital and ends with a full stop, question or exclamation mark.

    What has no capital form (a digit, an apostrophe before it) is passed over, so "129." is a sentence; a transcript without words is none.
    """
    first = next((character for word in words for character in word if character.isalnum()), None)
    return first is not None and not first.islower() and ends_sentence(words[-1])


def num_early_stops(words: Iterable[tuple[str, float]], speech_end_s: float) -> int:
    """Return how many full stops, question and exclamation marks appeared in the stream before the sound of the last word had ended.

    Args:
        words: text, and when it stood there whole, in seconds of the clip.
        speech_end_s: end of the last word's sound, in seconds of the clip.
    """
    return sum(ends_sentence(text) and appeared_s < speech_end_s for text, appeared_s in words)

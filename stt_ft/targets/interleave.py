"""Put the words of a clip on the text stream, one token a frame, a fixed lag behind the sound.

    frame      …  41   42   43   44   45   46  …
    token      …   3    3    0  _se  ven    3  …      0 ends the padding one frame before a word; 3 is padding

A word's first token stands in the frame that contains its onset + `text_lag_s`. Where speech is faster than one token a frame, a word waits
for the one before it: it comes late, but it comes whole. Nothing is ever dropped; a word that does not fit before the end is an error.

Source: Kyutai's description of delayed streams (https://arxiv.org/abs/2509.08753) and moshi-finetune's `finetune/data/interleaver.py`. By
default that one loses the unfinished sub-words of a word when the next begins, words of zero length, and words that begin before the lag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError
from stt_ft.dataset.sidecar import Word

PADDING_ID = 3
"""Text token of a frame in which no word is written (upstream `existing_text_padding_id`)."""

END_PADDING_ID = 0
"""Text token that takes the place of the padding just before a word (upstream `existing_text_end_padding_id`)."""


@dataclass(frozen=True, kw_only=True)
class TextStream:
    """The text tokens of a stream; for each word, the frame of its first token and the frame after which its sound has been heard out.

    Most words have been heard out when their text begins; long ones still sound.
    """

    tokens: npt.NDArray[np.int64]  # [T]
    onset_frames: npt.NDArray[np.int64]  # [num_words]
    sound_end_frames: npt.NDArray[np.int64]  # [num_words]


def build_text_stream(
    words: Sequence[Word],
    *,
    num_frames: int,
    text_lag_s: float,
    padding_id: int,
    end_padding_id: int,
) -> TextStream:
    """Place `words` on a text stream of `num_frames` frames.

    Args:
        words: with their `tokens`, times in seconds of the stream, in any order; they are placed in the order of their onsets, equal
            onsets in the order given.
        num_frames: length T of the stream.
        text_lag_s: how far text runs behind sound, in seconds (`stt_config.audio_delay_seconds`).
        padding_id: token of a frame without a word.
        end_padding_id: token that replaces the padding before a word.

    Raises:
        AlignmentError: a word has no tokens, begins before the stream, or does not fit before its end.
    """
    tokens = np.full(num_frames, padding_id, dtype=np.int64)
    onset_frames, sound_end_frames = np.zeros((2, len(words)), dtype=np.int64)
    first_free = 0
    for index, word in enumerate(sorted(words, key=lambda word: word.start_s)):
        if not word.tokens:
            raise AlignmentError(f"word {index + 1} of {len(words)}, at {word.start_s:.2f} s, has no text tokens")
        if word.start_s < 0:
            raise AlignmentError(f"word {index + 1} of {len(words)} begins at {word.start_s:.2f} s, before the clip")
        onset = max(timing.frame_at(word.start_s + text_lag_s), first_free)
        first_free = onset + len(word.tokens)
        if first_free > num_frames:
            raise AlignmentError(
                f"word {index + 1} of {len(words)}, at {word.start_s:.2f} s, needs text frames {onset} to {first_free - 1} "
                f"but the stream ends with frame {num_frames - 1}; append silence or check its time"
            )
        if onset > 0 and tokens[onset - 1] == padding_id:
            tokens[onset - 1] = end_padding_id
        tokens[onset:first_free] = word.tokens
        onset_frames[index] = onset
        sound_end_frames[index] = timing.num_frames_covering(word.end_s) - 1
    return TextStream(tokens=tokens, onset_frames=onset_frames, sound_end_frames=sound_end_frames)

"""From a sidecar in written form to one in spoken form: each written number becomes its words, each word with its own time.

The times come from the best source at hand: what `annotate` heard for the token; else aligning the words on the sound of the span; else
sharing the span out by syllables.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stt_ft.align.aligned_word import Aligner
from stt_ft.align.retime import Timed, divide_by_syllables, fit_into_span, widen
from stt_ft.core.doubts import DOUBTFUL, SPOKEN, Doubt, rivals_of, spoken_from_json
from stt_ft.core.errors import AlignmentError
from stt_ft.core.manifest import Sidecar, Word
from stt_ft.core.timing import num_samples
from stt_ft.text.spoken_forms import SpokenToken, spoken_tokens

_MARGIN_S = 0.1
"""Sound taken on either side of a span that is aligned anew."""


@dataclass(kw_only=True)
class SpokenSidecar:
    """The sidecar in spoken form, and how many written tokens got their times from where."""

    sidecar: Sidecar
    sources: Counter[str] = field(default_factory=Counter)


def spoken_sidecar(
    sidecar: Sidecar,
    *,
    language: str,
    style: str,
    duration_s: float,
    sound: Callable[[], np.ndarray] | None = None,
    aligner: Aligner | None = None,
) -> SpokenSidecar:
    """Return `sidecar` with spoken `alignments`; what they replace is kept under `written`, from which every conversion starts.

    Args:
        sidecar: written form in `written`, or in `alignments` before the first conversion.
        language: `en`, `fr`, `fr-be` or `fr-ch`.
        style: `digits` or `auto`.
        duration_s: length of the clip.
        sound: returns the clip's samples at 24 kHz; called only when a span has to be aligned.
        aligner: aligns a span; None divides by syllables.

    Raises:
        TextError: a token cannot be read aloud.
        AlignmentError: a span is too short for its words and its neighbours leave no room.
    """
    written = sidecar.alignments if sidecar.written is None else sidecar.written
    heard = sidecar.extra.get(SPOKEN)
    heard = heard if isinstance(heard, list) and len(heard) == len(written) else [None] * len(written)
    rivals = rivals_of(sidecar, len(written))
    doubts: list[Doubt] = []
    converter = _Converter(written=written, heard=heard, duration_s=duration_s, sound=sound, aligner=aligner)
    words: list[Word] = []
    for token in spoken_tokens([word.text for word in written], language=language, style=style):
        said = list(written[token.start : token.stop]) if token.is_same else converter.convert(token)
        rival = rivals[token.start] if token.stop - token.start == 1 else None
        if rival is not None and rival.is_close and rival.words != tuple(word.text for word in said):
            stop = len(words) + len(said)
            doubts.append(Doubt(start=len(words), stop=stop, reading=" ".join(rival.words), lead=rival.lead))
        words += said
    extra = {key: value for key, value in sidecar.extra.items() if key != DOUBTFUL}
    if doubts:
        extra[DOUBTFUL] = [doubt.to_json() for doubt in doubts]
    spoken = dataclasses.replace(sidecar, alignments=tuple(words), written=written, extra=extra)
    return SpokenSidecar(sidecar=spoken, sources=converter.sources)


@dataclass(kw_only=True)
class _Converter:
    """Converts the tokens of one clip."""

    written: Sequence[Word]
    heard: Sequence[object]
    duration_s: float
    sound: Callable[[], np.ndarray] | None
    aligner: Aligner | None
    sources: Counter[str] = field(default_factory=Counter)

    def convert(self, token: SpokenToken) -> list[Word]:
        speaker = self.written[token.start].speaker
        return [Word(text=word.text, start_s=word.start_s, end_s=word.end_s, speaker=speaker) for word in self._timed(token)]

    def _timed(self, token: SpokenToken) -> list[Timed]:
        first, last = self.written[token.start], self.written[token.stop - 1]
        heard = self._heard(token)
        num_words = len(heard or token.lattice.words)
        after_s = self.written[token.start - 1].end_s if token.start else 0.0
        before_s = self.written[token.stop].start_s if token.stop < len(self.written) else self.duration_s
        start_s, end_s = widen(
            first.start_s, last.end_s, num_words=num_words, after_s=min(after_s, first.start_s), before_s=max(before_s, last.end_s)
        )
        if heard:
            self.sources["annotated"] += 1
            return fit_into_span(heard, start_s, end_s)
        aligned = self._align(token, start_s, end_s)
        if aligned:
            self.sources["realigned"] += 1
            return fit_into_span(
                aligned, *widen(start_s, end_s, num_words=len(aligned), after_s=min(after_s, start_s), before_s=max(before_s, end_s))
            )
        self.sources["syllables"] += 1
        return divide_by_syllables(token.lattice.words, start_s, end_s)

    def _heard(self, token: SpokenToken) -> list[Timed] | None:
        """Return what `annotate` heard for the token, when the style reads it so."""
        if token.stop - token.start != 1:
            return None
        said = spoken_from_json(self.heard[token.start])
        if not said or not token.lattice.accepts([text for text, _, _ in said]):
            return None
        return [Timed(*word) for word in said]

    def _align(self, token: SpokenToken, start_s: float, end_s: float) -> list[Timed] | None:
        """Align the token on the sound of its span; None when there is no sound or no path."""
        if self.aligner is None or self.sound is None:
            return None
        from_s = max(0.0, start_s - _MARGIN_S)
        samples = self.sound()[num_samples(from_s) : num_samples(end_s + _MARGIN_S)]
        try:
            (words,) = self.aligner.align(samples, [token.lattice])
        except AlignmentError:
            return None
        return [Timed(word.text, word.start_s + from_s, word.end_s + from_s) for word in words]

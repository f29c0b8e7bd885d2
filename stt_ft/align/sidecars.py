"""The words and times that `annotate` and `convert` write to a clip's sidecar.

`annotated` puts an aligner's words there, in written form. `spoken_sidecar` makes spoken form of them: each written number becomes its
words, each word with its own time. The times come from the best source at hand: the words that `annotate` heard; else an alignment of
the words on the sound of the span; else the span shared out by syllables.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import stt_ft
from stt_ft.align.aligner import AlignmentResult
from stt_ft.align.sphinx_aligner import SphinxAligner
from stt_ft.core.errors import AlignmentError, DatasetError, NoSidecar
from stt_ft.core.provenance import file_sha256
from stt_ft.core.storage import Readable
from stt_ft.core.timing import num_samples
from stt_ft.dataset.doubts import (
    DOUBTFUL,
    RIVALS,
    SPOKEN,
    TIMES_BY,
    TRUTH,
    Doubt,
    Rival,
    doubts_of,
    rivals_of,
    spoken_words_of,
    words_from_json,
    words_to_json,
)  # fmt: skip
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import LEFT_OUT, Sidecar, Word
from stt_ft.text.spoken_forms import SpokenToken, spoken_tokens

CONFIDENCE, MISMATCH = "confidence", "mismatch"
"""Keys of a sidecar: a list parallel to the aligner's words; the script and the words heard, where the two differ.

`dataset.sidecar.LEFT_OUT` is another: stretches that do not fit the script and are not among the words.
"""

CORRECTED = "corrected"
"""Key of a sidecar's provenance: somebody corrected its words by hand. `annotate` leaves them alone, unless it is told otherwise."""

LEAST_WORD_S = 0.01
"""No word is shorter than this."""

_MARGIN_S = 0.1
"""Sound taken on either side of a span that is aligned anew."""

_VOWELS = re.compile("[aeiouy]+")


def known_sidecar(data: Dataset, clip: Clip, found: Sidecar | DatasetError) -> Sidecar:
    """Return what was `found` as the sidecar of `clip`, an empty one where there is none, with the script that the sidecar or the manifest
    has; raises `DatasetError` where it is malformed."""
    if isinstance(found, DatasetError) and not isinstance(found, NoSidecar):
        raise found
    sidecar = Sidecar() if isinstance(found, DatasetError) else found
    script = sidecar.script if sidecar.script is not None else clip.extra.get("script")
    if script is not None and not isinstance(script, str):
        raise DatasetError(f"{data.directory}: clip {clip.path} has the script {script!r}; it must be a text")
    return dataclasses.replace(sidecar, script=script)


def provenance_of(sound: Readable, script: str | None, made_by: dict[str, Any]) -> dict[str, Any]:
    """Return the record of annotating a clip with this `sound`: the same record means the same result."""
    read_from = {} if script is None else {"script_sha256": hashlib.sha256(script.encode()).hexdigest()[:16]}
    return {**made_by, "stt_ft": stt_ft.__version__, "audio_sha256": file_sha256(sound)[:16], **read_from}


def annotated(sidecar: Sidecar, result: AlignmentResult, provenance: dict[str, Any]) -> Sidecar:
    """Return `sidecar` with the words of `result` in written form, without the results of an earlier `convert`."""
    words = tuple(Word(text=word.text, start_s=word.start_s, end_s=word.end_s) for word in result.words)
    own = (CONFIDENCE, SPOKEN, MISMATCH, RIVALS, DOUBTFUL, LEFT_OUT, TIMES_BY)
    extra = {key: value for key, value in sidecar.extra.items() if key not in own}
    known = {source: times for source, times in _times_by(sidecar).items() if source == TRUTH}
    extra |= {TIMES_BY: known} if known else {}
    extra[CONFIDENCE] = [round(word.confidence, 3) for word in result.words]
    if any(word.spoken for word in result.words):
        extra[SPOKEN] = [None if word.spoken is None else words_to_json(word.spoken) for word in result.words]
    if any(word.rival for word in result.words):
        extra[RIVALS] = [None if word.rival is None else word.rival.to_json() for word in result.words]
    if result.mismatch:
        extra[MISMATCH] = result.mismatch
    if result.left_out:
        extra[LEFT_OUT] = [[[round(one.start_s, 3), round(one.end_s, 3)], one.script, one.heard] for one in result.left_out]
    stages = {stage: record for stage, record in sidecar.provenance.items() if stage not in ("convert", "verify", CORRECTED)}
    return dataclasses.replace(sidecar, alignments=words, written=None, provenance={**stages, "annotate": provenance}, extra=extra)


def corrected(sidecar: Sidecar, start: int, stop: int, words: Sequence[Word]) -> Sidecar:
    """Return `sidecar` with `words` in the place of its words `start` to `stop` (exclusive), as somebody who listened says.

    What was known of those words, how sure it was and what else they may be, goes with them. `convert` sees that they are not what it made.
    """
    extra = {key: value for key, value in sidecar.extra.items() if key != MISMATCH}  # it is about what was heard before
    if sidecar.written is None:
        texts = [word.text for word in sidecar.alignments[start:stop]]
        for key, sure in ((CONFIDENCE, 1.0), (SPOKEN, None), (RIVALS, None)):
            beside = extra.get(key)
            if not isinstance(beside, list) or len(beside) != len(sidecar.alignments):
                continue
            is_moved = key == SPOKEN and texts == [word.text for word in words]  # said as before, somewhere else
            extra[key] = [*beside[:start], *(beside[start:stop] if is_moved else [sure] * len(words)), *beside[stop:]]
    if DOUBTFUL in extra:
        shift = len(words) - (stop - start)
        doubts = [one for one in doubts_of(sidecar) if one.stop <= start or one.start >= stop]
        moved = [dataclasses.replace(one, start=one.start + shift, stop=one.stop + shift) if one.start >= stop else one for one in doubts]
        extra[DOUBTFUL] = [one.to_json() for one in moved]
    alignments = (*sidecar.alignments[:start], *words, *sidecar.alignments[stop:])
    record = {CORRECTED: {"stt_ft": stt_ft.__version__}}
    return dataclasses.replace(sidecar, alignments=alignments, provenance={**sidecar.provenance, **record}, extra=extra)


def verified(sidecar: Sidecar, result: AlignmentResult, source: str, provenance: dict[str, Any]) -> Sidecar:
    """Return `sidecar` with the times that a second aligner gives its spoken words."""
    times = {**_times_by(sidecar), source: words_to_json(spoken_words_of(annotated(sidecar, result, {})))}
    return dataclasses.replace(sidecar, provenance={**sidecar.provenance, "verify": provenance}, extra={**sidecar.extra, TIMES_BY: times})


def _times_by(sidecar: Sidecar) -> dict[str, Any]:
    """Return the times by other sources that `sidecar` holds; none where the entry is malformed."""
    entry = sidecar.extra.get(TIMES_BY)
    return entry if isinstance(entry, dict) else {}


@dataclass(kw_only=True)
class SpokenSidecar:
    """The sidecar in spoken form, and the number of written tokens by the source of their times."""

    sidecar: Sidecar
    sources: Counter[str] = field(default_factory=Counter)


def spoken_sidecar(
    sidecar: Sidecar,
    *,
    language: str,
    style: str,
    duration_s: float,
    sound: Callable[[], np.ndarray] | None = None,
    aligner: SphinxAligner | None = None,
) -> SpokenSidecar:
    """Return `sidecar` with spoken `alignments`; the written form is kept under `written`, and every conversion starts from it.

    Args:
        sidecar: written form in `written`, or in `alignments` before the first conversion.
        language: `en`, `fr`, `fr-be` or `fr-ch`.
        style: `digits` or `auto`.
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
        said, rival = (list(written[token.start : token.stop]), None) if token.is_same else converter.convert(token)
        if rival is None and token.stop - token.start == 1:
            rival = rivals[token.start]
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
    aligner: SphinxAligner | None
    sources: Counter[str] = field(default_factory=Counter)

    def convert(self, token: SpokenToken) -> tuple[list[Word], Rival | None]:
        """Return the words that are said for a token, none for a mark alone; and the rival of what is heard here."""
        if not token.lattice.words and not token.lattice.is_open:
            return [], None
        speaker = self.written[token.start].speaker
        words, rival = self._timed(token)
        return [dataclasses.replace(word, speaker=speaker) for word in words], rival

    def _timed(self, token: SpokenToken) -> tuple[list[Word], Rival | None]:
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
            return fit_into_span(heard, start_s, end_s), None
        aligned, rival = self._align(token, start_s, end_s)
        if aligned:
            self.sources["realigned"] += 1
            start_s, end_s = widen(start_s, end_s, num_words=len(aligned), after_s=min(after_s, start_s), before_s=max(before_s, end_s))
            return fit_into_span(aligned, start_s, end_s), rival
        self.sources["syllables"] += 1
        return divide_by_syllables(token.lattice.words, start_s, end_s), None

    def _heard(self, token: SpokenToken) -> list[Word] | None:
        """Return the words that `annotate` heard for the token; None where `style` has no such reading."""
        if token.stop - token.start != 1:
            return None
        said = words_from_json(self.heard[token.start])
        return said if said and token.lattice.accepts([word.text for word in said]) else None

    def _align(self, token: SpokenToken, start_s: float, end_s: float) -> tuple[list[Word], Rival | None]:
        """Align the token on the sound of its span; no words when there is no sound or no path."""
        if self.aligner is None or self.sound is None:
            return [], None
        from_s = max(0.0, start_s - _MARGIN_S)
        samples = self.sound()[num_samples(from_s) : num_samples(end_s + _MARGIN_S)]
        try:
            (words,), (rival,) = self.aligner.align_with_rivals(samples, [token.lattice])
        except AlignmentError:
            return [], None
        return [word.moved(from_s) for word in words], rival


def divide_by_syllables(words: Sequence[str], start_s: float, end_s: float) -> list[Word]:
    """Share the span out among `words` by their syllables; raises `AlignmentError` when it is too short for them."""
    _require_room(words, start_s, end_s)
    weights = [num_syllables(word) for word in words]
    spare_s = (end_s - start_s) - LEAST_WORD_S * len(words)
    timed, begin_s, taken = [], start_s, 0
    for index, word in enumerate(words):
        taken += weights[index]
        stop_s = end_s if index == len(words) - 1 else start_s + LEAST_WORD_S * (index + 1) + spare_s * taken / sum(weights)
        timed.append(Word(text=word, start_s=begin_s, end_s=stop_s))
        begin_s = stop_s
    return timed


def fit_into_span(words: Sequence[Word], start_s: float, end_s: float) -> list[Word]:
    """Move `words` as little as needed to lie in order inside the span; raises `AlignmentError` when it is too short for them."""
    _require_room([word.text for word in words], start_s, end_s)
    fitted: list[Word] = []
    free_s = start_s
    for index, word in enumerate(words):
        rest_s = LEAST_WORD_S * (len(words) - index)
        begin_s = min(max(word.start_s, free_s), end_s - rest_s)
        next_start_s = words[index + 1].start_s if index + 1 < len(words) else end_s
        latest_s = end_s - (rest_s - LEAST_WORD_S)
        stop_s = min(max(min(word.end_s, max(next_start_s, begin_s)), begin_s + LEAST_WORD_S), latest_s)
        fitted.append(Word(text=word.text, start_s=begin_s, end_s=stop_s))
        free_s = stop_s
    return fitted


def widen(start_s: float, end_s: float, *, num_words: int, after_s: float, before_s: float) -> tuple[float, float]:
    """Return a span with room for `num_words`, grown as little as needed towards its neighbours at `after_s` and `before_s`.

    Raises:
        AlignmentError: the neighbours leave too little room.
    """
    start_s, end_s = max(start_s, after_s), min(end_s, before_s)
    missing_s = num_words * LEAST_WORD_S * 1.01 - (end_s - start_s)
    if missing_s <= 0:
        return start_s, end_s
    end_s = min(before_s, end_s + missing_s)
    start_s = max(after_s, min(start_s, end_s - num_words * LEAST_WORD_S * 1.01))
    if end_s - start_s < num_words * LEAST_WORD_S:
        raise AlignmentError(f"no room for {num_words} words between {after_s:.2f} s and {before_s:.2f} s")
    return start_s, end_s


def num_syllables(word: str) -> int:
    """Return about how many syllables `word` has, at least one: its groups of vowels, a last silent "e" not counted."""
    letters = "".join(glyph for glyph in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(glyph))
    groups = len(_VOWELS.findall(letters))
    if groups > 1 and letters.endswith("e") and not letters.endswith(("le", "ee", "ie", "oe", "ye")):
        groups -= 1
    return max(1, groups)


def _require_room(words: Sequence[str], start_s: float, end_s: float) -> None:
    if end_s - start_s < LEAST_WORD_S * len(words) - 1e-9:
        raise AlignmentError(f"{len(words)} words do not fit between {start_s:.3f} s and {end_s:.3f} s")

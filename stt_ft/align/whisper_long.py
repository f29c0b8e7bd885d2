"""Align a text with a clip longer than Whisper's window: the words of which Whisper is sure first, then the words between them.

Whisper writes every window of the clip freely. Where that agrees with the script for some words on end, the script is anchored; so it is
known which piece of it each window holds, and each window is aligned with its own. Where the two differ, both versions are read to the
decoder: Whisper mostly wrote something wrong, and the script stands. Where the sound speaks clearly against the script, that stretch is
left out, by its times, and the rest of the clip is kept.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from stt_ft.align.agreement import LEAST_RUN, Difference, agreeing, differences
from stt_ft.align.aligner import AlignedWord, LeftOut
from stt_ft.align.placing import Window, windows_of
from stt_ft.align.whisper_hearing import AlignedToken, KnownText, align_texts
from stt_ft.align.whisper_model import WhisperModel, short_window_s
from stt_ft.core.errors import AlignmentError, TextError
from stt_ft.core.timing import samples_to_s
from stt_ft.text.lattice import fixed
from stt_ft.text.spoken_forms import LANGUAGES, SpokenToken, spoken_tokens
from stt_ft.text.written_style import scoring_words

_BATCH_SIZE = 4
"""Windows encoded at once; the encoder's output takes most of the memory."""

_LEAST_KEPT = 0.5
"""Least share of a script's words that must be found in the sound; below it the script belongs to another clip."""

_NATS_PER_WORD = 2.5
"""Lead in log probability, by each word in which the two differ, that Whisper's text needs to stand against the script.

Chosen on tools/bench/long_clips.py: up to 2.4 where the script was said, 3.9 to 6.1 for three of four numbers that nobody said. Speech that
the script lacks needs no lead: a text with more words pays for each of them.
"""

_MAX_BORDERS = 16
"""Places tried at once for the border between two windows, where no anchor tells it."""

_MOST_MISHEARD = 8
"""Most words on the edges of a stretch that may be misheard words of the script, while the rest of the stretch is not said."""

_LONGEST_PERIOD, _MOST_REPEATS = 8, 4
"""Longest loop in words, and its least rounds: a greedy decoder that has lost the sound writes the same few words again and again."""

_SEAM_WORDS = 4
"""Words on either side of a cut through speech that are aligned again in one window."""

_SEAM_EDGE_S = 0.1


@dataclass(frozen=True, kw_only=True)
class _ScriptPart:
    """A word of the script in the form in which it is compared; `token` is its place in the script, `part` its place in the token."""

    text: str
    token: int
    part: int


@dataclass(kw_only=True)
class _Piece:
    """A token said at a place of a window, and the words aligned with it.

    Attributes:
        said: the words; None for a token of the script that is not said.
        token: its place in the script, if it has one.
        heard: its words, in seconds of the clip.
    """

    said: SpokenToken | None
    token: int | None
    heard: AlignedToken = field(default_factory=AlignedToken)


@dataclass(kw_only=True)
class _Passage:
    """A window of the clip.

    Attributes:
        features: its encoder output [1, F, D].
        written: the words that Whisper writes for it.
        start: first word of the script that it holds.
        stop: one past the last.
        refuted: where `written` stands instead of the script: places from `start` on, and places in `written`.
        pieces: the tokens said in it.
    """

    window: Window
    features: torch.Tensor
    written: list[str]
    start: int = 0
    stop: int = 0
    refuted: list[Difference] = field(default_factory=list)
    pieces: list[_Piece] = field(default_factory=list)

    def heard_words(self) -> list[tuple[AlignedToken, int]]:
        """Return the place of every word that is heard in it."""
        return [(piece.heard, place) for piece in self.pieces for place in range(len(piece.heard.words))]


def align_long(
    model: WhisperModel, samples: np.ndarray, tokens: Sequence[SpokenToken], *, language: str
) -> tuple[list[AlignedToken], tuple[LeftOut, ...]]:
    """Return the words aligned with `tokens` in a clip of any length, and the stretches that are left out, whose tokens have no words.

    Raises:
        AlignmentError: most of the text does not fit the sound, or there is no speech in it.
    """
    words = _script_words(tokens)
    passages = _written(model, samples, language)
    if not passages:
        raise AlignmentError("no speech was heard in it")
    pairs = agreeing([word.text for word in words], [text for passage in passages for text in passage.written])
    _share_out(model, passages, words, pairs)
    first = 0
    for passage in passages:
        own = [(row - passage.start, column - first) for row, column in pairs if first <= column < first + len(passage.written)]
        own = [pair for pair in own if 0 <= pair[0] < passage.stop - passage.start]
        passage.refuted = _refuted(model, passage, words[passage.start : passage.stop], own)
        first += len(passage.written)
    return _put_together(model, samples, tokens, words, passages, language)


def _script_words(tokens: Sequence[SpokenToken]) -> list[_ScriptPart]:
    """Return the words of the script as they are compared; a mark alone has none."""
    found = []
    for index, token in enumerate(tokens):
        for part, word in enumerate(token.lattice.words):
            found += [_ScriptPart(text=text, token=index, part=part) for text in _compared(word)]
    return found


def _compared(text: str) -> list[str]:
    return ["zero" if word == "oh" else word for word in scoring_words(text)]


def _written(model: WhisperModel, samples: np.ndarray, language: str) -> list[_Passage]:
    """Return the windows of a sound with the words that Whisper writes for each, greedily."""
    windows = windows_of(samples)
    passages = []
    for first in range(0, len(windows), _BATCH_SIZE):
        some = windows[first : first + _BATCH_SIZE]
        with torch.inference_mode():
            features = model.encode([window.of(samples) for window in some])
        durations_s = [window.end_s - window.start_s for window in some]
        for row, result in enumerate(model.writer.write(features, durations_s, num_beams=1)):
            passages.append(_Passage(window=some[row], features=features[row : row + 1], written=_spoken(result.text, language)))
    return passages


def _spoken(text: str, language: str) -> list[str]:
    """Return a transcript as the script is compared: numbers digit by digit, no marks."""
    written = text.split()
    try:
        said = spoken_tokens(written, language=language, style="digits") if language in LANGUAGES else None
    except TextError:
        said = None
    return _without_loop(_compared(" ".join(written if said is None else [word for token in said for word in token.lattice.words])))


def _without_loop(words: list[str]) -> list[str]:
    """Return a transcript up to where it begins to repeat itself until its end."""
    for period in range(1, _LONGEST_PERIOD + 1):
        num_alike = next((place for place in range(len(words) - period) if words[-1 - place] != words[-1 - place - period]), None)
        num_alike = len(words) - period if num_alike is None else num_alike
        if num_alike >= _MOST_REPEATS * max(period, LEAST_RUN):
            return words[: len(words) - num_alike]
    return words


def _share_out(model: WhisperModel, passages: Sequence[_Passage], words: Sequence[_ScriptPart], pairs: Sequence[tuple[int, int]]) -> None:
    """Give each passage its words of the script; where no anchor tells the border between two, the likeliest one is taken."""
    num_written = 0
    for passage, following in itertools.pairwise(passages):
        num_written += len(passage.written)
        before = [row for row, column in pairs if column < num_written]
        after = [row for row, column in pairs if column >= num_written]
        low, high = max(before[-1] + 1 if before else 0, passage.start), after[0] if after else len(words)
        passage.stop = following.start = max(low, high) if low >= high else _border(model, passage, following, words, low, high)
    passages[-1].stop = len(words)
    places = [(word.token, word.part) for word in words]
    for passage, following in itertools.pairwise(passages):
        while 0 < passage.stop < len(words) and places[passage.stop - 1] == places[passage.stop]:  # "twenty-three" is not parted
            passage.stop -= 1
        passage.start, following.start = min(passage.start, passage.stop), passage.stop


def _border(model: WhisperModel, passage: _Passage, following: _Passage, words: Sequence[_ScriptPart], low: int, high: int) -> int:
    """Return the place between `low` and `high` at which the script is likeliest to pass from one window to the next.

    Its score is the likelihood of the words before it as the end of one window, and of those behind it as the beginning of the next.
    """
    lead = [word.text for word in words[passage.start : low]]
    between = [word.text for word in words[low:high]]
    tail = [word.text for word in words[high : high + _MAX_BORDERS]]
    first, last = low, high
    while True:
        places = sorted({round(place) for place in np.linspace(first, last, min(last - first + 1, _MAX_BORDERS))})
        ends = _scores(model, passage, [[*lead, *between[: place - low]] for place in places])
        begins = _scores(model, following, [[*between[place - low :], *tail] for place in places], is_whole=False)
        best = int(np.argmax(np.array(ends) + np.array(begins)))
        if len(places) == last - first + 1:
            return places[best]
        first, last = places[max(0, best - 1)], places[min(len(places) - 1, best + 1)]


def _scores(model: WhisperModel, passage: _Passage, texts: Sequence[Sequence[str]], *, is_whole: bool = True) -> list[float]:
    """Return the log likelihood of each text in a window, its end included where it is the whole; -inf of one that is too long."""
    tokens = [model.tokens_of(*text) for text in texts]
    rows = [row for row, text in enumerate(tokens) if len(text) <= model.max_text_tokens]
    scores = [-np.inf] * len(texts)
    if not rows:
        return scores
    readings = model.read(passage.features.expand(len(rows), -1, -1), [tokens[row] for row in rows])
    for row, reading in zip(rows, readings, strict=True):
        text = [*tokens[row], model.tokenizer.eot][: len(tokens[row]) + is_whole]
        scores[row] = float(reading.log_probs[torch.arange(len(text)), torch.tensor(text, dtype=torch.long)].double().sum())
    return scores


def _refuted(model: WhisperModel, passage: _Passage, words: Sequence[_ScriptPart], pairs: Sequence[tuple[int, int]]) -> list[Difference]:
    """Return the stretches in which Whisper's text stands against the script; each is scored alone in the script's place."""
    script = [word.text for word in words]
    doubtful = [one for one in differences(pairs, len(script), len(passage.written)) if one.num_words >= LEAST_RUN]
    if not doubtful:
        return []
    versions_of = {one: _versions(one, words) for one in doubtful}
    versions = [version for one in doubtful for version in versions_of[one]]
    texts = [[*script[: one.start], *passage.written[one.other_start : one.other_stop], *script[one.stop :]] for one in versions]
    as_written, *others = _scores(model, passage, [script, *texts])
    lead = {one: score - as_written for one, score in zip(versions, others, strict=True)}
    found = []
    for one in doubtful:
        best = max(versions_of[one], key=lambda version: lead[version])
        has_more = best.other_stop - best.other_start >= best.stop - best.start + LEAST_RUN
        if lead[best] > (0.0 if has_more else _NATS_PER_WORD * best.num_words):
            found.append(best)
    return found


def _versions(one: Difference, words: Sequence[_ScriptPart]) -> list[Difference]:
    """Return a difference, and those parts of it in which the side with fewer words has none: the others stand there misheard.

    Of words that nobody says, also the whole tokens: which of two like digits is not said, Whisper's text does not tell.
    """
    script, written = one.stop - one.start, one.other_stop - one.other_start
    fewer = min(script, written)
    found = [one]
    if abs(script - written) >= LEAST_RUN and 0 < fewer <= _MOST_MISHEARD:
        kept = [(before, fewer - before) for before in range(fewer + 1)]
        found += [
            Difference(start=one.start + first, stop=one.stop - last, other_start=one.other_start + first, other_stop=one.other_stop - last)
            for first, last in kept
        ]
    elif script >= LEAST_RUN and not written:
        tokens = [word.token for word in words]
        whole = [place for place in range(one.start, one.stop) if tokens.index(tokens[place]) >= one.start]
        whole = [place for place in whole if tokens[place] not in tokens[one.stop :]]
        if len(whole) >= LEAST_RUN and len(whole) < script:
            found.append(dataclasses.replace(one, start=whole[0], stop=whole[-1] + 1))
    return found


def _put_together(
    model: WhisperModel,
    samples: np.ndarray,
    tokens: Sequence[SpokenToken],
    words: Sequence[_ScriptPart],
    passages: Sequence[_Passage],
    language: str,
) -> tuple[list[AlignedToken], tuple[LeftOut, ...]]:
    """Align every passage with the tokens said in it; return the words of each token of the script and the stretches left out."""
    refuted = [(passage.start + one.start, passage.start + one.stop) for passage in passages for one in passage.refuted]
    dropped = {word.token for start, stop in refuted for word in words[start:stop]}
    for passage in passages:
        passage.pieces = _pieces(tokens, words, passage, dropped)
    faults = []
    for passage in passages:
        try:
            _align_passage(model, samples, passage, language)
        except AlignmentError as fault:
            faults.append(fault)
            dropped |= {piece.token for piece in passage.pieces if piece.token is not None}
    if len(faults) == len(passages):
        raise faults[0]
    _mend_seams(model, samples, passages, language)
    aligned = [AlignedToken() for _ in tokens]
    for piece in (piece for passage in passages for piece in passage.pieces):
        if piece.token is not None and piece.token not in dropped:
            token = aligned[piece.token]
            token.words += piece.heard.words
            token.expected += piece.heard.expected
            token.rival = piece.heard.rival
    left_out = _left_out(tokens, passages, dropped)
    num_kept = sum(word.token not in dropped for word in words)
    if num_kept < _LEAST_KEPT * len(words):
        raise AlignmentError(
            f"the script does not fit the sound: {num_kept} of its {len(words)} words are heard, from {left_out[0].start_s:.1f} s on"
            " others; correct its script"
        )
    return aligned, left_out


def _pieces(tokens: Sequence[SpokenToken], words: Sequence[_ScriptPart], passage: _Passage, dropped: set[int]) -> list[_Piece]:
    """Return the tokens said in a passage: those of the script, and Whisper's words where the script is refuted."""
    num_parts = Counter(token for token, _ in {(word.token, word.part) for word in words})
    pieces: list[_Piece] = []
    begin = passage.start
    for one in [*passage.refuted, None]:
        stop = passage.stop if one is None else passage.start + one.start
        for token, group in itertools.groupby(words[begin:stop], key=lambda word: word.token):
            parts = list(dict.fromkeys(word.part for word in group))
            is_whole = len(parts) == num_parts[token] and token not in dropped
            said = tokens[token] if is_whole else _word_token([tokens[token].lattice.words[part] for part in parts])
            pieces.append(_Piece(said=said, token=token))
        if one is not None:
            begin = passage.start + one.stop
            unsaid = dict.fromkeys(word.token for word in words[stop:begin])
            pieces += [_Piece(said=None, token=token) for token in unsaid]
            pieces += [_Piece(said=_word_token([text]), token=None) for text in passage.written[one.other_start : one.other_stop]]
    return pieces


def _word_token(words: Sequence[str]) -> SpokenToken:
    return SpokenToken(start=0, stop=1, written=tuple(words), lattice=fixed(words))


def _align_passage(model: WhisperModel, samples: np.ndarray, passage: _Passage, language: str) -> None:
    """Align the tokens said in a passage; raises `AlignmentError` when they do not fit."""
    said = [(piece, piece.said) for piece in passage.pieces if piece.said is not None]
    if not said:
        return
    text = KnownText(samples=passage.window.of(samples), tokens=[token for _, token in said])
    (aligned,) = align_texts(model, passage.features, [text], language=language)
    if isinstance(aligned, AlignmentError):
        raise aligned
    for (piece, _), token in zip(said, aligned, strict=True):
        piece.heard = dataclasses.replace(token, words=[_moved(word, passage.window.start_s) for word in token.words])


def _moved(word: AlignedWord, by_s: float) -> AlignedWord:
    return dataclasses.replace(word, start_s=round(word.start_s + by_s, 4), end_s=round(word.end_s + by_s, 4))


def _mend_seams(model: WhisperModel, samples: np.ndarray, passages: Sequence[_Passage], language: str) -> None:
    """Align the words around every cut through speech again, in a window that has the cut in its middle."""
    for passage, following in itertools.pairwise(passages):
        before, after = passage.heard_words()[-_SEAM_WORDS:], following.heard_words()[:_SEAM_WORDS]
        if not passage.window.cuts_speech or len(before) < _SEAM_WORDS or len(after) < _SEAM_WORDS:
            continue
        places = [*before, *after]
        words = [token.words[place] for token, place in places]
        window = Window(start_s=max(0.0, words[0].start_s - _SEAM_EDGE_S), end_s=words[-1].end_s + _SEAM_EDGE_S)
        sound = window.of(samples)
        with torch.inference_mode():
            features = model.encode([sound], short_window_s(samples_to_s(len(sound))))
        text = KnownText(samples=sound, tokens=[_word_token([word.text]) for word in words])
        (again,) = align_texts(model, features, [text], language=language)
        if isinstance(again, AlignmentError):
            continue
        free_s = words[0].end_s
        for (token, place), heard in list(zip(places, again, strict=True))[1:-1]:
            word = _moved(heard.words[0], window.start_s)
            start_s = min(max(word.start_s, free_s), words[-1].start_s)
            free_s = min(max(word.end_s, start_s), words[-1].start_s)
            token.words[place] = dataclasses.replace(word, start_s=start_s, end_s=free_s)


def _left_out(tokens: Sequence[SpokenToken], passages: Sequence[_Passage], dropped: set[int]) -> tuple[LeftOut, ...]:
    """Return the stretches between kept words in which the script and the sound do not fit."""
    pieces = [piece for passage in passages for piece in passage.pieces]
    groups = [(is_out, list(group)) for is_out, group in itertools.groupby(pieces, key=lambda piece: piece.token in {None, *dropped})]
    sounds = [[word for piece in group for word in piece.heard.words] for _, group in groups]
    found = []
    for place, (is_out, group) in enumerate(groups):
        if is_out:
            before_s = sounds[place - 1][-1].end_s if place else passages[0].window.start_s
            after_s = sounds[place + 1][0].start_s if place + 1 < len(groups) else passages[-1].window.end_s
            own = sounds[place]
            unsaid = dict.fromkeys(piece.token for piece in group if piece.token is not None)
            found.append(
                LeftOut(
                    start_s=own[0].start_s if own else before_s,
                    end_s=own[-1].end_s if own else after_s,
                    script=" ".join(text for token in unsaid for text in tokens[token].written),
                    heard=" ".join(word.text for word in own),
                )
            )
    return tuple(found)

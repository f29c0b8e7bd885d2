"""Whisper over clips whose text is known: the reading of each number, the time of each word, and the digits that sound misread.

Numbers are aligned in spoken form, so that each of their words has its own time. Where a number can be said in several ways ("zero",
"oh"), its whole readings are compared, never their first words alone: a reading's score is the log probability of its tokens and of the few
words behind it, after the words before it. Whisper is shown numbers in words first (`_PROMPTS`), since by its own taste it writes digits.

Readings share their beginnings, so that all of them go through the decoder together, as a tree: each token attends to those on its own
branch, and the encoder's output is projected once for each clip. Where a number has too many readings for one tree, the tree grows in
steps, and the best beginnings at each node are kept.

Where a digit may have been misread, the decoder's own expectation at that place decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from stt_ft.align.aligner import AlignedWord
from stt_ft.align.placing import place_words
from stt_ft.align.whisper_model import FRAMES_PER_S, DecoderOutput, WhisperModel
from stt_ft.align.whisper_writing import next_token_logits
from stt_ft.core.errors import AlignmentError
from stt_ft.core.timing import samples_to_s
from stt_ft.dataset.doubts import Rival
from stt_ft.text.lattice import Lattice
from stt_ft.text.spoken_forms import LANGUAGES, SpokenToken, language_named

_PROMPTS = {
    "en": " double four, twelve oh four, nine hundred, seven zero three, eighty five fifteen, triple six, two thousand ten,",
    "fr": " double quatre, douze zéro quatre, neuf cents, sept zéro trois, quatre-vingt-cinq quinze, triple six, deux mille dix,",
}
"""Language -> the text that Whisper is given as the one before the clip."""

_CLOSE_LEAD = 2.5
"""Lead in nats that the best reading needs to be trusted (by tools/bench/readings.py, tiny.en)."""

_MAX_TREE = 64
"""Beginnings of readings that are scored in one pass."""

_KEPT_AT_NODE = 4
_NUM_WORDS_BEHIND = 3
_SPARE_TOKENS = 96
"""A number is left in its plain reading where the decoder has no more room than this behind the words before it."""

_MISREAD_CONFIDENCE = 0.9
"""A digit counts as misread when another is expected at its place with this share of the probability that digits have."""

_Words = tuple[str, ...]


@dataclass(kw_only=True)
class AlignedToken:
    """The result for a token of a text.

    Attributes:
        words: its words with their times; none of a mark without sound.
        expected: the words that the decoder expects, each with its confidence that the script's digit is wrong; None where both agree.
        rival: the reading that came second.
    """

    words: list[AlignedWord] = field(default_factory=list)
    expected: list[tuple[str, float | None]] = field(default_factory=list)
    rival: Rival | None = None


@dataclass(frozen=True, kw_only=True)
class KnownText:
    """A clip's sound and the tokens of its text."""

    samples: np.ndarray
    tokens: Sequence[SpokenToken]


def align_texts(
    model: WhisperModel, features: torch.Tensor, texts: Sequence[KnownText], *, language: str
) -> list[list[AlignedToken] | AlignmentError]:
    """Align every text in one decoder pass, once the readings of its numbers are chosen by their likelihood.

    Args:
        features: encoder output [B, F, D], one row for each text.

    Returns:
        the result for each token of each text, or the reason why the text cannot be aligned.
    """
    done: dict[int, list[AlignedToken] | AlignmentError] = {}
    choices: dict[int, tuple[list[_Words], list[Rival | None]]] = {}
    for row, text in enumerate(texts):
        num_tokens = sum(len(model.tokens_of(*token.lattice.words)) for token in text.tokens)
        if num_tokens > model.max_text_tokens:
            limit = f"Whisper reads at most {model.max_text_tokens} at once: cut the clip"
            done[row] = AlignmentError(f"its script has {num_tokens} tokens in {samples_to_s(len(text.samples)):.0f} s; {limit}")
        else:
            choices[row] = choose_readings(model, features[row], text.tokens)
    rows = list(choices)
    words = [_words(model, choices[row][0]) for row in rows]
    outputs = model.read(features[rows], [[token for word in own for token in word.tokens] for own in words]) if rows else []
    for row, own, output in zip(rows, words, outputs, strict=True):
        aligned = [AlignedToken(rival=rival) for rival in choices[row][1]]
        try:
            for word, timed in _timed(model, texts[row].samples, own, output):
                aligned[word.token].words.append(timed)
            for word, expected in zip(own, _expected(model, own, output, language), strict=True):
                aligned[word.token].expected.append(expected)
            done[row] = aligned
        except AlignmentError as error:
            done[row] = error
    return [done[row] for row in range(len(texts))]


@dataclass(frozen=True, kw_only=True)
class _Said:
    """A word of token `token` of a text, its text tokens, and the place of the first of them in the decoder's output."""

    text: str
    token: int
    tokens: list[int]
    place: int


def _words(model: WhisperModel, said: Sequence[Sequence[str]]) -> list[_Said]:
    words, place = [], 0
    for index, word in ((index, word) for index, own in enumerate(said) for word in own):
        tokens = model.tokens_of(word)
        words.append(_Said(text=word, token=index, tokens=tokens, place=place))
        place += len(tokens)
    return words


def _timed(model: WhisperModel, samples: np.ndarray, words: Sequence[_Said], output: DecoderOutput) -> list[tuple[_Said, AlignedWord]]:
    """Return the words that have a sound, with times from the decoder's attention and the mean probability of their text tokens."""
    if not bool(output.log_probs.isfinite().all()):
        raise AlignmentError("the Whisper model's output is not finite: a broken checkpoint, or numbers too large for float16")
    num_frames = max(1, min(output.scores.shape[-1], int(np.ceil(samples_to_s(len(samples)) * FRAMES_PER_S))))
    log_shares = model.attention.log_shares(output.scores[:, :-1], num_frames)  # [L, F]
    words = [word for word in words if any(glyph.isalnum() for glyph in word.text)]
    if not words:
        return []
    own_shares = np.concatenate([log_shares[word.place : word.place + len(word.tokens)] for word in words])
    spans = place_words(samples, own_shares, [len(word.tokens) for word in words], shares_per_s=FRAMES_PER_S)
    timed = []
    for word, (start_s, end_s) in zip(words, spans, strict=True):
        confidence = float(np.mean([float(output.log_probs[word.place + index, token].exp()) for index, token in enumerate(word.tokens)]))
        timed.append((word, AlignedWord(text=word.text, start_s=round(start_s, 4), end_s=round(end_s, 4), confidence=confidence)))
    return timed


def _expected(model: WhisperModel, words: Sequence[_Said], output: DecoderOutput, language: str) -> list[tuple[str, float | None]]:
    """Return the words, digits replaced by the digits that the decoder surely expects in their place, and how surely (`AlignedToken`)."""
    digits = language_named(language).digits if language in LANGUAGES else ()
    firsts = [model.tokens_of(digit)[0] for digit in digits]
    expected: list[tuple[str, float | None]] = []
    for word in words:
        expected.append((word.text, None))
        if word.text in digits:
            probs = output.log_probs[word.place, firsts].exp()
            share, likeliest = float(probs.max() / probs.sum().clamp(min=1e-12)), int(probs.argmax())
            if likeliest != digits.index(word.text) and share > _MISREAD_CONFIDENCE:
                expected[-1] = (digits[likeliest], share)
    return expected


def mismatch_of(script: str, aligned: Sequence[AlignedToken]) -> dict[str, Any] | None:
    """Return the sidecar's entry for a script with a digit that was read as another, or None."""
    expected = [word for token in aligned for word in token.expected]
    misread = [share for _, share in expected if share is not None]
    if not misread:
        return None
    return {"script": script, "heard": " ".join(text for text, _ in expected), "confidence": round(min(misread), 3)}


def choose_readings(model: WhisperModel, features: torch.Tensor, tokens: Sequence[SpokenToken]) -> tuple[list[_Words], list[Rival | None]]:
    """Return the words in which each of `tokens` was said, and for each the reading that came second; None where there is only one.

    One number is chosen after the other, behind the earlier ones as chosen, without the later ones.

    Args:
        features: encoder output of one clip [F, D].
    """
    said = [token.lattice.words for token in tokens]
    rivals: list[Rival | None] = [None] * len(tokens)
    if not any(token.lattice.is_open for token in tokens):
        return said, rivals
    tree = ReadingTree(model, features)
    for index, token in enumerate(tokens):
        if not token.lattice.is_open:
            continue
        before = [word for words in said[:index] for word in words]
        behind, ends = _words_behind(tokens[index + 1 :])
        if tree.room_behind(before) < _SPARE_TOKENS:
            continue
        ranked = tree.ranked(token.lattice, before, behind, ends=ends)
        said[index] = ranked[0][1]
        if len(ranked) > 1:
            lead = ranked[0][0] - ranked[1][0]
            rivals[index] = Rival(words=ranked[1][1], lead=lead, is_close=lead < _CLOSE_LEAD)
    return said, rivals


def _words_behind(following: Sequence[SpokenToken]) -> tuple[_Words, bool]:
    """Return the words that surely come next, up to `_NUM_WORDS_BEHIND`, and whether the text ends behind them."""
    words: _Words = ()
    for token in following:
        if token.lattice.is_open or len(words) >= _NUM_WORDS_BEHIND:
            return words, False
        words += token.lattice.words
    return words, True


class ReadingTree:
    """Scores texts that begin alike against one clip; each beginning is scored once."""

    def __init__(self, model: WhisperModel, features: torch.Tensor) -> None:
        self._model = model
        self._decoder = model.model.decoder
        tokenizer = model.tokenizer
        prompt = _PROMPTS.get(model.language.partition("-")[0].lower())
        shown = [tokenizer.sot_prev, *tokenizer.encode(prompt)] if prompt else []
        self._start = [*shown, *tokenizer.sot_sequence, tokenizer.no_timestamps]
        self._sound = features[None]
        self._projected: dict[Any, torch.Tensor] = {}  # of each layer's cross attention: keys and values of the sound, [1, F, D]
        with torch.inference_mode():
            for block in self._decoder.blocks:
                for projection in (block.cross_attn.key, block.cross_attn.value):
                    self._projected[projection] = projection(self._sound)
        self._log_probs: dict[tuple[int, ...], float] = {}

    def room_behind(self, words: Sequence[str]) -> int:
        """Return the number of tokens that the decoder can read behind `words`."""
        return self._model.model.dims.n_text_ctx - len(self._start) - len(self._model.tokens_of(*words)) - 1

    def ranked(self, lattice: Lattice, before: Sequence[str], behind: Sequence[str], *, ends: bool) -> list[tuple[float, _Words]]:
        """Return the best readings of `lattice` between `before` and `behind`, the best first, with their scores in nats.

        Args:
            ends: whether the text ends behind `behind`.
        """
        growing: dict[tuple[int, _Words], None] = {(0, ()): None}  # node, words said up to it
        while True:
            growing = self._grown(lattice, growing)
            if all(node == lattice.last for node, _ in growing):
                break
            growing = self._best_at_nodes(lattice, growing, before)
        readings = [words for _, words in growing]
        tail = [self._model.tokenizer.eot] if ends else []
        scores = self.scores([[*self._model.tokens_of(*before, *words, *behind), *tail] for words in readings])
        return sorted(zip(scores, readings, strict=True), key=lambda scored: -scored[0])

    def scores(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """Return the log probability of each text of tokens."""
        unknown = [text for text in texts if any(tuple(text[:stop]) not in self._log_probs for stop in range(1, len(text) + 1))]
        if unknown:
            self._read(unknown)
        return [sum(self._log_probs[tuple(text[:stop])] for stop in range(1, len(text) + 1)) for text in texts]

    def _grown(self, lattice: Lattice, growing: dict[tuple[int, _Words], None]) -> dict[tuple[int, _Words], None]:
        """Take the beginnings that are least far one arc further, again and again, until they are many or all at the end."""
        while True:
            node = min(node for node, _ in growing)
            if node == lattice.last:
                return growing
            grown = {state: None for state in growing if state[0] != node}
            for at, words in growing:
                if at == node:
                    grown |= {(arc.stop, words + arc.words): None for arc in lattice.arcs if arc.start == node}
            growing = grown
            if len(growing) > _MAX_TREE:
                return growing

    def _best_at_nodes(
        self, lattice: Lattice, growing: dict[tuple[int, _Words], None], before: Sequence[str]
    ) -> dict[tuple[int, _Words], None]:
        """Keep the best beginnings at each node, and all the whole readings."""
        states = [state for state in growing if state[0] != lattice.last]
        scores = dict(zip(states, self.scores([self._model.tokens_of(*before, *words) for _, words in states]), strict=True))
        kept = {state: None for state in growing if state[0] == lattice.last}
        for node in sorted({node for node, _ in states}):
            here = sorted((state for state in states if state[0] == node), key=lambda state: -scores[state])
            kept |= dict.fromkeys(here[:_KEPT_AT_NODE])
        return kept

    def _read(self, texts: Sequence[Sequence[int]]) -> None:
        """Pass the tree of `texts` through the decoder, once, and remember the log probability of each of its tokens."""
        tokens, parents = list(self._start), list(range(-1, len(self._start) - 1))
        root = len(tokens) - 1
        place_of: dict[tuple[int, ...], int] = {(): root}
        for text in texts:
            for stop in range(1, len(text) + 1):
                branch = tuple(text[:stop])
                if branch not in place_of:
                    place_of[branch] = len(tokens)
                    parents.append(place_of[branch[:-1]])
                    tokens.append(branch[-1])
        new = [branch for branch in place_of if branch and branch not in self._log_probs]
        expecting = sorted({parents[place_of[branch]] for branch in new})
        row_of = {place: row for row, place in enumerate(expecting)}
        log_probs = self._log_probs_at(tokens, parents, expecting)  # [E, V]
        rows = torch.tensor([row_of[parents[place_of[branch]]] for branch in new])
        values = log_probs.cpu()[rows, torch.tensor([branch[-1] for branch in new])]
        self._log_probs |= dict(zip(new, values.tolist(), strict=True))

    def _log_probs_at(self, tokens: Sequence[int], parents: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        """Return the log probabilities of the token behind each of `places` in a tree of tokens, [E, V]."""
        on_branch = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
        depths: list[int] = []
        for place, parent in enumerate(parents):
            if parent >= 0:
                on_branch[place] = on_branch[parent]
            on_branch[place, place] = True
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        device = self._model.device
        mask = torch.zeros(on_branch.shape, dtype=self._sound.dtype).masked_fill(~on_branch, float("-inf")).to(device)
        row, positions, asked = (torch.tensor(each, device=device) for each in ([tokens], depths, places))
        with torch.inference_mode(), self._model.explicit_attention():
            logits = next_token_logits(self._decoder, row, positions, self._sound, asked, mask=mask, cache=self._projected)
            return logits[0].log_softmax(dim=-1)

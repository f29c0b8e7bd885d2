"""Word times by pocketsphinx, whose wheel carries an English acoustic model: no download, about a hundredth of real time.

All ways of saying the text are put into one finite-state grammar, so that one Viterbi pass both times the words and picks the reading
("zero" or "oh", "five five" or "double five") that was spoken.

French numbers are aligned with the same English model: espeak-ng says how a word sounds, and each French sound is given the English ones
that lie nearest. That suffices to choose between readings that are known; it was measured on synthetic voices alone.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from stt_ft.align.aligner import AlignedWord, AlignmentJob, AlignmentResult, script_tokens, script_words
from stt_ft.align.placing import STEP_S, place_words, shares_of_spans
from stt_ft.audio.files import read_audio, resample
from stt_ft.audio.synthesis import Synthesizer
from stt_ft.core.errors import AlignmentError, MissingExtra, SttFtError
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.dataset.doubts import Rival
from stt_ft.text.lattice import Arc, Lattice, fixed, without

_MODEL_RATE_HZ = 16_000
_FRAMES_PER_S = 100
_BEAM = 0.0  # no pruning: a narrow beam loses clips (at 1e-48 one in eight of synthetic speech), and a whole search costs a third more
_SILENCE_PRIOR = 1e-10  # a pause must be clearly heard: at the default 0.005 soft words are now and then taken for one
_LEAST_SAMPLES = 1200  # two frames
_PEAK = 0.5
_DITHER_RMS = 3e-4  # digital silence has no spectrum: without a little noise the model finds no path through it
_DITHER_SEED = 20_250
_LOG_SCALE = 1024  # pocketsphinx keeps acoustic scores in steps of 2**10
_COST_AT_HALF = 4.0  # nats a frame at which confidence is one half; words rightly placed have about 1.5, wrong ones 6 and more
_CLOSE_LEAD = 20.0  # nats by which the best reading must lead to be trusted (by tools/bench/readings.py)
_LETTER_PREFIX = "letter-"

LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH", "i": "AY", "j": "JH EY",
    "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY", "q": "K Y UW", "r": "AA R", "s": "EH S", "t": "T IY",
    "u": "Y UW", "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}  # fmt: skip
"""How single letters are said when spelled out."""

_SOUNDS = {
    "tch": "CH", "sch": "SH", "igh": "AY", "eigh": "EY", "ough": "AO", "augh": "AO", "tion": "SH AH N", "sion": "ZH AH N",
    "ture": "CH ER", "cious": "SH AH S", "tious": "SH AH S", "dge": "JH", "qu": "K W", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F",
    "wh": "W", "ck": "K", "ng": "NG", "nk": "NG K", "gh": "G", "kn": "N", "wr": "R", "ps": "P S", "ee": "IY", "ea": "IY", "oo": "UW",
    "ou": "AW", "ow": "OW", "oa": "OW", "oi": "OY", "oy": "OY", "ai": "EY", "ay": "EY", "au": "AO", "aw": "AO", "ei": "EY", "ey": "IY",
    "ie": "IY", "ew": "Y UW", "ue": "UW", "ui": "UW", "ar": "AA R", "er": "ER", "ir": "ER", "ur": "ER", "or": "AO R", "ce": "S EH",
    "ci": "S IH", "cy": "S IY", "ge": "JH EH", "gi": "JH IH", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G",
    "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S",
    "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_LONG_VOWELS = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
_LONGEST = max(map(len, _SOUNDS))
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxz")


_FRENCH_PHONES = {
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "f": "F", "v": "V", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH",
    "m": "M", "n": "N", "ɲ": "N Y", "ŋ": "NG", "l": "L", "ʁ": "HH", "j": "Y", "w": "W", "ɥ": "W", "i": "IY", "y": "UW",
    "u": "UW", "e": "EY", "ø": "UH", "ə": "AH", "o": "OW", "ɛ": "EH", "œ": "UH", "ɔ": "OW", "a": "AA", "ɑ": "AA",
    "ɛ̃": "AE N", "œ̃": "AH N", "ɔ̃": "OW N", "ɑ̃": "AO N", "ɪ": "IH", "ɹ": "R", "h": "HH",
}  # fmt: skip
"""IPA -> the nearest phones of the English model: those with which known words fit two French synthesisers best."""

_OTHER_FRENCH_PHONES = {"ʁ": "R", "a": "AE", "ɛ̃": "AA N"}
"""The same for a second pronunciation of every word: these sounds differ from voice to voice."""

_LIAISONS = {
    "six": ("s i", "s i z"), "dix": ("d i", "d i z"), "huit": ("y i",), "cinq": ("s ɛ̃",), "neuf": ("n œ v",),
    "vingt": ("v ɛ̃ t",), "vingts": ("v ɛ̃ z",), "deux": ("d ø z",), "trois": ("t ʁ w a z",), "sept": ("s ɛ t ə",),
    "quatre": ("k a t", "k a t ʁ ə"), "cent": ("s ɑ̃ t",), "cents": ("s ɑ̃ z",), "plus": ("p l y s",), "heures": ("œ ʁ z",),
    "trente": ("t ʁ ɑ̃ t ə",),
}  # fmt: skip
"""French word -> how else it sounds, by what comes after it."""


class SphinxWork:
    """pocketsphinx over clips, one after another: an engine has a process for each core (`core/engine.py`)."""

    def __init__(self) -> None:
        try:
            version = importlib.metadata.version("pocketsphinx")
        except importlib.metadata.PackageNotFoundError:
            raise MissingExtra("pocketsphinx", "synth", "aligner sphinx") from None
        self.provenance = {"aligner": "sphinx", "pocketsphinx": version, "model": "en-us", "readings": "whole"}

    @functools.cached_property
    def _aligner(self) -> SphinxAligner:
        return SphinxAligner()

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        yield from (self._aligner.result(job) for job in jobs)


class SphinxAligner:
    """Aligns known text with pocketsphinx: English, or French words of numbers (`language` "fr", "fr-be" …).

    Deterministic: a clip's times depend on nothing but the clip and its text.
    """

    def __init__(self, language: str = "en") -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise MissingExtra("pocketsphinx", "synth", "aligner sphinx") from None
        self._synthesizer = Synthesizer(is_alone=True) if language.startswith("fr") else None  # says how French words sound
        self._decoder = pocketsphinx.Decoder(
            lm=None,
            samprate=_MODEL_RATE_HZ,
            loglevel="FATAL",
            cmn="batch",
            bestpath=False,  # rescoring a lattice forgets that the text must be said to its end
            beam=_BEAM,
            pbeam=_BEAM,
            wbeam=_BEAM,
            silprob=_SILENCE_PRIOR,
            lw=1.0,
            wip=1.0,
            **({"dict": os.devnull} if self._synthesizer else {}),  # "six" and "dix" are English words too
        )

    def result(self, job: AlignmentJob) -> AlignmentResult:
        """Return the words of a clip with their times, or the reason why there are none."""
        try:
            if job.script is None:
                raise AlignmentError("no script to align; give it one, or transcribe it with --aligner whisper")
            tokens = script_tokens(job.script, language=job.language)
            aligned, rivals = self.align_with_rivals(read_audio(job.audio_path), [token.lattice for token in tokens])
            return AlignmentResult(clip_id=job.clip_id, words=script_words(tokens, aligned, rivals))
        except SttFtError as error:
            return AlignmentResult(clip_id=job.clip_id, fault=str(error))

    def align(self, samples: np.ndarray, lattices: Sequence[Lattice]) -> list[list[AlignedWord]]:
        """Return the words heard for each lattice; a word of marks alone has no sound and is left out. See `Aligner.align`."""
        return self._align(samples, lattices)[0]

    def align_with_rivals(self, samples: np.ndarray, lattices: Sequence[Lattice]) -> tuple[list[list[AlignedWord]], list[Rival | None]]:
        """Return the words that `align` returns, and for each lattice the reading that fits second best; None where there is no other.

        Each rival takes one more pass over the sound, in which the best reading is not allowed.
        """
        aligned, best = self._align(samples, lattices)
        rivals: list[Rival | None] = [None] * len(lattices)
        said = [tuple(word.text for word in words) for words in aligned]
        chosen = [fixed(words) for words in said]
        for index, lattice in enumerate(lattices):
            others = without(lattice, said[index]) if lattice.is_open and said[index] else None
            if others is None:
                continue
            grammar = self._grammar([*chosen[:index], others, *chosen[index + 1 :]])
            try:
                heard, score = self._decode(samples, grammar)
                words = tuple(word for place, word, _ in grammar.explain(heard) if place == index)
            except AlignmentError:  # no other reading fits at all
                continue
            rivals[index] = Rival(words=words, lead=best - score, is_close=best - score < _CLOSE_LEAD)
        return aligned, rivals

    def _align(self, samples: np.ndarray, lattices: Sequence[Lattice]) -> tuple[list[list[AlignedWord]], float]:
        """Return the words heard for each lattice, and the score of the path through them as `_decode` gives it."""
        aligned: list[list[AlignedWord]] = [[] for _ in lattices]
        grammar = self._grammar(lattices)
        if not any(arc.words for arc in grammar.lattice.arcs):
            return aligned, 0.0
        heard, score = self._decode(samples, grammar)
        explained = grammar.explain(heard)
        shares = shares_of_spans([(pieces[0].start_s, pieces[-1].end_s) for _, _, pieces in explained], samples_to_s(len(samples)))
        spans = place_words(samples, shares, [1] * len(explained), shares_per_s=1 / STEP_S)
        for (lattice_index, word, pieces), (start_s, end_s) in zip(explained, spans, strict=True):
            confidence = min(piece.confidence for piece in pieces)
            aligned[lattice_index].append(AlignedWord(text=word, start_s=round(start_s, 4), end_s=round(end_s, 4), confidence=confidence))
        return aligned, score

    def _grammar(self, lattices: Sequence[Lattice]) -> _Grammar:
        """Return the grammar of a text, every word of which the decoder knows; raises `AlignmentError` for one without pronunciation."""
        grammar = _Grammar(lattices)
        for piece in sorted({piece for arc in grammar.lattice.arcs for piece in arc.words}):
            if self._decoder.lookup_word(piece) is not None:
                continue
            pronunciations = self._pronunciations(piece)
            if not pronunciations:
                knows = "French words in Latin letters" if self._synthesizer else "English words"
                raise AlignmentError(f"no pronunciation for {piece!r}; the sphinx aligner knows {knows} only")
            for number, phones in enumerate(pronunciations, 1):
                self._decoder.add_word(piece if number == 1 else f"{piece}({number})", phones, True)
        return grammar

    def _pronunciations(self, piece: str) -> list[str]:
        """Return the phones of a piece that the dictionary lacks, in one way or more; none where it cannot be said."""
        if self._synthesizer:
            return french_pronunciations(piece.removeprefix(_LETTER_PREFIX), self._synthesizer)
        phones = LETTERS[piece[-1]] if piece.startswith(_LETTER_PREFIX) else pronounced(piece)
        return [phones] if phones else []

    def _decode(self, samples: np.ndarray, grammar: _Grammar) -> tuple[list[AlignedWord], float]:
        """Return the pieces of the best path through the grammar, and its log probability in nats, up to a constant of the sound."""
        decoder = self._decoder
        if len(samples) < _LEAST_SAMPLES:
            raise AlignmentError(f"{samples_to_s(len(samples)):.3f} s of sound hold no words")
        decoder.reinit_feat()  # otherwise scores, and now and then times, depend on the clip before
        decoder.add_fsg("text", decoder.create_fsg("text", 0, grammar.num_states - 1, grammar.transitions()))
        decoder.activate_search("text")
        decoder.start_utt()
        decoder.process_raw(_pcm(samples), full_utt=True)
        decoder.end_utt()
        segments = list(decoder.seg() or []) if decoder.hyp() is not None else []
        hypothesis = decoder.hyp()
        score = math.log(max(hypothesis.score, 1e-300)) * _LOG_SCALE if hypothesis is not None else -math.inf
        decoder.remove_search("text")
        if not segments:
            raise AlignmentError(f"the words do not fit the sound ({samples_to_s(len(samples)):.2f} s)")
        duration_s = samples_to_s(len(samples))
        words = []
        for segment in segments:
            if segment.word[0] in "<[(+":
                continue
            num_frames = segment.end_frame + 1 - segment.start_frame
            cost = -math.log(max(segment.ascore, 1e-300)) * _LOG_SCALE / num_frames
            words.append(
                AlignedWord(
                    text=re.sub(r"\(\d+\)$", "", segment.word),
                    start_s=min(segment.start_frame / _FRAMES_PER_S, duration_s),
                    end_s=min((segment.end_frame + 1) / _FRAMES_PER_S, duration_s),
                    confidence=round(1 / (1 + (cost / _COST_AT_HALF) ** 2), 3),
                )
            )
        return words, score


class _Grammar:
    """The lattices of a text, one after the other, as one lattice whose words are those of the dictionary."""

    def __init__(self, lattices: Sequence[Lattice]) -> None:
        self._said_by: dict[Arc, tuple[int, list[tuple[str, int]]]] = {}  # arc -> its lattice, and (word, number of pieces)
        arcs: list[Arc] = []
        offset = 0
        for index, lattice in enumerate(lattices):
            for arc in lattice.arcs:
                parts = [_dictionary_pieces(word, spelled=len(lattice.words) > 1) for word in arc.words]
                arcs.append(Arc(arc.start + offset, arc.stop + offset, tuple(itertools.chain.from_iterable(parts)), arc.prior))
                self._said_by.setdefault(arcs[-1], (index, list(zip(arc.words, map(len, parts), strict=True))))
            offset += lattice.last
        self.lattice = Lattice(words=(), arcs=tuple(arcs), last=offset)
        self.num_states = offset + 1 + sum(max(0, len(arc.words) - 1) for arc in arcs)

    def transitions(self) -> list[tuple[int, int, float] | tuple[int, int, float, str]]:
        """Return the grammar for pocketsphinx: state 0 is the first, `num_states - 1` the last (it changes places with the last node)."""
        last_node, last_state = self.lattice.last, self.num_states - 1
        renamed = {last_node: last_state, last_state: last_node}
        inner = itertools.count(last_node + 1)
        links: list[tuple[int, int, float] | tuple[int, int, float, str]] = []
        for arc in self.lattice.arcs:
            nodes = [arc.start, *itertools.islice(inner, max(0, len(arc.words) - 1)), arc.stop]
            nodes = [renamed.get(node, node) for node in nodes]
            if not arc.words:
                links.append((nodes[0], nodes[-1], arc.prior))
            links += [(nodes[index], nodes[index + 1], 1.0 if index else arc.prior, piece) for index, piece in enumerate(arc.words)]
        return links

    def explain(self, heard: Sequence[AlignedWord]) -> list[tuple[int, str, list[AlignedWord]]]:
        """Return (lattice, word, its pieces) along a path that says the words heard; raises `AlignmentError` when words are missing."""
        said = [word.text for word in heard]
        path = self.lattice.path_of(said)
        if path is None:
            raise AlignmentError(f"only {' '.join(said)!r} was found in the sound")
        pieces = iter(heard)
        words = [(index, word, count) for arc in path for index, own in [self._said_by[arc]] for word, count in own]
        return [(index, word, list(itertools.islice(pieces, count))) for index, word, count in words if count]


def _dictionary_pieces(word: str, *, spelled: bool) -> tuple[str, ...]:
    """Return the lower-case dictionary words that make up `word`: parted at hyphens, marks dropped, letters of a code under their names."""
    plain = unicodedata.normalize("NFKC", word).replace("\u2019", "'").lower()
    pieces = [piece.strip("'") for piece in re.findall(r"[^\W_]+(?:'[^\W_]+)*'?", plain)]
    return tuple(
        _LETTER_PREFIX + piece if spelled and len(piece) == 1 and piece in LETTERS and piece != "o" else piece for piece in pieces if piece
    )


def _pcm(samples: np.ndarray) -> bytes:
    """Return `samples` as 16-bit mono at the model's rate, at a fixed peak and with a little constant noise."""
    sound = resample(samples, SAMPLE_RATE_HZ, _MODEL_RATE_HZ)
    peak = float(np.abs(sound).max(initial=0.0))
    noise = np.random.default_rng(_DITHER_SEED).standard_normal(len(sound), dtype=np.float32) * _DITHER_RMS
    return (np.clip(sound * (_PEAK / peak if peak > 0 else 1.0) + noise, -1, 1) * 32767).astype(np.int16).tobytes()


def french_pronunciations(word: str, synthesizer: Synthesizer) -> list[str]:
    """Return English phones for a French word in the ways in which it may sound; none where it holds no sound of French."""
    sounds = [synthesizer.phonemes(word, voice="fr"), *(liaison.split() for liaison in _LIAISONS.get(word, ()))]
    tables = (_FRENCH_PHONES, _FRENCH_PHONES | _OTHER_FRENCH_PHONES)
    ways = [" ".join(table[sound] for sound in way if sound in table) for table in tables for way in sounds]
    return list(dict.fromkeys(way for way in ways if way))


def pronounced(word: str) -> str | None:
    """Return phones for a word that the dictionary lacks; None when it holds anything but Latin letters and apostrophes.

    Letter-to-sound rules need not be right, only near: an aligner that knows the words needs their rough shape. Phones are those of
    CMUdict (ARPABET without stress).
    """
    letters = "".join(glyph for glyph in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(glyph)).replace("'", "")
    if not letters or any(letter not in LETTERS for letter in letters):
        return None
    if len(letters) == 1:
        return LETTERS[letters]
    if not set(letters) & set("aeiouy"):
        return " ".join(LETTERS[letter] for letter in letters)
    phones: list[str] = []
    position = 0
    while position < len(letters):
        step, sound = _sound_at(letters, position)
        phones += sound.split()
        position += step
    return " ".join(phones)


def _sound_at(letters: str, position: int) -> tuple[int, str]:
    """Return the number of letters taken at `position` and the phones they make."""
    rest = letters[position:]
    if rest == "e" and position > 1:
        return 1, ""
    if len(rest) >= 2 and rest[0] == rest[1] and rest[0] in _CONSONANTS:
        return 2, _SOUNDS[rest[0]]
    if len(rest) == 3 and rest[0] in _LONG_VOWELS and rest[1] in _CONSONANTS and rest[2] == "e":
        return 3, f"{_LONG_VOWELS[rest[0]]} {_SOUNDS[rest[1]]}"
    for length in range(min(_LONGEST, len(rest)), 0, -1):
        if rest[:length] in _SOUNDS:
            return length, _SOUNDS[rest[:length]]
    raise AssertionError(f"no rule for {rest!r}")

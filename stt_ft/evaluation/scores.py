"""The scores of a model on a clip, by a rule and by every metric: the step between frames and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np

from stt_ft.core.timing import frame_at, frame_heard_s
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.metrics.digit_strings import DigitScore, score_digits, score_read_digits
from stt_ft.metrics.endpointing import NEVER_ENDED, EndpointRule, TurnVerdict, judge_turn
from stt_ft.metrics.eot_bench import Look, looks, silences
from stt_ft.metrics.pause_heads import HeadEvidence, pause_is_coming, squared_errors
from stt_ft.metrics.transcripts import (
    CharacterErrors,
    EditCounts,
    character_errors,
    is_written_as_sentence,
    num_early_stops,
    scoring_form,
    word_errors,
)
from stt_ft.model.words import HeardWord
from stt_ft.targets.pause_targets import HORIZONS_S
from stt_ft.text.inverse.said_digits import said_digits
from stt_ft.text.inverse.vocabulary import is_mark
from stt_ft.text.inverse.written_numbers import WrittenToken
from stt_ft.text.written_style import ends_sentence

Timed = TypeVar("Timed", Word, HeardWord)


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """One clip under one model, its turn ended by `rule`. Each metric is computed when it is first asked for, and then kept."""

    frames: ClipFrames
    rule: EndpointRule

    @property
    def has_heads(self) -> bool:
        """Whether the model has pause heads; without, it ends no turn, and has no figures of that."""
        return self.frames.pause.shape[1] > 0

    @cached_property
    def turn(self) -> TurnVerdict:
        """The verdict on the turn; raises `ValueError` when the model has heads and lacks the rule's."""
        return judge_turn(self.frames.turn, self.rule) if self.has_heads else NEVER_ENDED

    @cached_property
    def words(self) -> EditCounts:
        """Word errors in scoring form; `raw_words` has them of the transcript as it is written."""
        return word_errors(*self._scoring_forms)

    @cached_property
    def raw_words(self) -> EditCounts:
        return word_errors(self.frames.reference_texts, self.frames.word_texts)

    @cached_property
    def characters(self) -> CharacterErrors:
        """Character errors in scoring form."""
        return character_errors(*self._scoring_forms)

    @property
    def digits(self) -> DigitScore:
        return self._by_digit[0]

    @property
    def word_delays_s(self) -> tuple[float, ...]:
        """For each word that agrees with the reference, in its order, the time from the end of its sound to its appearance.

        A number agrees digit by digit; in glyphs, each digit appears with the whole.
        """
        return self._by_digit[1]

    @cached_property
    def _by_digit(self) -> tuple[DigitScore, tuple[float, ...]]:
        """The digits compared, and the delays of words: together, since digits take longest to read."""
        read = _digits_in(tuple(self.frames.reference_texts)), _digits_in(tuple(self.frames.word_texts))
        said, heard = _units(self.frames.reference, read[0]), _units(self.frames.words, read[1])
        matched = word_errors([unit for unit, _ in said], [unit for unit, _ in heard]).matched
        delays_s = tuple(heard[right][1].appeared_s - said[left][1].end_s for left, right in matched)
        return score_read_digits(self.frames.word_texts, said=read[0], heard=read[1]), delays_s

    @property
    def has_reply(self) -> bool:
        """Whether it is known what the agent has in hand when it answers."""
        return self.frames.reply is not None

    @property
    def _reply_words(self) -> tuple[HeardWord, ...]:
        return () if self.frames.reply is None else self.frames.reply.words

    @property
    def is_ended_well(self) -> bool:
        """Whether the agent answers, and not before the turn is over."""
        return not (self.turn.is_cut_off or self.turn.is_missed)

    @cached_property
    def lost_words(self) -> EditCounts:
        """What the agent lacks, when it answers, of all that is written of the clip, digit by digit in numbers."""
        written, sent = (_units(words, said_digits([one.text for one in words])) for words in (self.frames.words, self._reply_words))
        return word_errors([text for text, _ in written], [text for text, _ in sent])

    @cached_property
    def is_right_at_reply(self) -> bool:
        """Whether the agent answers only once the turn is over, with all digits right."""
        return self.is_ended_well and score_digits(self.frames.reference_texts, [word.text for word in self._reply_words]).is_exact

    @property
    def reply_s(self) -> float:
        """From the end of the turn to the answer, in seconds: the latency, and the wait for the flush."""
        return self.turn.latency_s + (0.0 if self.frames.reply is None else self.frames.reply.wait_s)

    @cached_property
    def is_sentence(self) -> bool:
        """Whether the transcript begins with a capital and ends with a full stop or its like."""
        return is_written_as_sentence(self.frames.word_texts)

    @cached_property
    def num_early_stops(self) -> int:
        """Full stops and their like that appeared before the sound of the last word had ended."""
        return num_early_stops([(word.text, word.appeared_s) for word in self.frames.words], self.frames.speech_end_s)

    @cached_property
    def has_comma_inside(self) -> bool:
        """Whether a word that appeared before the sound of the last word had ended is written with a comma: a sign that more is coming."""
        return any(word.text.endswith((",", ";")) and word.appeared_s < self.frames.speech_end_s for word in self.frames.words)

    @cached_property
    def has_stop_at_end(self) -> bool:
        """Whether the transcript ends with a full stop or its like: a sign that the turn is over."""
        return bool(self.frames.words) and ends_sentence(self.frames.word_texts[-1])

    @property
    def probs(self) -> np.ndarray:
        """The pause probabilities of the rule's head [T], the ignored first rows left out."""
        return self.frames.pause[self.rule.ignore_frames :, self.rule.head]

    @property
    def looks(self) -> list[Look]:
        """The looks of eot-bench at the rule's head, in every silence of the clip."""
        frames, until_s = self.frames, frame_heard_s(len(self.frames.pause) - 1)
        return looks(frames.clip, silences(frames.reference, until_s), frames.pause[:, self.rule.head])

    @cached_property
    def truth(self) -> np.ndarray:
        """For the same rows, whether no word begins within the head's horizon, by the clock of the sound [T]."""
        starts_s, horizon_s = [word.start_s for word in self.frames.reference], HORIZONS_S[min(self.rule.head, len(HORIZONS_S) - 1)]
        return pause_is_coming(starts_s, len(self.frames.pause), horizon_s)[self.rule.ignore_frames :]

    @cached_property
    def squared_errors(self) -> np.ndarray:
        """The terms of the Brier score of the rule's head [T]."""
        return squared_errors(self.probs, self.truth)

    @property
    def evidence(self) -> HeadEvidence | None:
        """The heads' probabilities and the onsets of words by each clock; None for frames that do not know their text lag."""
        frames, lag_s = self.frames, self.frames.text_lag_s
        if lag_s is None:
            return None
        spoken_s, written_s = sorted(word.start_s for word in frames.reference), sorted(word.start_s for word in frames.words)
        return HeadEvidence(
            pause=frames.pause,
            word_classes=frames.classes,
            onset_frames={
                "sound": [frame_at(start_s) for start_s in spoken_s],
                "text": [frame_at(start_s + lag_s) for start_s in spoken_s],
                "written": [frame_at(start_s + lag_s) for start_s in written_s],  # a heard word starts at its first token, less the lag
            },
        )

    @property
    def _scoring_forms(self) -> tuple[list[str], list[str]]:
        return scoring_form(self.frames.reference_texts), scoring_form(self.frames.word_texts)


@lru_cache(maxsize=64)
def _digits_in(words: tuple[str, ...]) -> list[WrittenToken]:
    """Return `said_digits`; what a clip says is read once where its models are scored one after the other (`read_digits`)."""
    return said_digits(words)


def _units(words: Sequence[Timed], digits: Sequence[WrittenToken]) -> list[tuple[str, Timed]]:
    """Return the parts in which words are compared, each with the word that says it: `digits` that are dictated, else scoring forms.

    Where digits and words are not equally many ("zéro six douze"), all digits are said once the last word is. A lone dash is no part.
    """
    units: list[tuple[str, Timed]] = []
    place = 0
    for token in digits:
        if not token.is_dictated:
            continue
        units += _plain_units(words[place : token.start])
        said = [word for word in words[token.start : token.stop] if not is_mark(word.text)]
        owners = said if len(said) == len(token.digits) else [said[-1]] * len(token.digits)
        units += zip(token.digits, owners, strict=True)
        place = token.stop
    return units + _plain_units(words[place:])


def _plain_units(words: Sequence[Timed]) -> list[tuple[str, Timed]]:
    return [(form, word) for word in words if (form := " ".join(scoring_form([word.text])))]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of all frames of an evaluation: one a clip, model, channel and draw, each judged once, by one rule."""

    rule: EndpointRule
    scores: tuple[ClipScore, ...]

    @classmethod
    def of(cls, frames: Iterable[ClipFrames], rule: EndpointRule | None = None) -> Scores:
        """Judge `frames` by `rule`, Kyutai's unless another is given."""
        rule = rule or EndpointRule()
        return cls(rule=rule, scores=tuple(ClipScore(frames=one, rule=rule) for one in frames))

    @property
    def channels(self) -> list[str]:
        """The channels of the clips beside the recordings themselves."""
        return list(dict.fromkeys(one.frames.channel for one in self.scores if one.frames.channel is not None))

    @property
    def draws(self) -> list[int]:
        """The further draws of the text tokens, beside the first."""
        return list(dict.fromkeys(one.frames.draw for one in self.scores if one.frames.draw is not None))

    def by_model(self, names: Iterable[str], channel: str | None = None, draw: int | None = None) -> dict[str, list[ClipScore]]:
        """Return model -> the scores of its clips as they came through `channel`, in one draw of the tokens, the same clips in the same
        order for every model.

        Raises `ValueError`: the models were not measured on the same clips, or on none.
        """
        heard = [one for one in self.scores if (one.frames.channel, one.frames.draw) == (channel, draw)]
        found = {name: [one for one in heard if one.frames.model == name] for name in names}
        first, clips = next(iter(found)), [one.frames.clip for one in next(iter(found.values()))]
        for name, members in found.items():
            if [one.frames.clip for one in members] != clips or not clips:
                raise ValueError(f"{name} was not measured on the same clips as {first}")
        return found


def read_digits(scores: Iterable[Sequence[ClipScore]]) -> None:
    """Score the digits of each model's clips, all models of a clip together: most of the time of a report goes into reading them."""
    for of_clip in zip(*scores, strict=True):
        for score in of_clip:
            _ = score.digits

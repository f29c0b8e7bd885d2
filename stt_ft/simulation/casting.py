"""Who speaks synthetic clips, and how: four casts that share no voice; learning and measuring share no speed and no digits.

A fifth, for `stt-ft synthesize`, takes the voices that the tiny model's base has heard, and shares none with those that measure.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stt_ft.audio.synthesis import ACCENTS, Synthesizer, Utterance, add_noise, insert_silence, scale_formants, tilt_spectrum


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Voices and speeds for one use of synthetic speech.

    Attributes:
        variants: espeak voice variants, each spoken in every accent.
        accents: espeak's languages, in one of which each clip is spoken.
        words_per_minute: speeds to draw from.
        digit_shares: which fifths of all digit strings this cast may say (`text.prompts.belongs_to`).
        formant_scales: bounds within which a voice's formants and pitch are scaled together (a longer or shorter vocal tract), so that
            no two clips share a speaker; None leaves the voices alone.
        spectral_tilts: bounds of a microphone's tilt towards high (negative) or low frequencies; None for none.
        max_peak: the loudest sample of a speaker who minds the level meter, noise apart, 0 to 1; None for one who does not.
    """

    variants: tuple[str, ...]
    words_per_minute: tuple[int, ...]
    digit_shares: tuple[int, ...]
    formant_scales: tuple[float, float] | None = None
    spectral_tilts: tuple[float, float] | None = None
    max_peak: float | None = None
    accents: tuple[str, ...] = ACCENTS

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(f"{accent}+{variant}" for accent in self.accents for variant in self.variants)


ACCENTS_OF = {"en": ACCENTS, "fr": ("fr", "fr-be", "fr-ch")}
"""The accents in which a cast may speak a language."""

_LEARNING_RATES = (*range(125, 146), *range(156, 181), *range(191, 211))
_MEASURING_RATES = (*range(146, 156), *range(181, 191))

_BASE_VARIANTS = (
    "m1", "m3", "m4", "m5", "m6", "m8", "f2", "f4", "f5", "Annie", "Alicia", "Michael", "Gene", "edward", "edward2", "adam", "anika",
    "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "gustave", "iven", "iven2", "iven3", "john", "Lee",
    "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "travis",
    "victor", "zac", "Andrea", "Denis", "Diogo", "Henrique", "Hugo", "Jacky", "Marco", "Mario", "Reed", "Storm", "grandma",
    "grandpa",
)  # fmt: skip

_FORMANT_SCALES, _SPECTRAL_TILTS = (0.87, 1.15), (-0.45, 0.45)

BASE_CAST = Cast(
    variants=_BASE_VARIANTS,
    words_per_minute=_LEARNING_RATES,
    digit_shares=(0, 1, 2),
    formant_scales=_FORMANT_SCALES,
    spectral_tilts=_SPECTRAL_TILTS,
)
"""Trains the tiny model."""

TUNING_CAST = Cast(
    variants=("m7", "f1", "Andy"),
    words_per_minute=_LEARNING_RATES,
    digit_shares=(3,),
    formant_scales=_FORMANT_SCALES,
    spectral_tilts=_SPECTRAL_TILTS,
    max_peak=0.9,
)
"""Trains adapters: the user's own speakers, every take another one."""

DEV_CAST = Cast(variants=("steph", "Alex", "marcelo", "Nguyen"), words_per_minute=_LEARNING_RATES, digit_shares=(3,))
"""Chooses among checkpoints and knobs. Its digit strings are kept apart from the tuning cast's by drawing without repeats."""

HELDOUT_CAST = Cast(variants=("m2", "announcer", "Mike", "linda"), words_per_minute=_MEASURING_RATES, digit_shares=(4,))
"""Measures, and nothing else."""

NEVER_TWICE_THE_SAME = frozenset({"Alicia", "Reed", "caleb", "f2", "f3", "f5", "sandro", "victor"})
"""Variants whose sound differs from process to process, or from call to call in a library that is loaded anew: their echo begins with
whatever memory held. No cast that a run learns from or is measured by has them, so that equal runs have equal sound."""

SYNTHETIC_CAST = dataclasses.replace(
    BASE_CAST,
    variants=tuple(variant for variant in _BASE_VARIANTS if variant not in NEVER_TWICE_THE_SAME),
    digit_shares=(0, 1, 2, 3),
    max_peak=0.9,
)
"""Speaks numbers to be learned beside recordings."""


def perform(
    synthesizer: Synthesizer,
    text: str,
    pauses_s: Mapping[int, float],
    cast: Cast,
    rng: random.Random,
    *,
    pace: float = 1.0,
    tail_s: tuple[float, float] = (0.4, 1.2),
) -> tuple[Utterance, str]:
    """Speak `text` in a random voice of `cast` with the given pauses, random speed, pitch, gain, noise and silence around it.

    Args:
        text: words with punctuation.
        pauses_s: silence to insert before words, index -> seconds.
        pace: factor on the speed.
        tail_s: bounds of the silence after the last word, in seconds.

    Returns:
        The utterance and the name of its voice.
    """
    voice = rng.choice(cast.voices)
    scale = 1.0 if cast.formant_scales is None else rng.uniform(*cast.formant_scales)
    utterance = synthesizer.speak(
        text,
        voice=voice,
        words_per_minute=round(pace * rng.choice(cast.words_per_minute) / scale),
        pitch=rng.randrange(30, 71),
        pitch_range=rng.randrange(35, 66),
    )
    return dress(utterance, pauses_s, cast, rng, scale=scale, tail_s=tail_s), voice


def dress(
    utterance: Utterance,
    pauses_s: Mapping[int, float],
    cast: Cast,
    rng: random.Random,
    *,
    scale: float,
    tail_s: tuple[float, float] = (0.4, 1.2),
    fade_s: float = 0.0,
) -> Utterance:
    """Return `utterance` with another vocal tract, microphone, gain and noise, with the given pauses in it and silence around it.

    Args:
        utterance: as the synthesiser spoke it.
        pauses_s: silence to insert before words, index -> seconds.
        scale: how much shorter the vocal tract becomes, and with it faster the speech, where the cast scales formants.
        tail_s: bounds of the silence after the last word, in seconds.
        fade_s: how long sound fades out before an inserted silence and in after it, in seconds.
    """
    if cast.formant_scales is not None:
        utterance = scale_formants(utterance, scale)
    if cast.spectral_tilts is not None:
        utterance = tilt_spectrum(utterance, rng.uniform(*cast.spectral_tilts))
    utterance = insert_silence(utterance, pauses_s, lead_s=rng.uniform(0.1, 1.0), tail_s=rng.uniform(*tail_s), fade_s=fade_s)
    gain, noise_rms = rng.uniform(0.35, 1.0), 10 ** rng.uniform(-4.0, -2.3)
    if cast.max_peak is not None:
        gain = min(gain, cast.max_peak / float(np.abs(utterance.samples).max()))
    noise_rng = np.random.default_rng(rng.getrandbits(64))
    return Utterance(samples=add_noise(utterance.samples, gain=gain, noise_rms=noise_rms, rng=noise_rng), words=utterance.words)

"""Write simulated takes into a dataset directory, as `record` leaves them: sound, script, speaker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stt_ft.audio.files import write_wav
from stt_ft.audio.synthesis import Synthesizer, Utterance
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.dataset.doubts import TIMES_BY, TRUTH, words_to_json
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.simulation.casting import Cast, perform
from stt_ft.simulation.glued import SpokenDigits, natural_gaps
from stt_ft.text.prompts import Manner, Prompt, belongs_to, number_prompt, ordinary_prompt, pauses


@dataclass(frozen=True, kw_only=True)
class TakePlan:
    """Takes of one kind that a cast records into a split; numbers are dictated in each of `manners` by turns."""

    split: str
    kind: str
    count: int
    cast: Cast
    manners: tuple[Manner, ...] = tuple(Manner)
    min_digits: int = 3
    max_digits: int = 10


def write_takes(dataset: Dataset, plan: TakePlan, *, seed: int, used_digits: set[str], with_times: bool = False) -> Iterator[Clip]:
    """Speak and write the takes of `plan`, yielding each clip when it is on disk; the caller writes the manifest.

    Args:
        seed: decides everything.
        used_digits: digit strings already dictated; no string is dictated twice, and those of this plan are added.
        with_times: write the true words and times as `alignments` too, not only beside them for `check` to compare with.
    """
    synthesizer = Synthesizer()
    rng = random.Random(f"{seed} {plan.split} {plan.kind}")
    for index in range(plan.count):
        prompt = _draw_prompt(plan, rng, used_digits)
        manner = plan.manners[index % len(plan.manners)]
        pace = 1.0 if prompt.number_span is None else manner.pace
        utterance, voice = perform(synthesizer, prompt.text, pauses(rng, prompt, manner), plan.cast, rng, pace=pace)
        script = _script(prompt, rng)
        extra: dict[str, Any] = {"speaker": voice, "prompt_id": f"{plan.kind}_{index + 1:03d}", "kind": plan.kind, "script": script}
        if prompt.number_span is not None:
            extra["manner"] = manner.value
        yield _write_take(dataset, f"{plan.split}_{plan.kind}_{index + 1:03d}", utterance, extra, with_times=with_times)


@dataclass(frozen=True, kw_only=True)
class GluedPlan:
    """Numbers of 6 to 10 digits, glued of single digits that people spoke, for a split; `speakers` dictate by turns."""

    split: str
    count: int
    digits: SpokenDigits
    speakers: tuple[str, ...]
    shares: tuple[int, ...] = (4,)


def write_glued(dataset: Dataset, plan: GluedPlan, *, seed: int, used_digits: set[str]) -> Iterator[Clip]:
    """Write numbers in people's voices as `write_takes` does, with natural gaps and their true times; no string comes twice."""
    rng = random.Random(f"{seed} {plan.split} people")
    for index in range(plan.count):
        while True:
            digits = "".join(rng.choices("0123456789", k=rng.randrange(6, 11)))
            if digits not in used_digits and belongs_to(digits, plan.shares):
                break
        used_digits.add(digits)
        speaker = plan.speakers[index % len(plan.speakers)]
        utterance = plan.digits.number(speaker, digits, natural_gaps(rng, digits), rng)
        extra = {"speaker": speaker, "prompt_id": f"people_{index + 1:03d}", "kind": "number", "manner": Manner.NATURAL.value}
        extra |= {"voices": "people", "script": digits}
        yield _write_take(dataset, f"{plan.split}_people_{index + 1:03d}", utterance, extra, with_times=True)


def write_plan(
    dataset: Dataset, plan: TakePlan | GluedPlan, *, seed: int, used_digits: set[str], with_times: bool = False
) -> Iterator[Clip]:
    """Write the takes of either kind of plan (`write_takes`, `write_glued`); glued takes always have their true times."""
    if isinstance(plan, GluedPlan):
        return write_glued(dataset, plan, seed=seed, used_digits=used_digits)
    return write_takes(dataset, plan, seed=seed, used_digits=used_digits, with_times=with_times)


def _write_take(dataset: Dataset, name: str, utterance: Utterance, extra: dict[str, Any], *, with_times: bool) -> Clip:
    """Write sound and sidecar of a take; its true words stand under `TIMES_BY`, and `with_times` as `alignments` too."""
    clip = Clip(path=f"audio/{name}.wav", duration_s=utterance.duration_s, extra=extra)
    write_wav(dataset.audio_path(clip, to_write=True), utterance.samples, SAMPLE_RATE_HZ)
    truth = {TIMES_BY: {TRUTH: words_to_json(utterance.words)}}
    dataset.write_sidecar(clip, Sidecar(alignments=utterance.words if with_times else (), script=extra["script"], extra=truth))
    return clip


def _draw_prompt(plan: TakePlan, rng: random.Random, used_digits: set[str]) -> Prompt:
    if plan.kind == "ordinary":
        return ordinary_prompt(rng)
    prompt = number_prompt(
        rng,
        allowed=lambda digits: digits not in used_digits and belongs_to(digits, plan.cast.digit_shares),
        min_digits=plan.min_digits,
        max_digits=plan.max_digits,
    )
    used_digits.add(prompt.digits)
    return prompt


def _script(prompt: Prompt, rng: random.Random) -> str:
    """Return the script: in digits where every digit is said plainly, else word for word."""
    plain = prompt.number_span is not None and not {"oh", "double"} & set(prompt.words)
    return prompt.written if plain and rng.random() < 0.8 else " ".join(prompt.words)

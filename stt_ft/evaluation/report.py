"""report.json, the result of an evaluation: its types, writing and reading. Its JSON schema is report.schema.json beside this file.

    report.figures["tuned"]["numbers"]["false_cut_offs"].value == 0.033

Shares and rates are between 0 and 1, times in seconds. An infinite value is null: a latency whose quantile falls on turns that never ended.
A figure that a slice does not have (no clips, no digits) is left out, and so is a slice without clips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from stt_ft.core.atomic import write_json
from stt_ft.core.config import typed
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.pause_heads import ReliabilityBin

SCHEMA_VERSION = 3
"""Of report.json. It grows when a figure changes its meaning or its place, not when one is added.
2: the word delay counts digits written in glyphs too.
3: a turn begins with its first word, and what passes inside the last one is a cut-off; `numbers` are those that are neither hesitant nor
in people's voices; parts and digit errors are told by slice; intervals resample speakers."""

SCHEMA_FILE = Path(str(resources.files("stt_ft.evaluation") / "report.schema.json"))

REPORT_NAME, PAGE_NAME, FRAMES_NAME = "report.json", "report.html", "frames.jsonl"
CALL_FRAMES_NAME = "frames.calls.jsonl"

CLOCK_TITLES = {"sound": "where it is spoken", "text": "a text lag later", "written": "where the model writes it"}

LOSSES = ("text_loss", "pause_loss")

_MAX_POINTS = 240
"""Points of a curve of losses: more than the page has pixels for."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Finite = Annotated[float | None, BeforeValidator(_finite)]
"""A number; None where it is infinite or there is none."""


def _rule(value: Any) -> Any:
    """Read a rule as its own file is read: lists are tuples there, and every key is known."""
    try:
        return typed(EndpointRule, value) if isinstance(value, Mapping) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


Rule = Annotated[EndpointRule, BeforeValidator(_rule)]
"""When an agent ends the turn."""


class Part(BaseModel):
    """A part of report.json, made from keywords, from JSON, or from an object with the same attributes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, from_attributes=True, use_attribute_docstrings=True)


class Measurement(Part):
    """A figure over the clips of a slice and its 95 % interval, in the figure's own unit."""

    value: Finite
    low: Finite
    high: Finite
    num_clips: int


Measurements = dict[str, Measurement]
"""Figure (a key of `figures.FIGURES`) -> what was measured."""


class Resampled(Part):
    """The resampling of a slice's intervals: of speakers and then their clips, or of clips where fewer than five speakers are known."""

    by: Literal["speaker", "clip"]
    num_speakers: int | None


class Point(Part):
    """Cut-offs, misses and latencies of a slice at a threshold and a hold (`endpointing.OperatingPoint`)."""

    threshold: float
    hold_frames: int
    cut_off_rate: float
    missed_rate: float
    latency_p50_s: Finite
    latency_p90_s: Finite
    latency_p95_s: Finite


class Curve(Part):
    """Latency against cut-offs, for the head of the rule in use."""

    frontier: list[Point]
    """The points that no other beats, from most cut-offs to fewest."""
    thresholds: list[Point]
    """Each threshold with the hold of the rule in use."""
    latency_within: dict[str, Point | None]
    """Rate of cut-offs -> the fastest point within it."""
    area_s: float
    """`endpointing.area_under`: a mean latency."""


class HeadLine(Part):
    """The results of the rule with another head in the place of its own."""

    head: int
    horizon_s: float | None
    at_rule: Point
    latency_within: dict[str, Point | None]
    area_s: float


class Choice(Part):
    """The clips on which the setting of a system was chosen, and its figures there."""

    split: str
    num_clips: int
    cut_off_rate: float
    missed_rate: float
    latency_p50_s: Finite


class System(Part):
    """One more way to end the turn: whose frames, and by which rule."""

    label: str
    model: str
    rule: Rule
    chosen_on: Choice | None = None
    """Where the rule comes from; null for one that is fixed."""
    settings: str | None = None
    """How an agent is set to this rule, as text to copy (`evaluation/agents.py`); null for what is no agent's."""


class EotBench(Part):
    """eot-bench's operating points of a detector in a slice (`eot_bench.EotFigures`): rates of cut-off holds, mean latencies in seconds."""

    num_holds: int
    num_ends: int
    cut_offs_within_s: dict[str, float | None]
    """Mean latency -> the lowest rate of cut-offs within it."""
    latency_within_s: dict[str, float | None]
    """Rate of cut-offs -> the least mean latency within it."""
    area_s: float | None


class InCalls(Part):
    """A part of long calls: figures of the clips that begin in it, those of the same clips heard alone, and the paired difference."""

    num_clips: int
    """Clips heard there; a clip that comes twice counts twice."""
    in_calls: Measurements
    alone: Measurements
    differences: Measurements
    """In calls less alone."""


class BargeIns(Part):
    """Whether an agent hears the caller barge in, by the head of the rule in use (`barge_ins.BargeInFigures`)."""

    num_turns: int
    """Turns but the first of each call."""
    num_spoken_over: int
    """Those of them that begin while the agent speaks; in the others the head was low beforehand."""
    delay_p50_s: Finite
    delay_p90_s: Finite
    never_rate: float | None
    silence_s: float
    false_per_minute: float | None


class Calls(Part):
    """What becomes of a model in long calls: clips with silences between, heard as one stream (`simulation.calls`)."""

    seconds: float
    num_calls: int
    num_clips: int
    """Clips heard in all calls."""
    parts: dict[str, dict[str, dict[str, InCalls]]]
    """Model -> slice -> part of the call: "whole call", "second half", "minute 1" …; parts with too few clips are left out."""
    barge_ins: dict[str, BargeIns] = {}
    """Model with pause heads -> whether barge-ins are heard."""


class Spread(Part):
    """The smallest and the largest value of a figure."""

    lowest: float
    highest: float


class Draws(Part):
    """The spread between draws of the text tokens, of a serving that draws them. All other figures are of the first draw."""

    num: int
    """Draws of every recording."""
    spreads: dict[str, dict[str, dict[str, Spread]]]
    """Model -> slice -> figure, those of `figures.DRAW_FIGURES`."""


class Group(Part):
    """A part of a slice: the division ("length", "speaker" …), the part, and model -> figures."""

    slice: str
    by: str
    part: str
    num_clips: int
    figures: dict[str, Measurements]


class Calibration(Part):
    """Whether the probabilities of the rule's head come true."""

    brier: Measurement
    calibration_error: float
    bins: list[ReliabilityBin]


class LabelFit(Part):
    """The share of the labels' uncertainty that a head explains when words begin by a clock (`pause_heads.HypothesisFit`)."""

    clock: str
    head: int
    binary_explained: Finite
    count_explained: Finite


class LabelHypotheses(Part):
    """Which labels a model's heads seem to have been taught."""

    clock: Literal["sound", "text", "written"] | None
    classes: Literal["binary", "count"] | None
    fits: list[LabelFit]

    @property
    def has_classes(self) -> bool:
        """Whether the classes 1 and up were kept (`--all_classes`)."""
        return any(fit.count_explained is not None for fit in self.fits)

    @property
    def sentence(self) -> str:
        """The labels that the heads keep to, in words."""
        if self.clock is None:
            return "none of these labels"
        ends = {None: "", "count": "; the other classes count words", "binary": "; the other classes do not count words"}
        return f"a word begins {CLOCK_TITLES[self.clock]}{ends[self.classes]}"


class DigitErrors(Part):
    """What became of the digits of a slice's numbers, the fate of leading zeros, and in which tenth of its number each error falls."""

    num_digits: int
    substituted: int
    dropped: int
    inserted: int
    doubled: int
    swapped: int
    numbers_with_leading_zeros: int
    leading_zeros_kept: int
    errors_by_tenth_of_number: list[int]


TrainingRow = dict[str, int | float | None]
"""A line of a run's metrics: its step, losses, and other figures."""


class TrainingCourse(Part):
    """The losses of the run that the model came from, and every validation of it."""

    run: str
    train: list[TrainingRow]
    """The mean losses of equal parts of the run."""
    dev: list[TrainingRow]

    @classmethod
    def of(cls, run_dir: str, train_rows: Sequence[Mapping[str, Any]], dev_rows: Sequence[Mapping[str, Any]]) -> TrainingCourse:
        """Thin the rows of a run; a loss that was not finite (null) is passed over."""
        size, thinned = -(-len(train_rows) // _MAX_POINTS) or 1, []
        for first in range(0, len(train_rows), size):
            part = train_rows[first : first + size]
            losses = {name: [row[name] for row in part if row.get(name) is not None] for name in LOSSES}
            means = {name: sum(values) / len(values) for name, values in losses.items() if values}
            thinned.append({"step": part[-1]["step"], **means})
        return cls(run=run_dir, train=thinned, dev=[dict(row) for row in dev_rows])


class MeasuredSplit(Part):
    """The clips that were measured: of which dataset and split."""

    name: str
    split: str


class Lateness(Part):
    """Seconds by the clock on the wall from the end of a frame's sound (from its sending, where not in real time) to its message."""

    p50_s: float
    p95_s: float
    max_s: float


class Parting(Part):
    """A clip on which a server and our engine part: the first frame with another pause probability, and the words where they differ (no
    words: the same ones came at other times)."""

    clip: str
    channel: str | None
    first_frame: int | None
    max_pause_difference: float
    told: str | None
    expected: str | None


class Served(Part):
    """How fast a running server was under so many streams, and how far it agrees with our engine that listens as it does."""

    url: str
    streams: int
    real_time: bool
    num_clips: int
    num_frames: int
    pauses_late: Lateness
    """Of the pause probabilities of every frame."""
    words_late: Lateness | None
    late_frames: float
    """Share of frames told of later than two frames after their end: 0.16 s, the most where a server just keeps up."""
    same_words: int
    """Clips with the same words, starts and times of appearance."""
    max_pause_difference: float
    partings: list[Parting]

    @property
    def sentences(self) -> list[str]:
        """What is to be said of it, in words."""
        pace = "in real time" if self.real_time else "each frame sent once the one before was told of"
        speed = [
            f"{self.url}, {self.streams} streams at once, {pace}: {self.late_frames:.1%} of {self.num_frames} frames later than 0.16 s"
        ]
        for name, late in (("pauses", self.pauses_late), ("words", self.words_late)):
            if late is not None:
                speed.append(f"{name} {late.p50_s:.3f} s late (p50), {late.p95_s:.3f} s (p95), {late.max_s:.3f} s (most)")
        agreement = f"{self.same_words} of {self.num_clips} clips with the words and times of our engine"
        within = f"pause probabilities at most {self.max_pause_difference:.1g} from ours"
        return ["; ".join(speed), f"{agreement}; {within}; {len(self.partings)} clips part"]


class Report(Part):
    """report.json. A slice is "numbers", "hesitant", "people", "ordinary" or "all"."""

    schema_version: Literal[3] = SCHEMA_VERSION
    model: str
    """Name of the model that is judged; `baseline` is that of the model it is compared with."""
    baseline: str | None
    rule: Rule
    """When an agent ends the turn."""
    num_clips: dict[str, int]
    """Slice -> how many clips."""
    intervals: dict[str, Resampled]
    """Slice -> what its intervals resample."""
    figures: dict[str, dict[str, Measurements]]
    """Model or system -> slice -> figures."""
    systems: dict[str, System]
    """Other ways to end the turn, whose figures stand beside the models'."""
    differences: dict[str, Measurements]
    """Slice -> the model's figures less the baseline's."""
    curves: dict[str, dict[str, Curve]]
    """Model, or other detector of one probability -> slice -> latency against cut-offs; no slice of a model without pause heads."""
    heads: dict[str, dict[str, list[HeadLine]]]
    """Model -> slice -> a line a head."""
    eot_bench: dict[str, dict[str, EotBench]] = {}
    """Model, other detector, or "timer" (silence alone, as the words' times tell it) -> slice -> eot-bench's measures."""
    groups: list[Group]
    """Parts of slices, and the clips through each channel."""
    calibration: dict[str, dict[str, Calibration]]
    """Model -> slice -> calibration."""
    drift_nats: Measurements
    """Slice -> how far the rule's head moved from the baseline's, in nats a frame."""
    label_hypotheses: dict[str, LabelHypotheses | None]
    """Model -> what its heads seem to have been taught; null where the frames do not know their text lag."""
    digit_errors: dict[str, dict[str, DigitErrors]]
    """Model -> slice of numbers -> what became of the digits."""
    substitutions: dict[str, list[tuple[str, str, int]]]
    """Model -> [reference, transcript, times] of the words most often taken for others."""
    calls: Calls | None = None
    draws: Draws | None = None
    """Null where nothing is drawn, or once."""
    served: Served | None = None
    """The running server whose figures stand beside those of our engine."""
    dataset: MeasuredSplit | None = None
    provenance: dict[str, Any] | None = None
    """Options, versions, and the SHA-256 of manifest and weights."""
    training: TrainingCourse | None = None

    @property
    def models(self) -> list[str]:
        """The models, baseline first; `figures` holds other systems beside them."""
        return [name for name in (self.baseline, self.model) if name is not None]

    @property
    def weights_sha256(self) -> str | None:
        """The SHA-256 of the weights that were judged, ours where a running server served them; None where the report does not say."""
        inputs = (self.provenance or {}).get("inputs", {})
        return inputs.get(self.model, inputs.get("model")) if isinstance(inputs, dict) else None

    def figure(self, name: str, slice_name: str, figure: str) -> Measurement | None:
        """Return a figure of a model or system, None where it has none."""
        return self.figures[name].get(slice_name, {}).get(figure)

    def has_heads(self, model: str) -> bool:
        """Return whether `model` has pause heads, and figures of turns."""
        return bool(self.curves[model])

    def difference(self, slice_name: str, figure: str) -> Measurement | None:
        """Return how the model's figure differs from the baseline's, None where nothing was compared."""
        return self.differences.get(slice_name, {}).get(figure)

    def to_json(self) -> dict[str, Any]:
        """Return the value of report.json, without calls, draws, server, dataset, provenance and training where they are None."""
        untold = {key for key in ("calls", "draws", "served", "dataset", "provenance", "training") if getattr(self, key) is None}
        return self.model_dump(mode="json", exclude=untold)


def schema() -> dict[str, Any]:
    """Return the JSON schema of report.json, which `SCHEMA_FILE` holds."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema()}


def write_report(directory: Path, report: Report) -> None:
    """Write `report` as report.json of an evaluation directory."""
    write_json(directory / REPORT_NAME, report.to_json())


def read_report(directory: Path) -> Report:
    """Read report.json of an evaluation directory; raises `DatasetError` when there is none, or one of another version or form."""
    path = directory / REPORT_NAME
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; `stt-ft evaluate MODEL_DIR DATASET --out {directory}` writes it") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON: {error}") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise DatasetError(f"{path}: schema_version {version}, where this version of stt-ft reads {SCHEMA_VERSION}; evaluate again")
    try:
        return Report.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise DatasetError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; evaluate again") from None

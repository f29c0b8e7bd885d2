"""Agents that end the turn without the model's heads: silence alone, Smart Turn, and any other detector whose probabilities are in a file.

Each becomes frames beside the models', so that all of them are judged by the same rules on the same clips.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from stt_ft.audio.files import read_audio, resample
from stt_ft.audio.silero_vad import CHUNK_S, SileroVad
from stt_ft.audio.smart_turn import MODEL_RATE_HZ, SmartTurn
from stt_ft.core.atomic import atomic_path
from stt_ft.core.engine import LOCAL, Engine, SetAside, batched
from stt_ft.core.errors import AudioError, DatasetError, MissingExtra
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.progress import track
from stt_ft.core.timing import SAMPLE_RATE_HZ, frame_heard_s, frame_start_s, num_samples
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Report, System
from stt_ft.evaluation.scores import Scores
from stt_ft.metrics.endpointing import SPEECH_THRESHOLD, EndpointRule, silent_for_s, turn_rows

SILERO, SMART_TURN = "silero", "smart_turn"
"""Names in frames.jsonl: of silence as Silero VAD hears it, and of Smart Turn."""

TIMERS_S = (0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0)
"""Seconds of silence after which agents end the turn; frameworks ship 0.2 to 1."""

ASKED_AFTER_S = 0.2
"""Silence after which pipecat asks Smart Turn (`stop_secs` of its voice activity detector)."""

SMART_TURN_TIMER_S = 3.0
"""Silence after which pipecat ends the turn whatever Smart Turn said (`stop_secs` of its `SmartTurnParams`)."""

BEFORE_SPEECH_S = 0.7
"""Sound before the detected beginning of speech that Smart Turn hears too: 0.5 s, and 0.2 s in which the detector makes sure."""

_CLIPS_AT_A_TIME = 32
_EPS = 1e-6


def silence_systems() -> dict[str, System]:
    """Return Silero VAD with each timer, by name; head k of its frames is timer k."""
    return {
        f"silero_{timer_s:g}s": System(label=f"Silero VAD, {timer_s:g} s of silence", model=SILERO, rule=_above_half(head))
        for head, timer_s in enumerate(TIMERS_S)
    }


def other_systems(detectors: Sequence[str]) -> dict[str, System]:
    """Return the detectors of one probability each, as they are used: above 0.5."""
    labels = {SMART_TURN: "Smart Turn as pipecat asks it"}
    return {name: System(label=labels.get(name, f"{name}, above 0.5"), model=name, rule=_above_half(0)) for name in detectors}


def _above_half(head: int) -> EndpointRule:
    return EndpointRule(head=head, threshold=0.5, hold_frames=1, ignore_frames=0)


@dataclass(frozen=True, kw_only=True)
class Lasting:
    """A clip, and how many frames a detector is heard for: the silence after the clip included."""

    clip: Clip
    num_frames: int


class SoundDetector:
    """A worker (`core/engine.py`): Silero VAD's timers on the sound of clips, and Smart Turn where there are weights of it.

    Of each clip it returns the name of every detector with its rows, one a frame.
    """

    def __init__(self, data: Dataset, smart_turn: Path | None) -> None:
        self._data = data
        self._vad = SileroVad.load()
        self._smart_turn = None if smart_turn is None else SmartTurn.load(smart_turn)

    def __call__(self, clips: Sequence[Lasting]) -> list[dict[str, np.ndarray]]:
        sounds = []
        for one in clips:
            sound = read_audio(self._data.sound(one.clip))
            sounds.append(np.pad(sound, (0, max(num_samples(frame_start_s(one.num_frames)) - len(sound), 0))))
        rows = []
        for one, sound, probs in zip(clips, sounds, self._vad.speech_probs(sounds), strict=True):
            rows.append({SILERO: turn_rows(silent_for_s(probs, CHUNK_S), CHUNK_S, one.num_frames, TIMERS_S)})
            if self._smart_turn is not None:
                said = pipecat_probs(probs, sound, self._smart_turn.prob_over)
                rows[-1][SMART_TURN] = _by_row(said, CHUNK_S, one.num_frames)
        return rows


def sound_frames(data: Dataset, heard: Sequence[ClipFrames], smart_turn: Path | None, engine: Engine = LOCAL) -> list[ClipFrames]:
    """Return the frames of Silero VAD's timers, and of Smart Turn where its weights are given, for clips that a model has run on.

    They have as many rows as the model's, the silence after the clip included.

    Raises:
        MissingExtra: Silero VAD is not installed.
        AudioError: a clip's sound is missing or unreadable.
    """
    clips, told = {clip.path: clip for clip in data.clips()}, dict[str, dict[str, np.ndarray]]()
    by_length = sorted(heard, key=lambda one: len(one.pause))  # a batch lasts as long as its longest clip
    lasting = [Lasting(clip=clips[one.clip], num_frames=len(one.pause)) for one in by_length]
    results = engine.results(functools.partial(SoundDetector, data, smart_turn), batched(lasting, _CLIPS_AT_A_TIME))
    line = "Silero VAD listens" if smart_turn is None else "Silero VAD and Smart Turn listen"
    for one, rows in track(results, line, total=len(lasting)):
        if isinstance(rows, SetAside):
            raise AudioError(f"{one.clip.path}: {rows.fault}")
        told[one.clip.path] = rows
    names = (SILERO,) if smart_turn is None else (SILERO, SMART_TURN)
    return [_without_text(one, name, told[one.clip][name]) for name in names for one in heard]


def pipecat_probs(speech_probs: np.ndarray, sound: np.ndarray, prob_over: Callable[[np.ndarray], float]) -> np.ndarray:
    """Return for each step of Silero VAD the probability that the turn is over, as pipecat has it from Smart Turn [N].

    It is 0 while somebody speaks and for the first 0.2 s of a silence, then what Smart Turn said at that moment, and 1 after 3 s. Source:
    `BaseSmartTurn` of pipecat (`pipecat/audio/turn/smart_turn/base_smart_turn.py`).

    Args:
        speech_probs: the probability of speech in each step.
        sound: of the clip, mono at 24 kHz.
        prob_over: mono sound at 16 kHz -> the probability that the turn is over.
    """
    silent_s, is_speech = silent_for_s(speech_probs, CHUNK_S), np.asarray(speech_probs) >= SPEECH_THRESHOLD
    heard, probs = resample(sound, SAMPLE_RATE_HZ, MODEL_RATE_HZ), np.zeros(len(silent_s))
    first_s = max(0.0, int(is_speech.argmax()) * CHUNK_S - BEFORE_SPEECH_S)
    said: float | None = None
    for step, silence_s in enumerate(silent_s):
        if silence_s < ASKED_AFTER_S - _EPS:
            said = None
            continue
        if said is None:
            said = prob_over(heard[round(first_s * MODEL_RATE_HZ) : round((step + 1) * CHUNK_S * MODEL_RATE_HZ)])
        probs[step] = 1.0 if silence_s >= SMART_TURN_TIMER_S - _EPS else said
    return probs


def read_turn_probs(path: Path, heard: Sequence[ClipFrames]) -> list[ClipFrames]:
    """Return the frames of a detector for the clips of `heard`, in their order, from a file: one JSON object a line,
    `{"id": CLIP, "timestamp": SECONDS, "p_eot": PROBABILITY}`.

    A row holds until the next one of its clip; before the first it is 0. Rows may also have the `span_index` of eot-bench's predictions,
    which tell of silences alone: the last row of a silence is then followed by 0. The detector is called after the file.

    Raises:
        DatasetError: the file is missing, a line cannot be read, or a clip of `heard` has none; by line or clip.
    """
    rows: dict[str, list[tuple[float, int, float]]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DatasetError(f"--turn_probs {path}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            value = parse_json(line)
            clip, time_s, prob, span = str(value["id"]), float(value["timestamp"]), float(value["p_eot"]), int(value.get("span_index", 0))
            if not 0.0 <= prob <= 1.0:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            expected = json.dumps({"id": "audio/NAME.wav", "timestamp": 1.28, "p_eot": 0.93})
            raise DatasetError(f"{path}, line {number}: expected {expected}, the probability between 0 and 1") from None
        rows.setdefault(clip, []).append((time_s, span, prob))
    frames = []
    for one in heard:
        if one.clip not in rows:
            raise DatasetError(f"{path}: no row of clip {one.clip}")
        told = sorted(rows[one.clip])
        ends = [(time_s + _EPS, span, 0.0) for (time_s, span, _), following in itertools.pairwise(told) if following[1] != span]
        times_s, _, probs = np.array(sorted(told + ends)).T
        newest = np.searchsorted(times_s, [frame_heard_s(row) + 2 * _EPS for row in range(len(one.pause))], side="right") - 1
        frames.append(_without_text(one, path.stem, np.where(newest >= 0, probs[newest], 0.0)[:, None]))
    return frames


def require_parquet() -> None:
    """Raise `MissingExtra` where eot-bench's rows cannot be written."""
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra("pyarrow", "eot_bench", "--eot_bench")


def write_eot_predictions(directory: Path, scores: Scores, report: Report, *, language: str) -> list[Path]:
    """Write the rows from which the report's `eot_bench` is computed, as livekit's eot-bench reads them, and return the files.

    They are DIRECTORY/LANGUAGE/DETECTOR/predictions.parquet, each with the columns of `metrics.eot_bench.Look` and `language`.
    """
    import pyarrow
    from pyarrow import parquet

    paths = []
    for detector in [name for name in report.eot_bench if name != "timer" and report.eot_bench[name]]:
        rules = [system.rule for system in report.systems.values() if system.model == detector and detector not in report.models]
        judged = [replace(score, rule=rule) for score in scores.by_model([detector])[detector] for rule in (rules or [scores.rule])[:1]]
        rows = [{"language": language, **asdict(look)} for score in judged for look in score.looks]
        paths.append(directory / language / detector / "predictions.parquet")
        with atomic_path(paths[-1]) as temporary:
            parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)
    return paths


def _by_row(probs: np.ndarray, step_s: float, num_rows: int) -> np.ndarray:
    """Return [num_rows, 1]: what is known of `probs`, one a step, when each row of 80 ms is heard."""
    last_steps = np.array([int(frame_heard_s(row) / step_s + _EPS) - 1 for row in range(num_rows)])
    return np.where(last_steps >= 0, probs[np.clip(last_steps, 0, len(probs) - 1)], 0.0)[:, None]


def _without_text(one: ClipFrames, name: str, rows: np.ndarray) -> ClipFrames:
    """Return the frames of the detector `name` of the same clip."""
    return replace(one, model=name, text_tokens=(), words=(), pause=rows, text_lag_s=None, classes=None, reply=None)

"""Figures of parts of a slice: by length of the number, speaker, speed, whether the speaker paused inside the number, and the channel.

Parts are small, so they carry fewer figures, and no part of fewer than `MIN_CLIPS` clips is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from stt_ft.metrics.digit_strings import number_runs
from stt_ft.report.figures import NUMBER_SLICES, SLICES, figures_of
from stt_ft.report.frames import ClipFrames
from stt_ft.report.scores import ClipScore

MIN_CLIPS = 5

MIN_PAUSE_S = 0.25
"""Silence between two words of a number from which it counts as a pause."""

GROUP_FIGURES = {
    **dict.fromkeys(NUMBER_SLICES, ("false_cut_offs", "digit_strings_exact", "written_as_words", "latency_p50_s", "latency_p95_s")),
    "ordinary": ("false_cut_offs", "word_error_rate", "latency_p50_s", "latency_p95_s"),
}
"""Slice -> figures that its parts are told in."""


def build_groups(scores: dict[str, list[ClipScore]]) -> list[dict[str, Any]]:
    """Return the parts: of which slice, by what ("length", "speaker" …), which one, how many clips, and model -> figures.

    Args:
        scores: model -> its clips, all in the same order.
    """
    groups = []
    clips = [score.frames for score in next(iter(scores.values()))]
    for slice_name, figures in GROUP_FIGURES.items():
        positions = [position for position, clip in enumerate(clips) if SLICES[slice_name](clip)]
        for title, part_of in _divisions(slice_name, [clips[position] for position in positions]).items():
            parts: dict[str, list[int]] = {}
            for position in positions:
                parts.setdefault(part_of(clips[position]), []).append(position)
            for part in sorted(parts, key=lambda part: (len(part), part)):
                if len(parts) > 1 and len(parts[part]) >= MIN_CLIPS:
                    by_model = {model: figures_of([members[p] for p in parts[part]], figures) for model, members in scores.items()}
                    groups.append({"slice": slice_name, "by": title, "part": part, "num_clips": len(parts[part]), "figures": by_model})
    return groups


def build_channels(scores: dict[str, list[ClipScore]], twins: dict[str, dict[str, list[ClipScore]]]) -> list[dict[str, Any]]:
    """Return the clips as recorded and their twins through every channel, in the form of `build_groups`; nothing without twins.

    Args:
        scores: model -> its clips as recorded.
        twins: channel -> model -> the twins of the same clips, in the same order.
    """
    groups = []
    for slice_name, figures in GROUP_FIGURES.items() if twins else ():
        for channel, by_model in {"as recorded": scores, **twins}.items():
            members = {model: [one for one in ones if SLICES[slice_name](one.frames)] for model, ones in by_model.items()}
            num_clips = len(next(iter(members.values())))
            if num_clips:
                told = {model: figures_of(ones, figures) for model, ones in members.items()}
                groups.append({"slice": slice_name, "by": "channel", "part": channel, "num_clips": num_clips, "figures": told})
    return groups


def _divisions(slice_name: str, clips: Sequence[ClipFrames]) -> dict[str, Callable[[ClipFrames], str]]:
    """Return the ways to divide the clips of a slice: title -> the part that a clip belongs to."""
    if not clips:
        return {}
    usual_rate = median(_words_per_s(clip) for clip in clips)
    divisions: dict[str, Callable[[ClipFrames], str]] = {
        "speed": lambda clip: "slower half" if _words_per_s(clip) < usual_rate else "faster half",
        "speaker": lambda clip: clip.speaker or "unknown",
    }
    if slice_name in NUMBER_SLICES:
        divisions = {
            "length": lambda clip: f"{sum(stop - start for start, stop in number_runs(clip.reference_texts))} words",
            "pause inside": lambda clip: f"{MIN_PAUSE_S} s or more" if _longest_pause_s(clip) >= MIN_PAUSE_S else "none",
            **divisions,
        }
    return divisions


def _words_per_s(clip: ClipFrames) -> float:
    return len(clip.reference) / max(clip.speech_end_s - clip.reference[0].start_s, 0.08)


def _longest_pause_s(clip: ClipFrames) -> float:
    """Return the longest silence between two words of a number, in seconds."""
    gaps_s = [
        after.start_s - before.end_s
        for start, stop in number_runs(clip.reference_texts)
        for before, after in zip(clip.reference[start : stop - 1], clip.reference[start + 1 : stop], strict=True)
    ]
    return max(gaps_s, default=0.0)

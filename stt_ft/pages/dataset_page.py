"""A page of a dataset: every clip's sound, waveform and words, and the problems that `check` lists, the gravest first."""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.core.atomic import write_text
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.manifest import Clip, Dataset, Sidecar, Word
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.corpus.problems import GRAVE, KINDS, Problem
from stt_ft.pages.offline_page import PageSounds, outline, render_page
from stt_ft.text.inverse.said_digits import number_runs

MAX_BEYOND_S = 2.0
"""Seconds drawn behind the sound, for words that stand there by mistake."""

_LEVELS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
"""Levels of an outline, one sign a point: a thousand clips stay small."""


def write_dataset_page(
    path: Path,
    data: Dataset,
    problems: Sequence[Problem],
    *,
    stream_checked: bool = True,
    track: Callable[[Sequence[Clip]], Iterable[Clip]] = iter,
) -> None:
    """Write the page of `data` to `path`; it shows every clip, with sound or without, and plays offline.

    Args:
        problems: as `corpus.problems.inspect` lists them.
        stream_checked: whether room on the text stream was among the checks.
        track: shows progress over the clips.
    """
    by_clip: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_clip[problem.clip_id].append(problem)
    split_of = {clip.path: split for split in reversed(data.splits()) for clip in data.clips(split)}
    clips = list({clip.path: clip for clip in data.clips()}.values())
    sounds = PageSounds(path.parent)
    shown = [_page_clip(data, clip, split_of[clip.path], by_clip[clip.path], sounds) for clip in track(clips)]
    payloads = [payload for payload, _, _ in shown]
    html = render_page(
        "dataset.html.j2",
        scripts=("dataset_cards.js", "dataset.js"),
        data={"clips": payloads, "titles": {kind: title_of(kind) for kind in KINDS}, "grave": sorted(GRAVE)},
        audio=[source for _, _, source in shown],
        outlines=[signs for _, signs, _ in shown],
        name=data.directory.resolve().name,
        info=data.info(),
        num_clips=len(clips),
        num_faulty=sum(bool(found) for found in by_clip.values()),
        num_problems=len(problems),
        duration=show_duration(sum(payload["duration"] for payload in payloads)),
        kinds=_kind_rows(problems),
        splits=_split_rows(payloads),
        lengths=_lengths([payload["duration"] for payload in payloads]),
        stream_checked=stream_checked,
    )
    write_text(path, html)


def title_of(kind: str) -> str:
    """Return a kind of problem as it is headed: "word_times" is "Word times"."""
    return kind.replace("_", " ").capitalize()


def show_duration(seconds: float) -> str:
    """Return seconds as people say them: "52 s", "12 min", "1 h 5 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _page_clip(data: Dataset, clip: Clip, split: str, problems: Sequence[Problem], sounds: PageSounds) -> tuple[dict[str, Any], str, str]:
    """Return a clip's data for the script of the page, its outline and the source of its sound, both empty where it has none."""
    try:
        samples = read_audio(data.sound(clip))
    except (AudioError, DatasetError, OSError):
        samples = None
    try:
        sidecar = data.read_sidecar(clip)
    except DatasetError:
        sidecar = Sidecar()
    duration_s = clip.duration_s if samples is None else samples_to_s(len(samples), SAMPLE_RATE_HZ)
    payload = clip_facts(clip, split, sidecar, problems, duration_s=duration_s)
    if samples is None:
        return payload, "", ""
    return payload, outline_signs(samples), sounds.source(data.sound(clip), samples)


def outline_signs(samples: np.ndarray) -> str:
    """Return the outline of a sound as the scripts of the page read it."""
    return "".join(_LEVELS[level * (len(_LEVELS) - 1) // 100] for level in outline(samples))


def clip_facts(clip: Clip, split: str, sidecar: Sidecar, problems: Iterable[Problem], *, duration_s: float) -> dict[str, Any]:
    """Return what the scripts of the page (static/dataset_cards.js) show of a clip, ready for JSON; the sound lasts `duration_s`."""
    last_end_s = max((word.end_s for word in (*sidecar.alignments, *(sidecar.written or ()))), default=0.0)
    return {
        "clip": clip.path,
        "split": split,
        "speaker": _text(clip.extra, "speaker"),
        "kind": _text(clip.extra, "kind"),
        "script": sidecar.script or _text(clip.extra, "script"),
        "duration": round(duration_s, 3),
        "viewEnd": round(max(0.1, duration_s, min(last_end_s, duration_s + MAX_BEYOND_S)), 3),
        "words": [_word(word) for word in sidecar.alignments],
        "written": None if sidecar.written is None else [_word(word) for word in sidecar.written],
        "numbers": _number_places(sidecar),
        "unsure": _least_sure(sidecar),
        "problems": [problem_facts(one) for one in sorted(problems, key=lambda one: list(KINDS).index(one.kind))],
    }


def problem_facts(problem: Problem) -> list[Any]:
    """Return a problem as the scripts of the page read it."""
    return [problem.kind, problem.message, list(problem.words)]


def _text(extra: Mapping[str, Any], key: str) -> str:
    value = extra.get(key)
    return value if isinstance(value, str) else ""


def _number_places(sidecar: Sidecar) -> list[list[int]]:
    """Return the dictated numbers as places among all words of the clip: first, last + 1."""
    places = [index for index, word in enumerate(sidecar.alignments) if word.is_main]
    runs = number_runs([sidecar.alignments[index].text for index in places])
    return [[places[start], places[stop - 1] + 1] for start, stop in runs]


def _word(word: Word) -> list[Any]:
    return [word.text, round(word.start_s, 4), round(word.end_s, 4)]


def _least_sure(sidecar: Sidecar) -> list[Any] | None:
    """Return the written word of which the aligner was least sure, and how sure it was; None where that is not known."""
    words, confidences = sidecar.written or sidecar.alignments, sidecar.extra.get("confidence")
    if not isinstance(confidences, list) or len(confidences) != len(words) or not words:
        return None
    if not all(isinstance(one, (int, float)) and np.isfinite(one) for one in confidences):
        return None
    at = int(np.argmin(confidences))
    return [words[at].text, round(float(confidences[at]), 3)]


def _kind_rows(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return a row a kind of problem that occurs, the gravest first."""
    clips: dict[str, set[str]] = defaultdict(set)
    for problem in problems:
        clips[problem.kind].add(problem.clip_id)
    return [
        {"kind": kind, "title": title_of(kind), "meaning": meaning, "num_clips": len(clips[kind]), "is_grave": kind in GRAVE}
        for kind, meaning in KINDS.items()
        if clips[kind]
    ]


def _split_rows(payloads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for split in dict.fromkeys(payload["split"] for payload in payloads):
        members = [payload for payload in payloads if payload["split"] == split]
        rows.append(
            {
                "split": split,
                "num_clips": len(members),
                "duration": show_duration(sum(member["duration"] for member in members)),
                "num_speakers": len({member["speaker"] for member in members if member["speaker"]}),
                "num_numbers": sum(bool(member["numbers"]) for member in members),
                "num_faulty": sum(bool(member["problems"]) for member in members),
            }
        )
    return rows


def _lengths(durations_s: Sequence[float]) -> dict[str, Any]:
    """Return a histogram of the clips' lengths: bars as shares of the highest, with a label each."""
    longest_s = max(1.0, *durations_s, 0.0)
    counts, edges = np.histogram(durations_s, bins=24, range=(0.0, longest_s))
    bins = [
        {"share": 100 * count / max(1, counts.max()), "label": f"{count} clips of {low:.1f} to {high:.1f} s"}
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    ]
    median_s = float(np.median(durations_s)) if durations_s else 0.0
    return {
        "bins": bins,
        "end": f"{longest_s:.1f}",
        "description": f"half of the clips last {median_s:.1f} s or less, none more than {longest_s:.1f} s",
    }

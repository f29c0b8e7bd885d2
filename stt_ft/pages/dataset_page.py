"""A page of a dataset: its clips' sound, waveform and words, and the problems that `check` lists, the gravest first."""

from __future__ import annotations

import json
import math
import random
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.core.atomic import write_text
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.progress import track
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.corpus.problems import GRAVE, KINDS, Problem
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.pages.offline_page import MAX_DATA_BYTES, PageSounds, in_turn, outline, render_page
from stt_ft.text.inverse.said_digits import number_runs

MAX_BEYOND_S = 2.0
"""Seconds drawn behind the sound, for words that stand there by mistake."""

_LEVELS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
"""Levels of an outline, one sign a point: a thousand clips stay small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What the tables of the page, and the choice of its cards, take from a clip."""

    clip: Clip
    split: str
    problems: Sequence[Problem]
    has_number: bool
    least_sure: float


def write_dataset_page(
    path: Path,
    data: Dataset,
    problems: Iterable[Problem],
    *,
    stream_checked: bool = True,
) -> None:
    """Write the page of `data` to `path`: its tables count all clips; cards, with sound or without, show every clip or, of more than a page
    holds, those that matter most. It plays offline.

    Args:
        problems: as `corpus.inspecting.inspect` finds them.
        stream_checked: whether room on the text stream was among the checks.
    """
    by_clip: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_clip[problem.clip_id].append(problem)
    split_of = {clip.path: split for split in reversed(data.splits()) for clip in data.clips(split)}
    clips = list({clip.path: clip for clip in data.clips()}.values())
    sidecars = track(data.sidecars(clips), "reading clips", len(clips))
    seen = [_seen(clip, sidecar, split_of[clip.path], by_clip.get(clip.path, ())) for clip, sidecar in sidecars]
    cards, sounds, num_bytes = {}, PageSounds(path.parent), 0
    for one in track(list(in_turn(_reasons(seen))), "drawing clips"):
        card = payload, outlined, _ = _page_clip(data, one, sounds)
        num_bytes += len(json.dumps(payload)) + len(outlined)
        if cards and num_bytes > MAX_DATA_BYTES:
            break
        cards[one] = card
    shown = [cards[one] for one in seen if one in cards]
    kinds, num_faulty = _kind_rows(seen), sum(bool(one.problems) for one in seen)
    html = render_page(
        "dataset.html.j2",
        scripts=("dataset_cards.js", "dataset.js"),
        data={
            "clips": [payload for payload, _, _ in shown],
            "titles": {kind: title_of(kind) for kind in KINDS},
            "grave": sorted(GRAVE),
            "counts": {"all": len(seen), "faulty": num_faulty, "kinds": {row["kind"]: row["num_clips"] for row in kinds}},
        },
        audio=[source for _, _, source in shown],
        outlines=[signs for _, signs, _ in shown],
        name=data.directory.resolve().name,
        info=data.info(),
        num_clips=len(seen),
        num_cards=len(shown),
        num_faulty=num_faulty,
        num_problems=sum(map(len, by_clip.values())),
        duration=show_duration(sum(one.clip.duration_s for one in seen)),
        kinds=kinds,
        splits=_split_rows(seen),
        lengths=_lengths([one.clip.duration_s for one in seen]),
        stream_checked=stream_checked,
    )
    write_text(path, html)


def _seen(clip: Clip, sidecar: Sidecar | DatasetError, split: str, problems: Sequence[Problem]) -> _Seen:
    sidecar = Sidecar() if isinstance(sidecar, DatasetError) else sidecar
    unsure = _least_sure(sidecar)
    return _Seen(
        clip=clip,
        split=split,
        problems=problems,
        has_number=bool(_number_places(sidecar)),
        least_sure=math.inf if unsure is None else unsure[1],
    )


def _reasons(seen: Sequence[_Seen]) -> list[list[_Seen]]:
    """Return the clips by each reason to look at one: a kind of problem, the gravest first; the aligner's doubt; chance, which all have."""
    by_kind: dict[str, dict[_Seen, None]] = defaultdict(dict)
    for one in seen:
        for problem in one.problems:
            by_kind[problem.kind][one] = None
    drawn = list(seen)
    random.Random(0).shuffle(drawn)
    return [*(list(by_kind[kind]) for kind in KINDS), sorted(seen, key=lambda one: one.least_sure), drawn]


def title_of(kind: str) -> str:
    """Return a kind of problem as it is headed: "word_times" is "Word times"."""
    return kind.replace("_", " ").capitalize()


def show_duration(seconds: float) -> str:
    """Return seconds as people say them: "52 s", "12 min", "1 h 5 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _page_clip(data: Dataset, seen: _Seen, sounds: PageSounds) -> tuple[dict[str, Any], str, str]:
    """Return a clip's data for the script of the page, its outline and the source of its sound, both empty where it has none."""
    clip = seen.clip
    try:
        samples = read_audio(data.sound(clip))
    except (AudioError, DatasetError, OSError):
        samples = None
    try:
        sidecar = data.read_sidecar(clip)
    except DatasetError:
        sidecar = Sidecar()
    duration_s = clip.duration_s if samples is None else samples_to_s(len(samples), SAMPLE_RATE_HZ)
    payload = clip_facts(clip, seen.split, sidecar, seen.problems, duration_s=duration_s)
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


def _kind_rows(seen: Sequence[_Seen]) -> list[dict[str, Any]]:
    """Return a row a kind of problem that occurs, the gravest first."""
    num_clips = Counter(kind for one in seen for kind in {problem.kind for problem in one.problems})
    return [
        {"kind": kind, "title": title_of(kind), "meaning": meaning, "num_clips": num_clips[kind], "is_grave": kind in GRAVE}
        for kind, meaning in KINDS.items()
        if num_clips[kind]
    ]


def _split_rows(seen: Sequence[_Seen]) -> list[dict[str, Any]]:
    rows = []
    for split in dict.fromkeys(one.split for one in seen):
        members = [one for one in seen if one.split == split]
        rows.append(
            {
                "split": split,
                "num_clips": len(members),
                "duration": show_duration(sum(one.clip.duration_s for one in members)),
                "num_speakers": len({_text(one.clip.extra, "speaker") for one in members} - {""}),
                "num_numbers": sum(one.has_number for one in members),
                "num_faulty": sum(bool(one.problems) for one in members),
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

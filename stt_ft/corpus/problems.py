"""Faults of a dataset on disk, each a `Problem` with its clip's id; one faulty clip never hides another, and no fault raises."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.audio.levels import SILENT_PEAK, bandwidth_hz, clipped_share, peak
from stt_ft.core.doubts import disputes_of, doubts_of
from stt_ft.core.errors import AlignmentError, AudioError, DatasetError
from stt_ft.core.manifest import LEFT_OUT, MAIN_SPEAKER, Clip, Dataset, Sidecar, Word
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ, frame_start_s, num_frames_covering
from stt_ft.model.checkpoint_dir import TAIL_S, ModelDir
from stt_ft.text.digit_words import digit_runs
from stt_ft.text.spoken_forms import holds_digits
from stt_ft.text.written_style import scoring_words

KINDS = {
    "audio": "the sound is missing, cannot be read, or its path leads out of the dataset",
    "sidecar": "the sidecar is missing or malformed",
    "no_words": "no words: not annotated, or nothing was said",
    "silent": "no sound louder than -50 dB",
    "left_out": "a stretch of the sound does not fit the script and has no words; such a clip is not trained on",
    "script": "the words are not those of the script",
    "digits_left": "a word still holds digits: not converted",
    "word_times": "a word's time is empty, outside the clip, or out of order",
    "no_room": "the words do not fit on the text stream at the base's lag",
    "split_synthetic": "a synthetic clip outside train: what a synthesiser says proves nothing about people",
    "split_number": "the same dictated number is in two splits",
    "split_speaker": "the same speaker is in two splits",
    "overlap": "two words of one speaker overlap",
    "times": "a second source times a word otherwise by more than 0.2 s: listen to it",
    "reading": "two readings of a number fit the sound about equally: listen to it",
    "speed": "words come faster or slower than people speak",
    "duration": "the manifest's duration is not the sound's",
    "clipped": "the recording is too loud: samples stand at full scale",
    "duplicate": "the same sound stands in the dataset twice",
    "narrow_band": "no sound above 4 kHz: telephone speech, or recorded through a headset's call mode",
}
"""Kind of problem -> its meaning, the gravest first."""

GRAVE = frozenset(list(KINDS)[: list(KINDS).index("overlap")])
"""Kinds that stop a clip from being trained on, teach something false, or spoil an evaluation; the others are worth a look."""

ADVICE = frozenset({"times", "reading"})
"""Kinds that say where to listen; they are no fault, and do not fail a check."""

MAX_DURATION_ERROR_S = FRAME_S
MAX_CLIPPED_SHARE = 1e-3
MIN_BANDWIDTH_HZ = 4300.0
"""A telephone channel ends at 4 kHz; its filters leave a trace a little above."""

MAX_WORDS_PER_S, MIN_WORDS_PER_S, LEAST_WORDS_FOR_SPEED = 8.0, 0.2, 4
MAX_OVERLAP_S = 0.005
MIN_DIGITS_KEPT_APART = 5
"""Least digits of a number that may be in one split only; shorter ones occur in two by chance, and teach nothing by it."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding about one clip; `words` are the places of the words at fault in its `alignments`, where it is about words."""

    clip_id: str
    kind: str
    message: str
    words: tuple[int, ...] = ()


_Finding = tuple[str, str, tuple[int, ...]]
"""Kind, message, words at fault."""


def inspect(
    data: Dataset, *, model: ModelDir | None, track: Callable[[Sequence[Clip]], Iterable[Clip]], tail_s: float = TAIL_S
) -> list[Problem]:
    """Return the problems of all clips of `data`.

    Args:
        model: on whose text stream the words of every clip must find room; None where no base is known.
        tail_s: silence after a clip and the text lag, in seconds.
    """
    clips_by_split = {split: data.clips(split) for split in data.splits()}
    found: list[Problem] = []
    hashes: dict[str, str] = {}
    sidecars: dict[str, Sidecar] = {}
    for clip in track([clip for clips in clips_by_split.values() for clip in clips]):
        try:
            samples = read_audio(data.audio_path(clip))
            hashes[clip.path] = hashlib.sha256(data.audio_path(clip).read_bytes()).hexdigest()
            found += sound_problems(clip, samples, SAMPLE_RATE_HZ)
        except (AudioError, DatasetError, OSError) as error:
            found.append(Problem(clip_id=clip.path, kind="audio", message=str(error)))
        try:
            sidecar = data.read_sidecar(clip)
        except DatasetError as error:
            found.append(Problem(clip_id=clip.path, kind="sidecar", message=str(error)))
            continue
        sidecars[clip.path] = sidecar
        found += word_problems(clip, sidecar)
        if model is not None:
            found += _stream_problems(clip, sidecar, model, tail_s)
    splits = data.info().get("splits")
    split_by = str(splits.get("by", "both")) if isinstance(splits, dict) else "both"
    return found + set_problems(clips_by_split, hashes, sidecars, split_by=split_by)


def sound_problems(clip: Clip, samples: np.ndarray, sample_rate_hz: int) -> list[Problem]:
    """Return the faults of the sound of `clip`: duration, level, clipping, bandwidth."""
    found: list[_Finding] = []
    duration_s = len(samples) / sample_rate_hz
    if abs(duration_s - clip.duration_s) > MAX_DURATION_ERROR_S:
        found.append(("duration", f"the manifest says {clip.duration_s:.2f} s, the sound lasts {duration_s:.2f} s", ()))
    if peak(samples) < SILENT_PEAK:
        found.append(("silent", f"its loudest sample is {peak(samples):.5f} of full scale", ()))
        return _problems(clip, found)
    share = clipped_share(samples)
    if share > MAX_CLIPPED_SHARE:
        found.append(("clipped", f"{share:.2%} of its samples are at full scale", ()))
    width_hz = bandwidth_hz(samples, sample_rate_hz)
    if width_hz < MIN_BANDWIDTH_HZ and not (clip.is_synthetic and "channel" in clip.extra):
        found.append(("narrow_band", f"its sound ends at {width_hz:.0f} Hz", ()))
    return _problems(clip, found)


def word_problems(clip: Clip, sidecar: Sidecar) -> list[Problem]:
    """Return the faults of the words of `clip` and of their times."""
    words = sidecar.alignments
    if not words:
        return _problems(clip, [("no_words", "it has no words; run `stt-ft annotate`", ())])
    found: list[_Finding] = []
    left = {index: word.text for index, word in enumerate(words) if holds_digits(word.text)}
    if left:
        found.append(("digits_left", f"{' '.join(left.values())[:60]!r} holds digits; run `stt-ft convert`", tuple(left)))
    found += _time_findings(words, clip.duration_s)
    found += _speed_findings(words)
    found += _left_out_findings(sidecar) or _script_findings(sidecar)
    found += _reading_findings(sidecar)
    found += _dispute_findings(sidecar)
    return _problems(clip, found)


def set_problems(
    clips_by_split: Mapping[str, Sequence[Clip]],
    audio_hashes: Mapping[str, str],
    sidecars: Mapping[str, Sidecar],
    *,
    split_by: str = "both",
) -> list[Problem]:
    """Return the faults between clips: sounds that occur twice, speakers and numbers in two splits, synthetic clips outside train.

    Args:
        audio_hashes: clip id -> hash of its sound; clips without sound are left out.
        sidecars: clip id -> its sidecar, where it could be read.
        split_by: by what the splits are kept apart (`split --by`): speaker, number or both; the other is no problem.
    """
    by_sound: dict[str, list[tuple[str, Clip]]] = defaultdict(list)
    by_speaker: dict[str, list[tuple[str, Clip]]] = defaultdict(list)
    by_number: dict[str, list[tuple[str, Clip]]] = defaultdict(list)
    found: list[Problem] = []
    for split, clips in clips_by_split.items():
        for clip in clips:
            if clip.is_synthetic and split != "train":
                message = f"{split} holds it, and only train may; run `stt-ft split`"
                found.append(Problem(clip_id=clip.path, kind="split_synthetic", message=message))
            if clip.path in audio_hashes:
                by_sound[audio_hashes[clip.path]].append((split, clip))
            speaker = clip.extra.get("speaker")
            if isinstance(speaker, str) and speaker:
                by_speaker[speaker].append((split, clip))
            for number in numbers_in(sidecars.get(clip.path)):
                by_number[number].append((split, clip))
    for owners in by_sound.values():
        (first_split, first), *others = owners
        found += [
            Problem(clip_id=clip.path, kind="duplicate", message=f"{split} holds the sound of {first.path} ({first_split})")
            for split, clip in others
        ]
    if split_by in ("speaker", "both"):
        found += _leaks(by_speaker, "split_speaker", "speaker")
    if split_by in ("number", "both"):
        found += _leaks(by_number, "split_number", "number")
    return found


def _stream_problems(clip: Clip, sidecar: Sidecar, model: ModelDir, tail_s: float) -> list[Problem]:
    prefix_s = frame_start_s(model.num_prefix_frames)
    words = [
        dataclasses.replace(word.moved(prefix_s), tokens=tuple(model.tokenizer.encode(word.text.strip())))
        for word in sidecar.alignments
        if word.speaker == MAIN_SPEAKER
    ]
    num_frames = model.num_prefix_frames + num_frames_covering(clip.duration_s) + model.num_tail_frames(tail_s)
    try:
        model.text_stream(words, num_frames)
    except AlignmentError as error:
        return [Problem(clip_id=clip.path, kind="no_room", message=str(error))]
    return []


def _leaks(owners: dict[str, list[tuple[str, Clip]]], kind: str, what: str) -> list[Problem]:
    """Return the clips whose speaker or number is in an earlier split too."""
    return [
        Problem(clip_id=clip.path, kind=kind, message=f"{what} {name} is in {places[0][0]} and {split}; run `stt-ft split`")
        for name, places in owners.items()
        for split, clip in places
        if split != places[0][0]
    ]


def _time_findings(words: Sequence[Word], duration_s: float) -> list[_Finding]:
    found: list[_Finding] = []
    last: dict[str, Word] = {}
    for index, word in enumerate(words):
        where = f"{word.text!r} at {word.start_s:.3f}-{word.end_s:.3f} s"
        if word.end_s <= word.start_s:
            found.append(("word_times", f"{where} lasts no time", (index,)))
        if word.start_s < 0 or word.end_s > duration_s + MAX_DURATION_ERROR_S:
            found.append(("word_times", f"{where} lies outside the clip of {duration_s:.2f} s", (index,)))
        before = last.get(word.speaker)
        if before is not None and word.start_s < before.start_s:
            found.append(("word_times", f"{where} comes before {before.text!r}, which it follows", (index,)))
        elif before is not None and word.start_s < before.end_s - MAX_OVERLAP_S:
            found.append(("overlap", f"{where} begins before {before.text!r} ends at {before.end_s:.3f} s", (index,)))
        last[word.speaker] = word
    return found


def _speed_findings(words: Sequence[Word]) -> list[_Finding]:
    span_s = max(word.end_s for word in words) - min(word.start_s for word in words)
    if len(words) < LEAST_WORDS_FOR_SPEED or span_s <= 0 or MIN_WORDS_PER_S <= len(words) / span_s <= MAX_WORDS_PER_S:
        return []
    return [("speed", f"{len(words)} words in {span_s:.2f} s are {len(words) / span_s:.1f} a second", ())]


def _left_out_findings(sidecar: Sidecar) -> list[_Finding]:
    found: list[_Finding] = []
    entries = sidecar.extra.get(LEFT_OUT)
    for (start_s, end_s), entry in zip(sidecar.left_out_s(), entries if isinstance(entries, list) else [entries], strict=False):
        script, heard = entry[1:3] if isinstance(entry, list) and len(entry) == 3 else ("", "")
        told = f"the script has {str(script)[:60]!r}, annotate heard {str(heard)[:60]!r}"
        found.append(("left_out", f"{start_s:.1f}-{end_s:.1f} s: {told}; cut it out of the clip, or correct the script", ()))
    return found


def _script_findings(sidecar: Sidecar) -> list[_Finding]:
    mismatch = sidecar.extra.get("mismatch")
    if isinstance(mismatch, dict) and "heard" in mismatch:
        told = f"the script is {str(mismatch.get('script'))[:60]!r}, annotate heard {str(mismatch['heard'])[:60]!r}"
        return [("script", f"{told} (confidence {mismatch.get('confidence')}); retake it or correct the script", ())]
    if sidecar.script is None or _says(sidecar, sidecar.script):
        return []
    said = " ".join(word.text for word in sidecar.written or sidecar.alignments)
    return [("script", f"the script is {sidecar.script[:60]!r}, the words are {said[:60]!r}", ())]


def _reading_findings(sidecar: Sidecar) -> list[_Finding]:
    found: list[_Finding] = []
    for doubt in doubts_of(sidecar):
        words = sidecar.alignments[doubt.start : doubt.stop]
        said = " ".join(word.text for word in words)
        where = f"at {words[0].start_s:.2f}-{words[-1].end_s:.2f} s"
        told = f"{said!r} {where} may have been {doubt.reading!r} (lead {doubt.lead:.1f}); listen, and write it in words if it is wrong"
        found.append(("reading", told, tuple(range(doubt.start, doubt.stop))))
    return found


def _dispute_findings(sidecar: Sidecar) -> list[_Finding]:
    found: list[_Finding] = []
    for dispute in disputes_of(sidecar):
        told = f"{dispute.text!r} is at {_span(dispute.here_s)}, by {dispute.source} at {_span(dispute.there_s)}"
        found.append(("times", told, () if sidecar.written is None else (dispute.place,)))
    return found


def _span(span_s: tuple[float, float]) -> str:
    return f"{span_s[0]:.2f}-{span_s[1]:.2f} s"


def _says(sidecar: Sidecar, script: str) -> bool:
    """Whether the words of a sidecar, written or spoken, are those of `script`."""
    wanted = "".join(scoring_words(script))
    versions: Iterable[tuple[Word, ...]] = (sidecar.alignments, sidecar.written or ())
    return any("".join(scoring_words(" ".join(word.text for word in words))) == wanted for words in versions)


def numbers_in(sidecar: Sidecar | None, script: object = None, *, min_digits: int = MIN_DIGITS_KEPT_APART) -> set[str]:
    """Return the dictated numbers of a clip, of `min_digits` and more: of its words, or of its script where it has no words yet."""
    words = [word.text for word in sidecar.alignments] if sidecar is not None else []
    runs = digit_runs(words or (script.split() if isinstance(script, str) else []))
    return {run.digits for run in runs if len(run.digits) >= min_digits}


def _problems(clip: Clip, found: Iterable[_Finding]) -> list[Problem]:
    return [Problem(clip_id=clip.path, kind=kind, message=message, words=words) for kind, message, words in found]

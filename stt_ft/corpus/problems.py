"""Faults of a clip by itself, each a `Problem` with the clip's id: of its sound, and of its words and their times. `inspecting` goes
through a whole dataset; one faulty clip never hides another, and no fault raises."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.audio.levels import SILENT_PEAK, bandwidth_hz, clipped_share, peak
from stt_ft.core.errors import AlignmentError, DatasetError
from stt_ft.core.timing import FRAME_S, frame_start_s, num_frames_covering
from stt_ft.dataset.doubts import disputes_of, doubts_of
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import LEFT_OUT, MAIN_SPEAKER, Sidecar, Word
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.text.inverse.said_digits import dictated_numbers
from stt_ft.text.spoken_forms import holds_digits
from stt_ft.text.written_style import scoring_words

KINDS = {
    "audio": "the sound is missing, cannot be read, or its path leads out of the dataset",
    "sidecar": "the sidecar is missing or malformed",
    "set_aside": "the check of it killed its process three times: look at its sound by hand, or take it out of the manifest",
    "no_words": "no words: not annotated, nothing was said, or another speaker says all",
    "silent": "no sound louder than -50 dB",
    "left_out": "a stretch of the sound does not fit the script and has no words; such a clip is not trained on",
    "script": "the words are not those of the script",
    "not_one_word": "an entry is not one word: several, none, a mark alone, or signs that are no text",
    "unknown_letters": "a word has letters that the base's tokenizer lacks",
    "digits_left": "a word still holds digits: not converted",
    "word_times": "a word's time is empty, outside the clip, or out of order",
    "no_room": "the words do not fit on the text stream at the base's lag",
    "split_synthetic": "a synthetic clip outside train: what a synthesiser says proves nothing about people",
    "split_number": "the same dictated number is in two splits",
    "split_speaker": "the same speaker is in two splits",
    "overlap": "two words overlap",
    "other_speakers": f"words of other speakers than {MAIN_SPEAKER}: neither learned nor measured, as if nothing were said there",
    "long_word": "a word lasts longer than people take to say one",
    "times": "a second source times a word otherwise by more than 0.2 s: listen to it",
    "reading": "two readings of a number fit the sound about equally: listen to it",
    "speed": "words come faster or slower than people speak",
    "duration": "the manifest's duration is not the sound's",
    "clipped": "the recording is too loud: samples stand at full scale",
    "duplicate": "the same clip, or the same sound, stands in the dataset twice",
    "narrow_band": "no sound above 4 kHz: telephone speech, or recorded through a headset's call mode",
}
"""Kind of problem -> its meaning, the gravest first."""

GRAVE = frozenset(list(KINDS)[: list(KINDS).index("overlap")])
"""Kinds that stop a clip from being trained on, teach something false, or spoil an evaluation; the others are worth a look. `train` and
`evaluate` refuse clips with such faults of words (`faultless_sidecars`)."""

ADVICE = frozenset({"times", "reading"})
"""Kinds that say where to listen; they are no fault, and do not fail a check."""

MAX_DURATION_ERROR_S = FRAME_S
MAX_CLIPPED_SHARE = 1e-3
MIN_BANDWIDTH_HZ = 4300.0
"""A telephone channel ends at 4 kHz; its filters leave a trace a little above."""

MAX_WORDS_PER_S, MIN_WORDS_PER_S, LEAST_WORDS_FOR_SPEED = 8.0, 0.2, 4
MAX_OVERLAP_S = 0.005
MAX_WORD_S = 2.0
"""No word of the demo's 4,150 lasts more than 1.5 s, though hesitant speakers draw them out."""

MAX_FAULTS_SHOWN = 5
"""Faulty clips named in one error."""

_SPOKEN_SIGNS = frozenset("&%@#*+/\\§")
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
    """Return the faults of the words of `clip` that a model is to write (`Sidecar.main_words`), and of their times."""
    words = [(index, word) for index, word in enumerate(sidecar.alignments) if word.is_main]
    others = Counter(word.speaker for word in sidecar.alignments if not word.is_main)
    told = ", ".join(f"{count} by {speaker}" for speaker, count in others.items())
    if not words and others:
        way_out = f"name the speaker to learn {MAIN_SPEAKER} in its sidecar, or take it out of the manifest"
        return _problems(clip, [("no_words", f"it has no words by {MAIN_SPEAKER}, but {told}; {way_out}", ())])
    if not words:
        return _problems(clip, [("no_words", "it has no words; run `stt-ft annotate`, or take it out of the manifest", ())])
    found: list[_Finding] = []
    if others:
        found.append(("other_speakers", f"{told}: not learned, not measured; a voice that can be heard is taught as silence", ()))
    left = {index: word.text for index, word in words if holds_digits(word.text)}
    if left:
        first, more = next(iter(left.values())), f" and {len(left) - 1} more" if len(left) > 1 else ""
        found.append(("digits_left", f"it has {first[:60]!r} as one word, in digits{more}; run `stt-ft convert`", tuple(left)))
    found += _entry_findings(words)
    found += _time_findings(words, clip.duration_s)
    found += _speed_findings([word for _, word in words])
    found += _left_out_findings(sidecar) or _script_findings(sidecar)
    found += _reading_findings(sidecar)
    found += _dispute_findings(sidecar)
    return _problems(clip, found)


def stream_problems(clip: Clip, sidecar: Sidecar, model: ModelDir, tail_s: float) -> list[Problem]:
    """Return the words of `clip` that find no room on the text stream of `model`, or that its tokenizer cannot write; `tail_s` seconds of
    silence follow the clip and the text lag."""
    prefix_s = frame_start_s(model.num_prefix_frames)
    words: list[Word] = []
    found: list[_Finding] = []
    for index, word in enumerate(sidecar.alignments):
        if word.is_main and word.text.strip():
            try:
                words.append(dataclasses.replace(word.moved(prefix_s), tokens=model.tokens_of(word.text)))
            except AlignmentError as error:
                found.append(("unknown_letters", f"{error} (at {_span(word)})", (index,)))
    num_frames = model.num_prefix_frames + num_frames_covering(clip.duration_s) + model.num_tail_frames(tail_s)
    try:
        model.text_stream(words, num_frames)
    except AlignmentError as error:
        found.append(("no_room", str(error), ()))
    return _problems(clip, found)


def faultless_sidecars(data: Dataset, clips: Sequence[Clip]) -> tuple[dict[str, Sidecar], dict[str, str]]:
    """Return the sidecars whose words may be learned and measured, and for every other clip the fault of its words, both by clip id.

    What `check` calls grave about words is a fault; no sound is read.
    """
    sidecars: dict[str, Sidecar] = {}
    faults: dict[str, str] = {}
    for clip, sidecar in data.sidecars(clips):
        if clip.path in sidecars or clip.path in faults:
            continue
        if isinstance(sidecar, DatasetError):
            faults[clip.path] = str(sidecar)
            continue
        grave = next((problem for problem in word_problems(clip, sidecar) if problem.kind in GRAVE), None)
        if grave is None:
            sidecars[clip.path] = sidecar
        else:
            faults[clip.path] = grave.message
    return sidecars, faults


def refuse_faulty(data: Dataset, split: str, faults: Mapping[str, str], *, purpose: str) -> None:
    """Raise `DatasetError` that counts the clips of `split` with `faults` and names the first, where there are any."""
    if faults:
        shown = "; ".join(f"clip {path}: {fault}" for path, fault in list(faults.items())[:MAX_FAULTS_SHOWN])
        more = f"; and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise DatasetError(
            f"{data.directory}: {len(faults)} clips of {split} cannot be {purpose}: {shown}{more}; "
            f"`stt-ft check {data.directory}` lists every fault"
        )


def _entry_findings(words: Sequence[tuple[int, Word]]) -> list[_Finding]:
    """Return the entries that are no single word, or too long for one."""
    found: list[_Finding] = []
    for index, word in words:
        text, where = word.text.strip(), f"{word.text[:60]!r} at {_span(word)}"
        if not text:
            found.append(("not_one_word", f"the entry at {_span(word)} is empty", (index,)))
        elif any(unicodedata.category(glyph) == "Cc" or glyph in "\ufeff\ufffd" for glyph in text):
            found.append(("not_one_word", f"{where} holds signs that are no text", (index,)))
        elif len(text.split()) > 1:
            found.append(("not_one_word", f"{where} holds {len(text.split())} words; each needs an entry and times of its own", (index,)))
        elif all(unicodedata.category(glyph).startswith("P") and glyph not in _SPOKEN_SIGNS for glyph in text):
            found.append(("not_one_word", f"{where} is a mark, which has no sound; write it to the word before, or leave it out", (index,)))
        elif word.end_s - word.start_s > MAX_WORD_S and not holds_digits(text):
            found.append(("long_word", f"{where} lasts {word.end_s - word.start_s:.3g} s", (index,)))
    return found


def _time_findings(words: Sequence[tuple[int, Word]], duration_s: float) -> list[_Finding]:
    found: list[_Finding] = []
    before: Word | None = None
    for index, word in words:
        where = f"{word.text[:60]!r} at {_span(word)}"
        if word.end_s <= word.start_s:
            found.append(("word_times", f"{where} lasts no time", (index,)))
        if word.start_s < 0 or word.end_s > duration_s + MAX_DURATION_ERROR_S:
            found.append(("word_times", f"{where} lies outside the clip of {duration_s:.2f} s", (index,)))
        if before is not None and word.start_s < before.start_s:
            found.append(("word_times", f"{where} comes before {before.text[:60]!r}, which it follows", (index,)))
        elif before is not None and word.start_s == before.start_s:
            found.append(("word_times", f"{where} begins together with {before.text[:60]!r}", (index,)))
        elif before is not None and word.start_s < before.end_s - MAX_OVERLAP_S:
            found.append(("overlap", f"{where} begins before {before.text[:60]!r} ends at {before.end_s:.3f} s", (index,)))
        before = word
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
        told = f"it has {str(script)[:60]!r}, annotate heard {str(heard)[:60]!r}"
        where = f"its script does not fit the sound at {start_s:.1f}-{end_s:.1f} s"
        found.append(("left_out", f"{where}: {told}; cut it out of the clip, or correct the script", ()))
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
        here, there = (f"{start_s:.2f}-{end_s:.2f} s" for start_s, end_s in (dispute.here_s, dispute.there_s))
        told = f"{dispute.text!r} is at {here}, by {dispute.source} at {there}"
        found.append(("times", told, () if sidecar.written is None else (dispute.place,)))
    return found


def _span(word: Word) -> str:
    """Return the times of a word; wild ones without their hundreds of digits."""
    return "-".join(f"{time_s:.3f}" if abs(time_s) < 1e6 else f"{time_s:.3g}" for time_s in (word.start_s, word.end_s)) + " s"


def _says(sidecar: Sidecar, script: str) -> bool:
    """Whether the words of a sidecar, written or spoken, are those of `script`."""
    wanted = "".join(scoring_words(script))
    versions = [version for words in (sidecar.alignments, sidecar.written or ()) for version in (words, [w for w in words if w.is_main])]
    return any("".join(scoring_words(" ".join(word.text for word in words))) == wanted for words in versions)


def numbers_in(sidecar: Sidecar | None, script: object = None, *, min_digits: int = MIN_DIGITS_KEPT_APART) -> set[str]:
    """Return the dictated numbers of a clip, of `min_digits` and more: of its words, or of its script where it has no words yet.

    A code counts with its letters too: "A one B two C three" is "a1b2c3".
    """
    words = [word.text for word in sidecar.main_words] if sidecar is not None else []
    found = set()
    for number in dictated_numbers(words or (script.split() if isinstance(script, str) else [])):
        found |= {number.digits, "".join(glyph for glyph in number.text.lower() if glyph.isalnum())}
    return {number for number in found if len(number) >= min_digits}


def numbers_of(data: Dataset, clips: Iterable[Clip], *, min_digits: int = MIN_DIGITS_KEPT_APART) -> Iterator[tuple[Clip, set[str]]]:
    """Yield each of many clips with its `numbers_in`; raises `DatasetError` by name for a sidecar that cannot be read."""
    for clip, sidecar in data.known_sidecars(clips):
        yield clip, numbers_in(sidecar, clip.extra.get("script"), min_digits=min_digits)


def _problems(clip: Clip, found: Iterable[_Finding]) -> list[Problem]:
    return [Problem(clip_id=clip.path, kind=kind, message=message, words=words) for kind, message, words in found]

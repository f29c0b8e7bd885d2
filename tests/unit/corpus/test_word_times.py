"""Words and times of other tools: read as the tool means them, and not at all where a word has no time.

The TextGrids were written by praatio 6.2.2, the cuts by lhotse 1.33.0 (`trim_to_supervisions`, `truncate`, `perturb_speed`, `resample`,
`perturb_volume`); whisper's JSON has the keys of openai-whisper 20250625, whisperX's those of its documentation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stt_ft.core.errors import DatasetError
from stt_ft.corpus.sources import formats
from stt_ft.corpus.sources.source_clip import SourceClip


def read_source(source: Path, corpus_format: str) -> list[SourceClip]:
    return list(formats.read_source(source, corpus_format).clips())


LONG_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 2.5 
tiers? <exists> 
size = 2 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "words" 
        xmin = 0 
        xmax = 2.5 
        intervals: size = 4 
        intervals [1]:
            xmin = 0 
            xmax = 0.58 
            text = "" 
        intervals [2]:
            xmin = 0.58 
            xmax = 0.94 
            text = "order" 
        intervals [3]:
            xmin = 1 
            xmax = 1.4 
            text = ""\"café""\" 
        intervals [4]:
            xmin = 1.4 
            xmax = 2.5 
            text = "sp" 
    item [2]:
        class = "TextTier" 
        name = "notes" 
        xmin = 0 
        xmax = 2.5 
        points: size = 1 
        points [1]:
            number = 0.5 
            mark = "click" 
"""

SHORT_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
2
"IntervalTier"
"anna - words"
0
2.5
3
0.58
0.94
"order"
1
1.4
""\"café""\"
1.4
2.5
""
"TextTier"
"notes"
0
2.5
1
0.5
"click"
"""


def beside(folder: Path, **files: str | bytes) -> SourceClip:
    """Return the one clip of a folder that has these files beside `take.wav`; names have _ for the dot."""
    (folder / "take.wav").touch()
    for suffix, content in files.items():
        (folder / f"take.{suffix}").write_bytes(content if isinstance(content, bytes) else content.encode())
    (clip,) = read_source(folder, "folder")
    return clip


def words_of(clip: SourceClip) -> list[tuple[str, float, float]]:
    words = clip.sidecar.alignments if clip.sidecar is not None else ()
    return [(word.text, round(word.start_s, 4), round(word.end_s, 4)) for word in words]


def whisper(*words: dict[str, Any], text: str = " Order, 345.", **more: Any) -> str:
    segment = {"id": 0, "seek": 0, "start": 0.0, "end": 2.0, "text": text, "tokens": [1], "temperature": 0.0, "words": list(words)}
    return json.dumps({"text": text, "segments": [segment], "language": "en", **more})


ORDER = {"word": " Order,", "start": 0.5, "end": 0.9, "probability": 0.98}
NUMBER = {"word": " 345.", "start": 1.0, "end": 1.92, "probability": 0.7}


@pytest.mark.parametrize("content", [LONG_TEXTGRID, SHORT_TEXTGRID])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_words_of_a_textgrid_in_all_its_forms(tmp_path: Path, content: str, encoding: str):
    clip = beside(tmp_path, TextGrid=content.encode(encoding), lab="order café\n")
    assert words_of(clip) == [("order", 0.58, 0.94), ('"café"', 1.0, 1.4)]
    assert (clip.words_by, clip.script, clip.fault, clip.notice) == ("textgrid", "order café", "", "")


def test_a_textgrid_without_a_words_tier_gives_no_words_and_says_so(tmp_path: Path):
    clip = beside(tmp_path, TextGrid=LONG_TEXTGRID.replace('"words"', '"Mary"'), txt="order café")
    assert (words_of(clip), clip.words_by, clip.script) == ([], "", "order café")
    assert "no tier is called words; it has Mary" in clip.notice


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (SHORT_TEXTGRID.replace("notes", "bo - words").replace("TextTier", "IntervalTier").replace("0.5\n", "0\n0.5\n"), "several people"),
        (SHORT_TEXTGRID[:120], "ends in the middle"),
        ("not a TextGrid", "ends in the middle"),
        ('"Praat chronological TextGrid text file"\n"x"\n', "no TextGrid"),
    ],
)
def test_a_textgrid_that_cannot_be_read_for_sure_leaves_its_clip_out(tmp_path: Path, content: str, fault: str):
    with pytest.raises(DatasetError, match=fault) as refused:
        beside(tmp_path, TextGrid=content)
    assert "take.TextGrid" in str(refused.value)


def test_the_words_of_a_ctm_and_their_channel(tmp_path: Path):
    clip = beside(tmp_path, ctm=";; a comment\ntake B 1.0 0.4 two 0.9\ntake B 0.5 0.3 one\ntake B 1.5 0.2 <eps>\n")
    assert words_of(clip) == [("one", 0.5, 0.8), ("two", 1.0, 1.4)]
    assert (clip.words_by, clip.channel) == ("ctm", 1)


@pytest.mark.parametrize("line", ["other 1 0.5 0.3 one", "take 1 soon 0.3 one", "take 1 0.5", "take 1 0.5 0.3 one\ntake 2 0.9 0.3 two"])
def test_a_ctm_about_something_else_leaves_its_clip_out(tmp_path: Path, line: str):
    with pytest.raises(DatasetError, match=r"take\.ctm"):
        beside(tmp_path, ctm=line)


def test_the_words_of_whisper(tmp_path: Path):
    clip = beside(tmp_path, json=whisper(ORDER, NUMBER))
    assert words_of(clip) == [("Order,", 0.5, 0.9), ("345.", 1.0, 1.92)]
    assert (clip.words_by, clip.script) == ("whisper", "Order, 345.")
    assert clip.sidecar is not None
    assert not clip.sidecar.extra  # nothing of the transcript's other keys is kept


def test_what_whisper_parts_before_a_hyphen_is_one_word(tmp_path: Path):
    """As it wrote "an ill disposed young man", by tiny.en: " old" and "-sposed"."""
    pieces = ((" an", 1.2, 1.36), (" old", 1.36, 1.68), ("-sposed", 1.68, 2.14), (" young", 2.14, 2.4))
    words = [{"word": word, "start": start_s, "end": end_s, "probability": 0.6} for word, start_s, end_s in pieces]
    clip = beside(tmp_path, json=whisper(*words, text=" an old-sposed young"))
    assert words_of(clip) == [("an", 1.2, 1.36), ("old-sposed", 1.36, 2.14), ("young", 2.14, 2.4)]


def test_whisper_wrote_its_own_txt_beside_and_a_persons_script_wins(tmp_path: Path):
    assert words_of(beside(tmp_path, json=whisper(ORDER, NUMBER), txt="Order, 345.\n"))
    clip = beside(tmp_path, txt="order 346")
    assert (clip.script, words_of(clip)) == ("order 346", [])
    assert "heard 'Order, 345.'" in clip.notice


@pytest.mark.parametrize(
    ("words", "notice"),
    [
        ([ORDER, {"word": "345."}], "its word '345.' has no time"),
        ([ORDER, {**NUMBER, "end": 1.0}], "lies at 1.00-1.00 s"),
        ([ORDER, {**NUMBER, "start": None}], "has no time"),
        ([NUMBER, ORDER], "lies at 0.50-0.90 s"),
        ([{**ORDER, "word": " order number"}], "is no single word"),
        ([], "no words with times"),
    ],
)
def test_a_word_without_a_time_is_never_given_one(tmp_path: Path, words: list[dict[str, Any]], notice: str):
    clip = beside(tmp_path, json=whisper(*words))
    assert (words_of(clip), clip.words_by, clip.script, clip.fault) == ([], "", "Order, 345.", "")
    assert notice in clip.notice
    assert "annotate" in clip.notice


def test_the_words_of_whisperx(tmp_path: Path):
    words = [{"word": "order", "start": 0.5, "end": 0.9, "score": 0.8}, {"word": "three", "start": 1.0, "end": 1.4, "score": 0.8}]
    transcript = {"segments": [{"start": 0.5, "end": 1.4, "text": " order three", "words": words}], "word_segments": words}
    clip = beside(tmp_path, json=json.dumps(transcript))
    assert words_of(clip) == [("order", 0.5, 0.9), ("three", 1.0, 1.4)]
    assert (clip.words_by, clip.script) == ("whisperx", "order three")


def test_words_of_two_people_in_one_transcript_leave_the_clip_out(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"2 people speak \(SPEAKER_00, SPEAKER_01\)"):
        beside(tmp_path, json=whisper({**ORDER, "speaker": "SPEAKER_00"}, {**NUMBER, "speaker": "SPEAKER_01"}))


def lhotse_cuts(folder: Path) -> dict[str, SourceClip]:
    recording = {
        "id": "rec", "sources": [{"type": "file", "channels": [0], "source": "rec.wav"}], "sampling_rate": 16000, "num_samples": 96000,
        "duration": 6.0, "channel_ids": [0],
    }  # fmt: skip

    def said(text: str, start_s: float, *words: list[Any], duration_s: float = 1.5) -> dict[str, Any]:
        alignment = {"word": [[*word, None] for word in words]}
        return {
            "id": text,
            "recording_id": "rec",
            "start": start_s,
            "duration": duration_s,
            "channel": 0,
            "text": text,
            "speaker": "anna",
        } | {"alignment": alignment}

    def cut(name: str, start_s: float, duration_s: float, *said: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"id": name, "start": start_s, "duration": duration_s, "channel": 0, "supervisions": said, "type": "MonoCut"} | {
            "recording": {**recording, **more}
        }

    one_two, three = (["one", 2.1, 0.3], ["two", 2.8, 0.4]), ["three", 4.2, 0.3]
    speed, resample, volume = ([{"name": name, "kwargs": {}}] for name in ("Speed", "Resample", "Volume"))
    cuts = [
        cut("s1", 2.0, 1.5, said("one two", 0.0, *one_two)),
        cut("middle", 2.5, 2.6, said("one two", -0.5, *one_two), said("three", 1.5, three, duration_s=1.0)),
        cut("late", 1.5, 4.0, said("one two", 0.5, *one_two), said("three", 2.5, three, duration_s=1.0)),
        cut(
            "slow", 2.22225, 1.6666875, said("one two", 0.0, ["one", 2.3333125, 0.3333125], ["two", 3.111125, 0.4444375]), transforms=speed
        ),
        cut("resampled", 1.8, 2.0, said("one two", 0.2, *one_two), transforms=resample, sampling_rate=8000),
        cut("louder", 1.8, 2.0, said("one two", 0.2, *one_two), transforms=volume),
    ]
    (folder / "cuts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in cuts))
    return {clip.clip_id: clip for clip in read_source(folder / "cuts.jsonl", "auto")}


def test_lhotse_counts_alignments_from_the_recording_and_supervisions_from_the_cut(tmp_path: Path):
    cuts = lhotse_cuts(tmp_path)
    assert words_of(cuts["s1"]) == [("one", 0.1, 0.4), ("two", 0.8, 1.2)]
    assert words_of(cuts["late"]) == [("one", 0.6, 0.9), ("two", 1.3, 1.7), ("three", 2.7, 3.0)]
    assert words_of(cuts["resampled"]) == [("one", 0.3, 0.6), ("two", 1.0, 1.4)]
    assert (cuts["s1"].words_by, cuts["late"].script) == ("lhotse", "one two three")


def test_cuts_whose_file_or_text_is_not_what_the_cut_holds_are_left_out(tmp_path: Path):
    cuts = lhotse_cuts(tmp_path)
    assert "only partly in the cut" in cuts["middle"].fault
    assert "transformed (Speed)" in cuts["slow"].fault
    assert "transformed (Volume)" in cuts["louder"].fault


def test_of_a_recording_in_several_files_the_one_with_the_channel_is_taken(tmp_path: Path):
    sources = [{"type": "file", "channels": [channel], "source": f"{channel}.wav"} for channel in (0, 1)]
    recording = {"id": "r", "sources": sources, "duration": 2.0, "channel_ids": [0, 1]}
    cut = {"id": "c", "start": 0, "duration": 2.0, "channel": 1, "supervisions": [], "recording": recording}
    (tmp_path / "cuts.jsonl").write_text(json.dumps(cut))
    (clip,) = read_source(tmp_path / "cuts.jsonl", "lhotse")
    assert (clip.audio.name, clip.channel) == ("1.wav", None)

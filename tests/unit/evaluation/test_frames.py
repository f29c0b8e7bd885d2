import dataclasses
import json

import numpy as np
import pytest

from stt_ft.core.errors import DatasetError
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.frames import kind_of, read_frames, write_frames


def test_frames_come_back_from_disk_as_they_were(tmp_path, frames):
    write_frames(tmp_path / "frames.jsonl", frames)
    again = read_frames(tmp_path / "frames.jsonl")
    assert [one.to_json() for one in again] == [one.to_json() for one in frames]
    assert np.array_equal(again[0].pause, frames[0].pause)


def test_a_line_has_the_keys_that_are_promised(tmp_path, frames):
    write_frames(tmp_path / "frames.jsonl", frames)
    line = json.loads((tmp_path / "frames.jsonl").read_text().splitlines()[0])
    promised = "model clip frame_s text_tokens words pause reference number_spans speech_end_s duration_s kind speaker"
    assert set(line) == set(promised.split())
    assert line["frame_s"] == 0.08
    assert len(line["pause"]) == len(line["text_tokens"])
    assert all(len(word) == 4 for word in line["words"])
    (start_s, end_s), last = line["number_spans"][0], line["reference"][-1]
    assert (start_s, end_s) == (line["reference"][2][1], last[2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reference": []}, "no words"),
        ({"kind": "song"}, "kind must be one of number, ordinary, got 'song'"),
        ({"manner": "slow"}, "manner must be one of natural, hesitant, got 'slow'"),
        ({"voices": "robots"}, "voices must be people, got 'robots'"),
        ({"text_tokens": [3]}, "1 text tokens and"),
        ({"pause": [[float("nan")]] * 3}, "finite"),
        ({"frame_s": 0.1}, "frame_s must be 0.08, got 0.1"),
        ({"words": [["order"]]}, "not enough values"),
    ],
)
def test_a_bad_line_is_named(tmp_path, frames, change, reason):
    path = tmp_path / "frames.jsonl"
    write_frames(path, frames[:2])
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + json.dumps({**json.loads(lines[1]), **change}) + "\n")
    with pytest.raises(DatasetError, match=f"line 2: .*{reason}"):
        read_frames(path)


def test_no_file_and_no_lines_are_told_apart(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        read_frames(tmp_path / "frames.jsonl")
    (tmp_path / "frames.jsonl").write_text("")
    with pytest.raises(DatasetError, match="holds no frames"):
        read_frames(tmp_path / "frames.jsonl")


def test_kind_is_what_the_manifest_says_else_what_the_words_say():
    assert kind_of(["one", "two", "three"]) == "number"
    assert kind_of(["one", "or", "two"]) == "ordinary"
    assert kind_of(["one", "two", "three"], "ordinary") == "ordinary"


def test_manner_and_voices_come_back_from_disk(tmp_path, mixed_frames):
    write_frames(tmp_path / "frames.jsonl", mixed_frames)
    again = [(one.manner, one.voices) for one in read_frames(tmp_path / "frames.jsonl") if one.model == "base"]
    assert again == [(None, None)] * 21 + [("hesitant", None)] * 9 + [(None, "people")] * 8


def test_a_turn_knows_its_words_and_when_the_first_was_written(frames):
    one = frames[0]
    assert (one.turn.first_word_start_s, one.turn.last_word_start_s) == (one.reference[0].start_s, one.reference[-1].start_s)
    assert one.turn.written[0] == (one.words[0].text, one.words[0].appeared_s)
    object.__setattr__(one, "words", ())
    assert type(one).from_json(one.to_json()).turn.written == ()


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("mon numéro est zéro six douze trente quatre merci", (3, 7)),
        ("call seven eighty eight now", (1, 3)),
        ("code a one b two c three thanks", (1, 6)),
    ],
)
def test_a_number_in_pairs_or_letters_is_spanned_whole(frames, text, span):
    words = tuple(Word(text=one, start_s=at, end_s=at + 0.5) for at, one in enumerate(text.split()))
    clip = dataclasses.replace(frames[0], reference=words)
    assert clip.number_spans == [(span[0], span[1] + 0.5)]
    assert kind_of(text.split()) == "number"


def test_an_integer_beyond_a_double_is_no_traceback(tmp_path, frames):
    path = tmp_path / "frames.jsonl"
    path.write_text(json.dumps({**frames[0].to_json(), "duration_s": 10**400}))
    with pytest.raises(DatasetError, match="line 1: not a line of frames"):
        read_frames(path)

import re
import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.dataset.sidecar import Word
from stt_ft.text.captions import MAX_CHARACTERS, MAX_GAP_S, Caption, captions, to_srt


def timed(*words):
    return [Word(text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in words]


WORDS = timed(("order", 0.5, 0.9), ("number", 0.95, 1.3), ("one", 1.4, 1.6), ("two", 4.0, 4.2))


def test_a_silence_begins_a_new_caption():
    lines = captions(WORDS)
    assert [line.text for line in lines] == ["order number one", "two"]
    assert (lines[0].start_s, lines[0].end_s) == (0.5, 1.6)
    assert lines[1].end_s == pytest.approx(4.7)  # long enough to be read


@given(steps=st.lists(st.tuples(st.text("abcdefghij", min_size=1, max_size=12), st.floats(0.05, 0.6), st.floats(0, 1.5)), max_size=40))
@settings(deadline=None, max_examples=60)
def test_every_word_is_shown_once_in_order_and_captions_never_overlap(steps):
    words, now_s = [], 0.0
    for text, length_s, gap_s in steps:
        words.append((text, now_s + gap_s, now_s + gap_s + length_s))
        now_s += gap_s + length_s
    lines = captions(timed(*words))
    assert " ".join(line.text for line in lines).split() == [text for text, _, _ in words]
    assert all(len(line.text) <= MAX_CHARACTERS for line in lines)
    for before, after in pairwise(lines):
        assert before.start_s <= before.end_s <= after.start_s + 1e-9


def test_words_that_begin_at_one_moment_still_make_captions():
    lines = captions(timed(("one", 1.0, 1.0), ("two", 1.0, 1.0)))
    assert [line.text for line in lines] == ["one two"]
    assert lines[0].end_s > lines[0].start_s


def test_subrip_is_written_as_its_players_read_it():
    assert to_srt([Caption(text="one", start_s=0.0, end_s=1.5), Caption(text="two", start_s=3661.0604, end_s=3662.0)]) == (
        "1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n01:01:01,060 --> 01:01:02,000\ntwo\n\n"
    )
    assert to_srt([]) == ""
    assert MAX_GAP_S < 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_reads_the_same_captions(tmp_path):
    (tmp_path / "a.srt").write_text(to_srt(captions(WORDS)))
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.srt"), "-f", "webvtt", "-"]
    vtt = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert re.findall(r"(\S+) --> (\S+)\n(.+)", vtt) == [("00:00.500", "00:01.600", "order number one"), ("00:04.000", "00:04.700", "two")]

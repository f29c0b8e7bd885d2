from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from random_models import spoken_words

from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.corpus import packed_words
from stt_ft.corpus.packed_words import PieceReader, packed_clips
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.text.inverse.said_digits import number_runs


@pytest.fixture
def data(tmp_path) -> Dataset:
    """Eleven clips, whose sounds nobody listens to; the fifth has no words."""
    data, rng, clips = Dataset(tmp_path / "orders"), np.random.default_rng(0), []
    for index in range(11):
        words = spoken_words(rng, 3 + index % 4) if index != 4 else ()
        clip = Clip(path=f"audio/é{index}.wav", duration_s=6.0 + index / 10, extra={"kind": "ordinary" if index % 2 else "number"})
        data.write_sidecar(clip, Sidecar(alignments=(*words, Word(text="yes", start_s=0.1, end_s=0.2, speaker="SPEAKER_1"))))
        data.audio_path(clip).write_bytes(bytes([index]))
        clips.append(clip)
    data.write_clips("train", clips)
    return data


def told(data: Dataset) -> list[tuple]:
    """All that is told of every clip, whatever piece it came in."""
    found = []
    for packed in packed_clips(data, "train", replay_kinds=("ordinary",)):
        for at in range(len(packed.paths)):
            places, times_s, in_number = packed.words_of(at)
            texts = [packed.texts[place] for place in places]
            facts = (packed.path(at), float(packed.durations_s[at]), bool(packed.is_replay[at]), packed.keys[at], packed.faults.get(at))
            found.append((*facts, texts, times_s.tolist(), in_number))
    return found


def test_a_clip_is_told_as_its_sidecar_has_it_whatever_the_pieces(data, monkeypatch):
    whole = told(data)
    assert len(whole) == 11
    for clip, (path, duration_s, is_replay, key, fault, texts, times_s, in_number) in zip(data.clips(), whole, strict=True):
        words = data.read_sidecar(clip).main_words
        assert (path, duration_s, is_replay, len(key)) == (clip.path, clip.duration_s, clip.extra["kind"] == "ordinary", 16)
        assert (fault is None) == bool(words)
        assert texts == [word.text for word in words]
        assert times_s == [[word.start_s for word in words], [word.end_s for word in words]]
        runs = number_runs(texts)
        assert in_number == [any(start <= place < stop for start, stop in runs) for place in range(len(texts))]
    for size in (1, 3, 11):
        monkeypatch.setattr(packed_words, "PIECE_LINES", size)
        assert told(data) == whole


def test_times_that_are_no_whole_ticks_are_not_rounded(data):
    clip = data.clips()[0]
    sidecar = data.read_sidecar(clip)
    first = dataclasses.replace(sidecar.alignments[0], start_s=0.4 - 1e-7)
    path = data.sidecar_path(clip)
    path.write_text(path.read_text().replace("0.4,", f"{first.start_s!r},", 1))
    assert told(data)[0][6][0][0] == first.start_s


def test_a_reader_and_what_it_read_go_from_process_to_process(data):
    reader = pickle.loads(pickle.dumps(PieceReader(data, "train", ())))
    (packed,) = reader(data.manifest_pieces("train", 100))
    assert pickle.loads(pickle.dumps(packed)).words_of(2)[0] == packed.words_of(2)[0]


def test_a_line_that_is_no_clip_is_named_by_its_number_in_whatever_piece(data, monkeypatch):
    monkeypatch.setattr(packed_words, "PIECE_LINES", 3)
    path = data.manifest_path("train")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:7], "\n", '{"path": 3}\n', *lines[7:]]))
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 9: "):
        told(data)


def test_a_sound_that_is_not_there_and_a_split_without_a_manifest_are_named(data):
    data.audio_path(data.clips()[6]).unlink()
    with pytest.raises(AudioError, match=r"é6\.wav: No such file"):
        told(data)
    with pytest.raises(DatasetError, match=r"dev\.jsonl: no such manifest"):
        next(packed_clips(data, "dev"))

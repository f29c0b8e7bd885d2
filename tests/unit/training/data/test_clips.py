from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from random_models import make_random_base, write_dataset

from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.recipe import AugmentRecipe, BatchRecipe
from stt_ft.core.timing import FRAME_S
from stt_ft.corpus.inspecting import inspect
from stt_ft.corpus.problems import GRAVE
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.packed import PackedSidecars
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.stages.finetune import encode
from stt_ft.training.data.clips import fingerprint
from stt_ft.training.data.loading import _refuse_measured_numbers, load_clips

PREFIX_S = 0.3  # of the base below: four frames


@pytest.fixture
def prefixed_base(tmp_path):
    """A model that wants to hear silence before speech."""
    model = make_random_base(tmp_path / "prefixed")
    config = json.loads((model.directory / "config.json").read_bytes())
    config["stt_config"]["audio_silence_prefix_seconds"] = PREFIX_S
    (model.directory / "config.json").write_text(json.dumps(config))
    return open_model(model.directory)


@pytest.fixture
def data(random_base, tmp_path):
    data = write_dataset(tmp_path / "orders", {"train": 4}, seed=3)
    encode(str(data.directory), base=str(random_base.directory), device="cpu")
    return data


def test_clips_carry_tokens_times_and_which_words_dictate_a_number(data, random_base):
    tokenizer = random_base.tokenizer
    for clip, loaded in zip(data.clips("train"), load_clips(data, "train", random_base, BatchRecipe()), strict=True):
        alignments = data.read_sidecar(clip).alignments
        assert [tokenizer.decode(list(word.tokens)) for word in loaded.words] == [word.text for word in alignments]
        assert [word.start_s for word in loaded.words] == [word.start_s for word in alignments]
        assert loaded.in_number == (False,) * 3 + (True,) * (len(alignments) - 3)
        assert loaded.num_frames == loaded.num_recorded_frames + 38


def test_a_models_silence_prefix_comes_before_every_clip_and_moves_its_words(data, random_base, prefixed_base):
    encode(str(data.directory), base=str(prefixed_base.directory), device="cpu")
    plain, prefixed = (load_clips(data, "train", base, BatchRecipe()) for base in (random_base, prefixed_base))
    for one, other in zip(plain, prefixed, strict=True):
        assert other.num_frames == one.num_frames + 4
        assert other.num_recorded_frames == one.num_recorded_frames + 4
        for word, moved in zip(one.words, other.words, strict=True):
            assert (moved.start_s, moved.end_s) == pytest.approx((word.start_s + 4 * FRAME_S, word.end_s + 4 * FRAME_S))
        onsets = [clip.text_stream(base).onset_frames for clip, base in ((one, random_base), (other, prefixed_base))]
        assert (onsets[1] - onsets[0] == 4).all()


def test_a_shorter_tail_cuts_the_silence(data, random_base):
    full, short = (load_clips(data, "train", random_base, BatchRecipe(tail_s=tail_s))[0] for tail_s in (2.5, 1.0))
    assert full.num_frames - short.num_frames == 19


def test_clips_that_were_never_encoded_are_an_error_with_the_way_out(random_base, tmp_path):
    data = write_dataset(tmp_path / "raw", {"train": 2})
    with pytest.raises(DatasetError, match=r"2 clips of train have no codes .*audio/train_0\.wav.*stt-ft encode"):
        load_clips(data, "train", random_base, BatchRecipe())


def test_every_clip_that_cannot_be_used_is_named_with_its_reason(data, random_base):
    clips = data.clips("train")
    data.write_sidecar(clips[0], Sidecar(alignments=(Word(text="one", start_s=99.0, end_s=99.3),)))
    data.sidecar_path(clips[2]).unlink()
    with pytest.raises(
        DatasetError, match=r"2 clips of train .*train_0\.wav: 'one' at 99\.000-99\.300 s lies outside.*train_2\.wav: .*no sidecar"
    ):
        load_clips(data, "train", random_base, BatchRecipe())


def test_a_clip_with_a_stretch_left_out_is_refused_by_its_times(data, random_base):
    clip = data.clips("train")[1]
    sidecar = data.read_sidecar(clip)
    data.write_sidecar(clip, dataclasses.replace(sidecar, extra={"left_out": [[[1.0, 2.5], "four two", ""]]}))
    with pytest.raises(DatasetError, match=r"1 clips of train .*train_1\.wav: its script does not fit the sound at 1\.0-2\.5 s"):
        load_clips(data, "train", random_base, BatchRecipe())


ORDER = Word(text="order", start_s=0.4, end_s=0.7)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([dataclasses.replace(ORDER, text="1296803")], "'1296803' as one word, in digits; run `stt-ft convert`"),
        ([dataclasses.replace(ORDER, end_s=0.4)], "lasts no time"),
        ([dataclasses.replace(ORDER, end_s=0.2)], "lasts no time"),
        ([dataclasses.replace(ORDER, end_s=99.0)], "lies outside the clip"),
        ([dataclasses.replace(ORDER, start_s=-0.1)], "lies outside the clip"),
        ([ORDER.moved(1.0), ORDER], "comes before 'order', which it follows"),
        ([ORDER, ORDER], "begins together with 'order'"),
        ([dataclasses.replace(ORDER, text="my order number is one two nine")], "holds 7 words"),
        ([dataclasses.replace(ORDER, text="or\0der")], "signs that are no text"),
        ([ORDER, dataclasses.replace(ORDER.moved(1.0), text="-")], "is a mark"),
        ([ORDER, dataclasses.replace(ORDER.moved(1.0), text="café")], "word 'café' holds 'é', which the tokenizer of .* cannot write"),
        ([ORDER, dataclasses.replace(ORDER.moved(1.0), text="один")], "word 'один' holds 'один'"),
        ([ORDER, dataclasses.replace(ORDER.moved(1.0), text="order;")], "word 'order;' holds ';'"),
        ([dataclasses.replace(ORDER, speaker="SPEAKER_00")], "no words by SPEAKER_MAIN, but 1 by SPEAKER_00"),
    ],
)
def test_what_check_calls_grave_is_not_learned(data, random_base, words, reason):
    clips = data.clips("train")
    data.write_sidecar(clips[1], Sidecar(alignments=tuple(words)))
    with pytest.raises(DatasetError, match=rf"1 clips of train cannot be trained on: clip audio/train_1\.wav: .*{reason}") as error:
        load_clips(data, "train", random_base, BatchRecipe())
    assert str(error.value).endswith(f"`stt-ft check {data.directory}` lists every fault")
    problems = inspect(data, base=str(random_base.directory))
    assert {problem.clip_id for problem in problems if problem.kind in GRAVE} == {"audio/train_1.wav"}


def test_all_faulty_clips_are_counted_and_the_first_are_named(tmp_path, random_base):
    data = write_dataset(tmp_path / "many", {"train": 9})
    encode(str(data.directory), base=str(random_base.directory), device="cpu")
    for clip in data.clips("train")[1:]:
        data.write_sidecar(clip, Sidecar(alignments=(dataclasses.replace(ORDER, text="order number"),)))
    with pytest.raises(DatasetError, match=r"8 clips of train .*train_1\.wav.*train_5\.wav: [^;]*; [^;]*; and 3 more; ") as error:
        load_clips(data, "train", random_base, BatchRecipe(), versions=AugmentRecipe().versions)
    assert "train_6" not in str(error.value)


def test_what_is_worth_a_look_is_learned(data, random_base):
    """Words that overlap a little, last long, or are spoken fast."""
    words = (ORDER, dataclasses.replace(ORDER.moved(0.2), text="number"), dataclasses.replace(ORDER.moved(1.0), end_s=3.5))
    data.write_sidecar(data.clips("train")[1], Sidecar(alignments=words))
    assert len(load_clips(data, "train", random_base, BatchRecipe())[1].words) == 3
    assert {problem.kind for problem in inspect(data, base=str(random_base.directory))} == {"overlap", "long_word"}


def test_too_long_a_clip_is_refused_by_id(data, random_base):
    with pytest.raises(DatasetError, match=r"train_0\.wav: .* s long, more than batch\.max_clip_s 1\.0"):
        load_clips(data, "train", random_base, BatchRecipe(max_clip_s=1.0))


def test_a_clip_without_words_is_refused_by_id(data, random_base):
    clip = data.clips("train")[2]
    data.write_sidecar(clip, Sidecar(alignments=(Word(text="hello", start_s=0.1, end_s=0.3, speaker="SPEAKER_OTHER"),)))
    with pytest.raises(DatasetError, match=r"1 clips of train .*train_2\.wav: it has no words"):
        load_clips(data, "train", random_base, BatchRecipe())


def test_a_stream_longer_than_the_context_is_refused_by_id_unless_it_is_to_be_cut(data, random_base):
    longest = max(load_clips(data, "train", random_base, BatchRecipe()), key=lambda clip: clip.num_frames)
    narrow = dataclasses.replace(random_base, config={**random_base.config, "context": longest.num_frames - 1})
    match = rf"{longest.clip_id}: .* with silence before and after {longest.num_frames} frames, more than the model's context of"
    for max_clip_s in (60.0, None):
        with pytest.raises(DatasetError, match=match):
            load_clips(data, "train", narrow, BatchRecipe(max_clip_s=max_clip_s))
    assert len(load_clips(data, "train", narrow, BatchRecipe(long_clips="cut"))) == 4
    exact = dataclasses.replace(random_base, config={**random_base.config, "context": longest.num_frames})
    assert len(load_clips(data, "train", exact, BatchRecipe())) == 4


def test_words_of_other_speakers_are_not_learned(data, random_base):
    clip = data.clips("train")[0]
    sidecar = data.read_sidecar(clip)
    other = Word(text="hello", start_s=0.1, end_s=0.3, speaker="SPEAKER_OTHER")
    data.write_sidecar(clip, Sidecar(alignments=(other, *sidecar.alignments)))
    assert len(load_clips(data, "train", random_base, BatchRecipe())[0].words) == len(sidecar.alignments)


def test_the_fingerprint_follows_the_words(data, random_base):
    before = fingerprint(load_clips(data, "train", random_base, BatchRecipe()))
    assert fingerprint(load_clips(data, "train", random_base, BatchRecipe())) == before
    clip = data.clips("train")[1]
    data.write_sidecar(clip, Sidecar(alignments=data.read_sidecar(clip).alignments[:-1]))
    assert fingerprint(load_clips(data, "train", random_base, BatchRecipe())) != before


def test_copies_at_other_speeds_have_their_own_codes_and_times(data, random_base):
    with pytest.raises(DatasetError, match=r"4 clips of train have no codes .*train_0\.wav at 0\.8.*--speeds 1,0\.8"):
        load_clips(data, "train", random_base, BatchRecipe(), versions=AugmentRecipe(speeds=(1.0, 0.8)).versions)
    encode(str(data.directory), base=str(random_base.directory), device="cpu", speeds=[0.8])
    clips = load_clips(data, "train", random_base, BatchRecipe(), versions=AugmentRecipe(speeds=(1.0, 0.8)).versions)
    assert len(clips) == 8
    for clip, slower in zip(clips[:4], clips[4:], strict=True):
        assert [word.start_s for word in slower.words] == pytest.approx([word.start_s / 0.8 for word in clip.words])
        assert slower.num_recorded_frames == pytest.approx(clip.num_recorded_frames / 0.8, abs=2)
        assert slower.codes.shape[1] > clip.codes.shape[1]


def test_copies_through_a_channel_have_their_own_codes_and_the_clips_times(data, random_base):
    versions = AugmentRecipe(channels=("phone", "10dB")).versions
    with pytest.raises(DatasetError, match=r"8 clips of train have no codes .*train_0\.wav at phone.*--channels phone,10dB`"):
        load_clips(data, "train", random_base, BatchRecipe(), versions=versions)
    encode(str(data.directory), base=str(random_base.directory), device="cpu", channels=["phone", "10dB"])
    clips = load_clips(data, "train", random_base, BatchRecipe(), versions=versions)
    for clip, by_phone, in_noise in zip(clips[:4], clips[4:8], clips[8:], strict=True):
        assert clip.words == by_phone.words == in_noise.words
        assert clip.codes.shape == by_phone.codes.shape == in_noise.codes.shape
        assert not np.array_equal(clip.with_codes().codes, by_phone.with_codes().codes)
        assert not np.array_equal(clip.with_codes().codes, in_noise.with_codes().codes)


def test_a_channel_that_is_none_is_refused_before_anything_is_encoded(data, random_base):
    with pytest.raises(ConfigError, match="--channels: 'fax' is no channel; give phone, or noise as 20dB"):
        encode(str(data.directory), base=str(random_base.directory), device="cpu", channels=["fax"])


def test_a_dataset_without_a_train_split_is_encoded(random_base, tmp_path):
    data = write_dataset(tmp_path / "measured", {"heldout": 2}, seed=4)
    encode(str(data.directory), base=str(random_base.directory), device="cpu")
    assert len(load_clips(data, "heldout", random_base, BatchRecipe())) == 2


def test_a_clip_as_unmutes_server_hears_it_needs_no_codes_of_its_own(data, random_base):
    """Its codes are the recording's, and say nothing in the codebooks beyond the first five eighths."""
    encode(str(data.directory), base=str(random_base.directory), device="cpu")
    clips = load_clips(data, "train", random_base, BatchRecipe(), versions=AugmentRecipe(channels=("unmute",)).versions)
    num_heard = random_base.n_q * 5 // 8
    assert len(clips) == 8
    for clip, served in zip(clips[:4], clips[4:], strict=True):
        assert (served.words, served.clip_id) == (clip.words, clip.clip_id)
        by_server, whole = served.with_codes().codes, clip.with_codes().codes
        assert np.array_equal(by_server[:num_heard], whole[:num_heard])
        assert (by_server[num_heard:] == -1).all()
        assert (whole >= 0).all()
    with pytest.raises(ValueError, match="channels: 'kyutai' is no channel; give phone, noise as 20dB, or unmute"):
        AugmentRecipe(channels=("kyutai",))


def test_measured_numbers_are_looked_for_in_bulk(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    made = []
    for name, split, words in (("orders", "heldout", "one two three four five six"), ("synthetic", "train", "six five four three two one")):
        data = Dataset.to_fill(tmp_path / name)
        clips = [Clip(path=f"audio/{index}.wav", duration_s=3.0) for index in range(50)]
        data.write_clips(split, clips)
        spoken = tuple(Word(text=word, start_s=at / 3, end_s=at / 3 + 0.3) for at, word in enumerate(words.split()))
        data.write_sidecars(((clip, Sidecar(alignments=spoken)) for clip in clips), packed=True)
        made.append(data)
    asked = []
    get = PackedSidecars.get
    monkeypatch.setattr(PackedSidecars, "get", lambda packed, names: asked.append(len(names)) or get(packed, names))
    _refuse_measured_numbers(*made)
    assert asked == [50, 50]
    made[0].write_sidecar(clips[49], Sidecar(alignments=spoken))
    with pytest.raises(DatasetError, match=r"clip audio/0\.wav says 654321, as audio/49\.wav does"):
        _refuse_measured_numbers(*made)

"""Every mechanical property of aligning with Whisper, on a small random checkpoint: what it hears means nothing, how it answers does."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from stt_ft.align import whisper_heads, whisper_hearing
from stt_ft.align.aligner import AlignmentJob
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.align.whisper_heads import MEASURED
from stt_ft.align.whisper_model import WhisperModel
from stt_ft.audio.files import write_wav
from stt_ft.core.errors import CheckpointError, ConfigError, MissingExtra
from stt_ft.text.spoken_forms import SpokenToken

SCRIPTS = ("order number 1296803, please", "the pin is 4051", "hello — world")


@pytest.fixture
def jobs(tmp_path: Path) -> list[AlignmentJob]:
    rng = np.random.default_rng(0)
    made = []
    for index, script in enumerate(SCRIPTS):
        path = tmp_path / f"{index}.wav"
        write_wav(path, (rng.standard_normal(24_000 * (index + 2)) * 0.1).astype(np.float32))
        made.append(AlignmentJob(clip_id=str(index), audio_path=path, script=script, language="en"))
    return made


def work(model: Path, batch_size: int = 8) -> WhisperWork:
    return WhisperWork(str(model), language="en", device="cpu", batch_size=batch_size)


def test_a_batch_gives_what_single_clips_give(small_whisper: Path, jobs: list[AlignmentJob]) -> None:
    together = list(work(small_whisper).results(jobs))
    alone = list(work(small_whisper, batch_size=1).results(jobs))
    for one, other in zip(together, alone, strict=True):
        assert [(word.text, word.start_s, word.end_s) for word in one.words] == [
            (word.text, word.start_s, word.end_s) for word in other.words
        ]
        np.testing.assert_allclose([word.confidence for word in one.words], [word.confidence for word in other.words], rtol=1e-3)


def test_times_are_in_order_and_inside_the_clip(small_whisper: Path, jobs: list[AlignmentJob]) -> None:
    for index, result in enumerate(work(small_whisper).results(jobs)):
        assert not result.fault
        edges = [edge for word in result.words for edge in (word.start_s, word.end_s)]
        assert edges == sorted(edges)
        assert edges[0] >= 0
        assert edges[-1] <= index + 2
        assert all(word.end_s > word.start_s for word in result.words)


def test_the_script_is_respected_and_numbers_keep_their_words(small_whisper: Path, jobs: list[AlignmentJob]) -> None:
    first, second, third = work(small_whisper).results(jobs)
    assert [word.text for word in first.words] == ["order", "number", "1296803,", "please"]
    assert first.words[2].spoken is not None
    assert len(first.words[2].spoken) >= 4
    assert [word.text for word in second.words] == ["the", "pin", "is", "4051"]
    assert [word.text for word in third.words] == ["hello", "world"]


def test_without_a_script_whisper_writes_one_or_says_why_not(small_whisper: Path, jobs: list[AlignmentJob]) -> None:
    unknown = [AlignmentJob(clip_id=job.clip_id, audio_path=job.audio_path, script=None, language="en") for job in jobs]
    for result in work(small_whisper).results(unknown):
        assert bool(result.words) != bool(result.fault)
        assert result.mismatch is None


def plain_readings(model: WhisperModel, features: torch.Tensor, tokens: list[SpokenToken]) -> tuple[list[tuple[str, ...]], list[None]]:
    return [token.lattice.words for token in tokens], [None] * len(tokens)


def test_a_misread_digit_is_flagged_with_both_texts(small_whisper: Path, jobs: list[AlignmentJob], monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that surely expects the words "the pin is four nine five one" is given the script 4051."""
    expected = ["the", "pin", "is", "four", "nine", "five", "one"]
    read = WhisperModel.read

    def sure(self: WhisperModel, features: torch.Tensor, texts: list[list[int]]) -> list:
        outputs = read(self, features, texts)
        for output in outputs:
            output.log_probs.fill_(-20.0)
            for place, word in enumerate(expected[: len(output.log_probs)]):
                output.log_probs[place, self.tokenizer.encode(f" {word}")[0]] = 0.0
        return outputs

    monkeypatch.setattr(WhisperModel, "read", sure)
    monkeypatch.setattr(whisper_hearing, "choose_readings", plain_readings)
    (result,) = work(small_whisper).results(jobs[1:2])
    assert result.mismatch is not None
    assert result.mismatch["script"] == "the pin is 4051"
    assert result.mismatch["heard"] == "the pin is four nine five one"
    assert result.mismatch["confidence"] > 0.9


def test_a_script_that_does_not_fit_a_long_clip_is_named_and_the_rest_goes_on(small_whisper: Path, jobs: list[AlignmentJob]) -> None:
    write_wav(jobs[0].audio_path, np.ones(24_000 * 65, dtype=np.float32) * 0.1)
    results = list(work(small_whisper).results(jobs))
    assert results[0].words or "does not fit the sound" in results[0].fault
    assert all(result.words for result in results[1:])


def test_a_script_longer_than_the_decoder_reads_is_named_and_the_rest_goes_on(small_whisper: Path, jobs: list[AlignmentJob]) -> None:
    endless = AlignmentJob(clip_id="endless", audio_path=jobs[0].audio_path, script="one hundred words " * 200, language="en")
    results = list(work(small_whisper).results([endless, *jobs]))
    assert "its script has 600 tokens in 2 s; Whisper reads at most 443 at once" in results[0].fault
    assert all(result.words for result in results[1:])


def test_a_checkpoint_is_measured_once_and_measured_anew_when_it_is_another(small_whisper: Path, tmp_path: Path) -> None:
    kept = small_whisper.with_name("small.pt.attention.json")
    first = work(small_whisper)
    assert first.provenance["attention"] == MEASURED
    assert len(json.loads(kept.read_text())["heads"]) == 8  # all there are
    before = kept.stat().st_mtime_ns
    work(small_whisper)
    assert kept.stat().st_mtime_ns == before
    other = tmp_path / "small.pt"
    other.write_bytes(small_whisper.read_bytes() + b" ")
    (tmp_path / kept.name).write_text(kept.read_text())
    assert (
        whisper_heads._kept(tmp_path / kept.name, WhisperModel(str(small_whisper), language="en", device=torch.device("cpu"))) is not None
    )
    changed = WhisperModel(str(other), language="en", device=torch.device("cpu"))
    assert whisper_heads._kept(tmp_path / kept.name, changed) is None
    kept_text = kept.read_text()
    for spoiled in ("", "{}", kept_text[:100], kept_text.replace("measured 1", "measured 0")):
        (tmp_path / kept.name).write_text(spoiled)
        assert (
            whisper_heads._kept(tmp_path / kept.name, WhisperModel(str(small_whisper), language="en", device=torch.device("cpu"))) is None
        )


def test_without_a_synthesiser_the_known_heads_are_read_and_a_message_says_so(
    small_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise MissingExtra("espeakng-loader", "synth", "speech synthesis")

    monkeypatch.setattr(whisper_heads, "Synthesizer", missing)
    path = tmp_path / "alone.pt"
    path.write_bytes(small_whisper.read_bytes())
    assert work(path).provenance["attention"] == "known heads"
    assert "stt-ft[synth]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_the_whole_window_by_the_short_way_is_whispers_own_encoder(small_whisper: Path) -> None:
    model = WhisperModel(str(small_whisper), language="en", device=torch.device("cpu"))
    sound = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) * 0.1
    with torch.inference_mode():
        torch.testing.assert_close(model.encode([sound], 29.9999), model.encode([sound]), rtol=1e-4, atol=1e-4)
        assert model.encode([sound], 2.5).shape == (1, 125, 64)


@pytest.mark.parametrize("window_s", [2.5, 12.5])
def test_a_short_window_hears_the_beginning_of_the_whole_one(small_whisper: Path, window_s: float) -> None:
    """Its spectrum is that of 30 s cut off, to the bit, up to a sound that fills it."""
    model = WhisperModel(str(small_whisper), language="en", device=torch.device("cpu"))
    sound = np.random.default_rng(0).standard_normal(round(window_s * 24_000)).astype(np.float32) * 0.1
    num_frames = round(window_s * 100)
    torch.testing.assert_close(model._mel(sound, window_s)[:, :num_frames], model._mel(sound, 30.0)[:, :num_frames], rtol=0, atol=0)


def test_provenance_names_the_model_by_its_bytes(small_whisper: Path) -> None:
    made_by = work(small_whisper).provenance
    assert made_by["model"].startswith("small.pt sha256:")
    assert made_by["language"] == "en"
    assert made_by["writing"] == "5 beams, no prompt"


def test_what_is_no_model_is_refused_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither a Whisper model nor a \.pt file.*large-v3"):
        work(tmp_path / "missing.pt")
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"broken\.pt: not a Whisper checkpoint"):
        work(tmp_path / "broken.pt")


def test_an_unknown_language_is_refused(small_whisper: Path) -> None:
    with pytest.raises(ConfigError, match="--language xx"):
        WhisperWork(str(small_whisper), language="xx", device="cpu", batch_size=1)


def test_a_download_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = pytest.importorskip("whisper")
    patience_s: list[float | None] = []

    def never_answers(*_: object, **__: object) -> None:
        patience_s.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(whisper, "load_model", never_answers)
    with pytest.raises(CheckpointError, match=r"Whisper model tiny could not be downloaded \(timed out\); give --model the path of a .pt"):
        WhisperModel("tiny", language="en", device=torch.device("cpu"))
    assert patience_s[0] is not None
    assert patience_s[0] <= 60
    assert socket.getdefaulttimeout() is None

"""The studio's Try out as its page uses it: words and pauses are those that `stt-ft transcribe` finds in the same sound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from running_studio import RunningStudio, running_studio

from stt_ft.audio.files import read_audio, resample, write_wav
from stt_ft.audio.microphone import FrameCutter
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.stages.transcribe import transcribe
from stt_ft.studio.trying import TurnEnds

RULE = EndpointRule()


def make_studio(directory: Path, **models: Any) -> Any:
    data = Dataset(directory / "orders")
    write_wav(data.directory / "a.wav", np.zeros(2400))
    data.write_clips("train", [Clip(path="a.wav", duration_s=0.1)])
    return running_studio(data.directory, **models)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with make_studio(tmp_path_factory.mktemp("trying"), model="tiny", against="tiny") as running:
        yield running


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.53 s of bursts of noise: no whole number of frames."""
    rng = np.random.default_rng(2)
    samples = rng.standard_normal(60_720) * np.repeat(rng.uniform(0, 0.3, 22), 2760)
    path = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    write_wav(path, samples.astype(np.float32))
    return path


def socket_of(session: aiohttp.ClientSession, studio: RunningStudio) -> Any:
    headers = {"Origin": studio.origin, "Cookie": studio.cookies()}
    return session.ws_connect(f"{studio.origin}/desk/api/try/socket", headers=headers, max_msg_size=0)


def heard(studio: RunningStudio, samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ, piece: int = 2048) -> dict[int, list[dict[str, Any]]]:
    """Send a sound as the page does; return the frames of each model."""

    async def send() -> dict[int, list[dict[str, Any]]]:
        frames: dict[int, list[dict[str, Any]]] = {}
        pcm = np.round(np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2")
        async with aiohttp.ClientSession() as session, socket_of(session, studio) as socket:
            await socket.send_json({"rate_hz": rate_hz})
            assert (await socket.receive_json(timeout=60)).get("ready")
            for start in range(0, len(pcm), piece):
                await socket.send_bytes(pcm[start : start + piece].tobytes())
            await socket.send_json({"end": True})
            while True:
                told = await socket.receive_json(timeout=60)
                if told.get("done"):
                    return frames
                frames.setdefault(told["model"], []).extend(told["frames"])

    return asyncio.run(send())


def test_words_and_pauses_are_those_of_transcribe(studio: RunningStudio, spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transcribe("tiny", str(spoken), json=True)
    expected = json.loads(capsys.readouterr().out)
    frames = heard(studio, read_audio(spoken))
    assert sorted(frames) == [0, 1]
    for rows in frames.values():
        words = [[text, start_s, appeared_s] for row in rows for text, start_s, _, appeared_s in row["words"]]
        assert words == [
            [text, start_s, appeared_s] for text, start_s, _, appeared_s in expected["words"]
        ]  # an end depends on the next word
        assert words
        pause = np.array([row["pause"] for row in rows])
        assert pause.shape[0] >= 32
        assert np.abs(pause[: len(expected["pause"])] - np.array(expected["pause"])[: len(pause)]).max() <= 1e-3
        assert [row["heard_s"] for row in rows[:3]] == [FRAME_S, 2 * FRAME_S, 3 * FRAME_S]


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100, 48_000])
def test_pieces_of_another_rate_are_the_frames_of_the_whole(rate_hz: int) -> None:
    time_s = np.arange(round(1.03 * rate_hz)) / rate_hz
    pcm = np.round(8000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2")
    sound = pcm.astype(np.float32) / 32768
    frames = FrameCutter(rate_hz, SAMPLE_RATE_HZ, frame_samples=SAMPLES_PER_FRAME)
    cut = [frame for start in range(0, len(sound), 2048) for frame in frames.cut(sound[start : start + 2048])]
    cut += frames.cut(np.zeros(0, np.float32), is_last=True)
    whole = resample(sound, rate_hz, SAMPLE_RATE_HZ)
    assert {len(frame) for frame in cut} == {SAMPLES_PER_FRAME}
    assert len(cut) == frames.num_frames == 13
    assert np.abs(np.concatenate(cut)[: len(whole)] - whole).max() < 1e-3


def test_one_page_at_a_time_and_the_next_when_it_is_gone(studio: RunningStudio, spoken: Path) -> None:
    async def crowd() -> str:
        async with aiohttp.ClientSession() as session, socket_of(session, studio) as first:
            await first.send_json({"rate_hz": 24_000})
            assert (await first.receive_json(timeout=60)).get("ready")
            async with socket_of(session, studio) as second:
                return (await second.receive_json(timeout=60))["error"]

    assert "one at a time" in asyncio.run(crowd())
    assert heard(studio, read_audio(spoken)[: 4 * SAMPLES_PER_FRAME])[0]


@pytest.mark.parametrize("said", ["{}", "[1]", "no JSON", '{"rate_hz": 1}', '{"rate_hz": "48000"}'])
def test_what_is_no_beginning_is_refused(studio: RunningStudio, said: str) -> None:
    async def send() -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, socket_of(session, studio) as socket:
            await socket.send_str(said)
            return await socket.receive_json(timeout=60)

    assert "expected a rate" in asyncio.run(send())["error"]


def test_a_model_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    async def send(studio: RunningStudio) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, socket_of(session, studio) as socket:
            await socket.send_json({"rate_hz": 24_000})
            return await socket.receive_json(timeout=60)

    with make_studio(tmp_path, model=str(tmp_path / "nowhere")) as studio:
        assert "nowhere" in asyncio.run(send(studio))["error"]
    with make_studio(tmp_path) as studio:
        assert studio.ask("GET", "api/try").json()["models"] == []


def test_a_turn_ends_where_the_rule_says_and_again_after_more_speech() -> None:
    level = [0.9] * 15 + [0.1] * 10 + [0.7] + [0.9] * 8 + [0.2] * 5 + [0.61] * 4
    rows = [[0.0, 0.0, one, 0.0] for one in level]
    ends = TurnEnds(RULE)
    assert [row for row, probs in enumerate(rows) if ends.hear(probs)] == [25, 39]


def test_the_first_end_is_the_one_by_which_evaluate_judges() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        num_speech = int(rng.integers(20, 60))
        probs = np.zeros((num_speech + 30, 4), np.float32)
        probs[:, 2] = np.where(np.arange(len(probs)) < num_speech, rng.uniform(0, 0.55, len(probs)), rng.uniform(0.3, 1.0, len(probs)))
        turn = Turn(
            pause_probs=probs, first_word_start_s=0.1, last_word_start_s=FRAME_S * (num_speech - 6), last_word_end_s=FRAME_S * num_speech
        )
        ends = TurnEnds(RULE)
        first = next((row for row in range(len(probs)) if ends.hear(probs[row])), None)
        assert judge_turn(turn, RULE).ended_s == (None if first is None else pytest.approx((first + 1) * FRAME_S))


def test_a_model_without_pause_heads_ends_no_turn() -> None:
    ends = TurnEnds(RULE)
    assert not any(ends.hear([]) for _ in range(40))

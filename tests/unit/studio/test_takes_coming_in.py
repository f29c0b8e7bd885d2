"""Sound on its way to the studio: pieces once and in order, what is on disk found again, and what is kept equal to what `record` writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from running_studio import RunningStudio, running_studio

from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.corpus.prompt_script import load_prompt_script
from stt_ft.corpus.recording import Session
from stt_ft.dataset.manifest import Dataset
from stt_ft.studio import guard, recording
from stt_ft.studio.speakers import CONSENT, invite, read_speakers
from stt_ft.studio.takes import MAX_TAKE_S, OpenTake

RATE_HZ = 24_000
SCRIPT = """language: fr
consent: Votre voix est enregistrée.
prompts:
  - {id: p1, say: commande numéro 415, direction: une pause}
  - {id: p2, say: "415 … 555"}
"""
ANNA = "speaker/anna"


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[RunningStudio]:
    (tmp_path / "prompts.yaml").write_text(SCRIPT)
    with running_studio(tmp_path / "orders", script=tmp_path / "prompts.yaml") as running:
        running.ask("POST", "api/speakers", {"name": "Anna"})
        yield running


def agree(studio: RunningStudio, place: str = ANNA) -> None:
    answer = studio.ask("POST", "api/record/agree", {"text": "Votre voix est enregistrée.", "room": "kitchen"}, place=place)
    assert answer.ok, answer.text


def sound(num_samples: int = 2 * RATE_HZ) -> np.ndarray:
    """Something like three words with silence around them, in 16 bits."""
    samples = 0.3 * np.sin(np.arange(num_samples) * 0.05)
    samples[: num_samples // 8] = samples[-num_samples // 8 :] = 0
    return np.round(samples * 32768).astype("<i2")


Talk = Callable[[aiohttp.ClientWebSocketResponse], Awaitable[Any]]


def talk(studio: RunningStudio, what: Talk, *, place: str = ANNA, **headers: str) -> Any:
    """Open the socket of a speaker's page, and do `what` with it."""

    async def run() -> Any:
        sent = {"Cookie": studio.cookies(place), "Origin": studio.origin, **headers}
        address = f"{studio.origin}/{place}/api/record/socket"
        async with aiohttp.ClientSession() as client, client.ws_connect(address, headers=sent, max_msg_size=0) as connection:
            return await what(connection)

    return asyncio.run(run())


async def tell(connection: aiohttp.ClientWebSocketResponse, message: dict[str, Any] | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        await connection.send_bytes(message)
    else:
        await connection.send_json(message)
    return await connection.receive_json(timeout=10)


def piece(begin: int, samples: np.ndarray) -> bytes:
    return begin.to_bytes(4, "little") + samples.tobytes()


async def read_aloud(
    connection: aiohttp.ClientWebSocketResponse, samples: np.ndarray, prompt: str = "p1", rate_hz: int = RATE_HZ
) -> dict[str, Any]:
    take = await tell(connection, {"begin": prompt, "rate_hz": rate_hz})
    for begin in range(0, len(samples), 4800):
        told = await tell(connection, piece(begin, samples[begin : begin + 4800]))
        assert told == {"have": min(begin + 4800, len(samples))}
    return {**take, **await tell(connection, {"end": len(samples), "gaps": 0})}


def keep(studio: RunningStudio, take: str, *, place: str = ANNA) -> Any:
    return studio.ask("POST", "api/record/keep", {"take": take}, place=place)


def test_a_kept_take_is_what_record_writes(studio: RunningStudio, tmp_path: Path) -> None:
    agree(studio)
    samples = sound()
    told = talk(studio, lambda connection: read_aloud(connection, samples))
    assert told["duration_s"] == pytest.approx(2.0)
    assert keep(studio, told["take"]).json() == {"path": "audio/anna_p1.wav", "duration_s": 2.0}

    by_record = Dataset(tmp_path / "recorded")
    script = load_prompt_script(tmp_path / "prompts.yaml")
    session = Session.open(by_record, script, {"speaker": "Anna", "room": "kitchen"}, sample_rate_hz=RATE_HZ)
    session.keep(script.prompts[0], (samples / np.float32(32768)).astype(np.float32))
    ours = studio.studio.data
    for name in ("train.jsonl", "audio/anna_p1.wav", "audio/anna_p1.json"):
        assert (ours.directory / name).read_bytes() == (by_record.directory / name).read_bytes()
    assert {**ours.info(), "name": ""} == {**by_record.info(), "name": ""}
    assert not list((ours.directory / ".studio" / "takes").iterdir())


def test_sound_at_another_rate_becomes_the_datasets(studio: RunningStudio) -> None:
    agree(studio)
    told = talk(studio, lambda connection: read_aloud(connection, sound(88_200), rate_hz=44_100))
    assert keep(studio, told["take"]).json()["duration_s"] == 2.0
    assert len(read_audio(studio.studio.data.directory / "audio" / "anna_p1.wav")) == 48_000


def test_pieces_that_come_twice_count_once_and_a_gap_is_told(studio: RunningStudio) -> None:
    agree(studio)
    samples = sound(9600)

    async def stumble(connection: aiohttp.ClientWebSocketResponse) -> str:
        take = (await tell(connection, {"begin": "p1", "rate_hz": RATE_HZ}))["take"]
        assert await tell(connection, piece(4800, samples[4800:])) == {"have": 0, "gap": True}
        assert await tell(connection, piece(0, samples[:4800])) == {"have": 4800}
        assert await tell(connection, piece(0, samples[:4800])) == {"have": 4800}
        assert await tell(connection, piece(2400, samples[2400:7200])) == {"have": 7200}
        assert await tell(connection, {"end": 9600}) == {"have": 7200, "gap": True}
        assert await tell(connection, piece(7200, samples[7200:])) == {"have": 9600}
        assert "warnings" in await tell(connection, {"end": 9600, "gaps": 0})
        return take

    keep(studio, talk(studio, stumble))
    kept = read_audio(studio.studio.data.directory / "audio" / "anna_p1.wav")
    assert np.array_equal(np.round(kept * 32768).astype("<i2"), samples)


def test_a_take_goes_on_where_a_server_was_killed(studio: RunningStudio) -> None:
    """What a killed server has left is a file of samples, the last of them perhaps half written."""
    agree(studio)
    samples = sound(9600)

    async def begin(connection: aiohttp.ClientWebSocketResponse) -> str:
        take = (await tell(connection, {"begin": "p1", "rate_hz": RATE_HZ}))["take"]
        await tell(connection, piece(0, samples[:4000]))
        return take

    take = talk(studio, begin)
    with (studio.studio.data.directory / ".studio" / "takes" / "anna.pcm").open("ab") as file:
        file.write(b"x")
    with running_studio(studio.studio.data.directory, script=studio.studio.data.directory.parent / "prompts.yaml") as again:
        state = again.ask("GET", "api/record", place=ANNA).json()
        assert state["open"] == {"take": take, "prompt": "p1", "duration_s": pytest.approx(4000 / RATE_HZ)}

        async def go_on(connection: aiohttp.ClientWebSocketResponse) -> None:
            assert await tell(connection, {"resume": take}) == {"take": take, "have": 4000}
            await tell(connection, piece(4000, samples[4000:]))
            assert "warnings" in await tell(connection, {"end": 9600})

        talk(again, go_on)
        assert keep(again, take).ok
        assert "open" not in again.ask("GET", "api/record", place=ANNA).json()
    kept = read_audio(studio.studio.data.directory / "audio" / "anna_p1.wav")
    assert np.array_equal(np.round(kept * 32768).astype("<i2"), samples)


def test_a_take_that_is_gone_is_said_to_be_lost(studio: RunningStudio) -> None:
    agree(studio)
    assert talk(studio, lambda connection: tell(connection, {"resume": "0" * 16})) == {"lost": "0" * 16}
    assert keep(studio, "0" * 16).status_code == 404
    (studio.studio.data.directory / ".studio" / "takes").mkdir(exist_ok=True)
    (studio.studio.data.directory / ".studio" / "takes" / "anna.json").write_text('{"take": "../../x", "prompt": 1}')
    assert talk(studio, lambda connection: tell(connection, {"resume": "../../x"})) == {"lost": "../../x"}
    assert "open" not in studio.ask("GET", "api/record", place=ANNA).json()


@pytest.mark.parametrize(
    "said",
    [
        {"begin": "nothing", "rate_hz": RATE_HZ}, {"begin": "p1", "rate_hz": 10**9}, {"begin": "p1"}, {"begin": ["p1"], "rate_hz": 8000},
        {},
        {"end": 3}, {"resume": None}, {"begin": "../p1", "rate_hz": RATE_HZ}, b"", b"123", piece(0, sound(10)),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_the_socket_lives(studio: RunningStudio, said: Any) -> None:
    agree(studio)

    async def nonsense(connection: aiohttp.ClientWebSocketResponse) -> None:
        assert {"error", "lost"} & set(await tell(connection, said))
        await connection.send_str("[" * 5000)
        assert (await connection.receive_json())["error"] == "expected JSON"
        assert "take" in await tell(connection, {"begin": "p1", "rate_hz": RATE_HZ})

    talk(studio, nonsense)
    assert [path.name for path in studio.studio.data.directory.iterdir()] == [".studio"]


def test_a_take_has_an_end(tmp_path: Path) -> None:
    take = OpenTake.begin(tmp_path, "anna", prompt_id="p1", rate_hz=8000)
    assert take.add(0, bytes(2 * round(MAX_TAKE_S * 8000)))
    with pytest.raises(AudioError, match="600 s at most"):
        take.add(take.num_samples, bytes(2))


def test_a_message_that_is_too_long_ends_the_socket_alone(studio: RunningStudio) -> None:
    agree(studio)

    async def shout(connection: aiohttp.ClientWebSocketResponse) -> Any:
        await connection.send_bytes(bytes(recording.MAX_MESSAGE_BYTES + 100))
        return (await connection.receive(timeout=10)).type

    assert talk(studio, shout) is aiohttp.WSMsgType.CLOSE
    assert studio.ask("GET", "api/record", place=ANNA).ok


def test_a_second_page_of_a_speaker_takes_over(studio: RunningStudio) -> None:
    agree(studio)

    async def twice(first: aiohttp.ClientWebSocketResponse) -> None:
        await tell(first, {"begin": "p1", "rate_hz": RATE_HZ})

        def second() -> Any:
            return talk(studio, lambda connection: tell(connection, {"begin": "p2", "rate_hz": RATE_HZ}))

        assert "take" in await asyncio.to_thread(second)
        assert (await first.receive(timeout=10)).data == 4001

    talk(studio, twice)


def test_sockets_need_the_link_the_page_and_consent(studio: RunningStudio) -> None:
    async def listen(connection: aiohttp.ClientWebSocketResponse) -> None:
        raise AssertionError("it was let in")

    for refused in ({"Cookie": ""}, {"Origin": "http://evil.example"}, {"Cookie": studio.cookies()}, {}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            talk(studio, listen, **refused)
        assert caught.value.status == 403


def test_sockets_are_bounded(studio: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_SOCKETS", 6)
    names = [f"s{number}" for number in range(7)]
    opened = []
    for name in names:
        invite(studio.studio.data, name)
        agree(studio, f"speaker/{name}")

    async def run() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

            async def connect(name: str) -> int:
                headers = {"Cookie": studio.cookies(f"speaker/{name}"), "Origin": studio.origin}
                try:
                    opened.append(await client.ws_connect(f"{studio.origin}/speaker/{name}/api/record/socket", headers=headers))
                except aiohttp.WSServerHandshakeError as error:
                    return error.status
                return 101

            found = [await connect(name) for name in names]
            answers = await asyncio.to_thread(studio.ask, "GET", "api/speakers")
            assert answers.ok
            return found

    assert asyncio.run(run()) == [101] * 6 + [503]


def test_consent_is_asked_once_kept_with_its_words_and_asked_again_when_they_change(studio: RunningStudio) -> None:
    state = studio.ask("GET", "api/record", place=ANNA).json()
    assert (state["agreed"], state["consent"], state["language"]) == (False, "Votre voix est enregistrée.", "fr")
    assert studio.ask("POST", "api/record/agree", {"text": CONSENT}, place=ANNA).status_code == 409
    agree(studio)
    state = studio.ask("GET", "api/record", place=ANNA).json()
    assert state["agreed"]
    assert [(prompt["id"], prompt["direction"], prompt["done"]) for prompt in state["prompts"]] == [
        ("p1", "une pause", False),
        ("p2", "", False),
    ]
    noted = json.loads((studio.studio.data.directory / ".studio" / "speakers.json").read_text())["anna"]
    assert (noted["consent"]["text"], noted["room"]) == ("Votre voix est enregistrée.", "kitchen")
    changed = studio.studio.data.directory.parent / "prompts.yaml"
    changed.write_text(SCRIPT.replace("Votre voix", "Toute votre voix"))
    with running_studio(studio.studio.data.directory, script=changed) as again:
        assert not again.ask("GET", "api/record", place=ANNA).json()["agreed"]


def test_a_link_of_a_speaker_whom_nobody_invited_opens_nothing(studio: RunningStudio) -> None:
    assert studio.ask("GET", "api/record", place="speaker/eve").status_code == 403


def test_names_that_would_share_files_are_refused(studio: RunningStudio) -> None:
    assert (
        studio.ask("POST", "api/speakers", {"name": "anna"}).json()["error"] == "anna: files of Anna are named anna too; give another name"
    )
    assert studio.ask("POST", "api/speakers", {"name": "!!"}).status_code == 409
    assert studio.ask("POST", "api/speakers", {"name": 3}).status_code == 400
    assert studio.ask("POST", "api/speakers", {"name": "x" * 300}).status_code == 409
    assert list(read_speakers(studio.studio.data)) == ["anna"]


def test_a_speaker_of_a_terminal_goes_on_in_the_browser(studio: RunningStudio) -> None:
    script = studio.studio.script
    assert script is not None
    session = Session.open(studio.studio.data, script, {"speaker": "Zoé", "microphone": "headset"}, sample_rate_hz=16_000)
    session.keep(script.prompts[0], np.zeros(16_000, np.float32))
    [anna, zoe] = sorted(studio.ask("GET", "api/speakers").json()["speakers"], key=lambda row: row["id"])
    assert (zoe["name"], zoe["done"], anna["done"]) == ("Zoé", 1, 0)
    agree(studio, "speaker/zoe")
    state = studio.ask("GET", "api/record", place="speaker/zoe").json()
    assert [prompt["done"] for prompt in state["prompts"]] == [True, False]
    told = talk(studio, lambda connection: read_aloud(connection, sound(), "p2"), place="speaker/zoe")
    assert keep(studio, told["take"], place="speaker/zoe").ok
    assert studio.studio.data.info()["sample_rate_hz"] == 16_000
    assert studio.ask("GET", "api/record/kept/p1", place="speaker/zoe").content[:4] == b"RIFF"
    assert studio.ask("GET", "api/record/kept/p1", place=ANNA).status_code in (404, 403)


def test_nothing_is_written_through_a_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "orders" / ".studio").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="leads out of the directory"):
        invite(Dataset(tmp_path / "orders"), "Anna")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_takes_are_not_written_through_a_link_that_leads_out(studio: RunningStudio, tmp_path: Path) -> None:
    agree(studio)
    (tmp_path / "elsewhere").mkdir()
    (studio.studio.data.directory / ".studio" / "takes").symlink_to(tmp_path / "elsewhere")
    told = talk(studio, lambda connection: tell(connection, {"begin": "p1", "rate_hz": RATE_HZ}))
    assert "leads out of the directory" in told["error"]
    assert list((tmp_path / "elsewhere").iterdir()) == []

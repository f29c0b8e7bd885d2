"""The tab Record, on a speaker's page: prompts, takes as they come in, the checks of `record`, and what is kept.

Sound comes over a websocket as 16-bit PCM at the rate of the browser's microphone. What the two say to each other, in JSON but for sound:

    {"begin": PROMPT, "rate_hz": 48000}     ->  {"take": ID, "have": 0}
    {"resume": ID}                          ->  {"take": ID, "have": SAMPLES}, or {"lost": ID}
    4 bytes SAMPLE, then samples            ->  {"have": SAMPLES}: they are on disk; with "gap": true, send from there again
    {"end": SAMPLES, "gaps": N}             ->  {"checked": ID, "warnings": […], "duration_s": …}, or {"have": …, "gap": true}

A take is then kept or dropped by a request of its own, and stays on disk until it is.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import WSMsgType, web

from stt_ft.audio.files import wav_of
from stt_ft.audio.levels import CLIPPED_LEVEL, QUIET_PEAK, SILENT_PEAK
from stt_ft.core.errors import AudioError, DatasetError, SttFtError
from stt_ft.core.storage import read_bytes
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.corpus.recording import Session
from stt_ft.studio.speakers import CONSENT, agree, read_speakers
from stt_ft.studio.tab import Studio, Tab, json_body, own_path
from stt_ft.studio.takes import MAX_RATE_HZ, MAX_TAKE_S, MIN_RATE_HZ, OpenTake
from stt_ft.text.prompts import PromptLine

MAX_MESSAGE_BYTES = 256 * 1024
"""Longest piece of sound: 2.7 s at 48 kHz."""

MAX_BYTES_PER_S = 4_000_000
"""How fast a speaker's sound is taken: 40 times as fast as it is spoken at 48 kHz."""

_OFFSET_BYTES = 4


def _who(request: web.Request) -> str:
    return request["place"].removeprefix("speaker/")


def _rate_hz(studio: Studio) -> int:
    """Return the rate of the dataset's recordings."""
    rate_hz = studio.data.info().get("sample_rate_hz")
    return rate_hz if isinstance(rate_hz, int) and MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ else SAMPLE_RATE_HZ


def _facts(studio: Studio, request: web.Request) -> dict[str, Any]:
    """Return what is known of the speaker; answers 403 to one whom the desk no longer knows."""
    facts = read_speakers(studio.data).get(_who(request))
    if facts is None:
        raise web.HTTPForbidden(text="this speaker is not known here; ask for a new link")
    return facts


def _session(studio: Studio, facts: dict[str, Any]) -> Session:
    """Return the speaker's session as the dataset has it now: others change it too."""
    if studio.script is None:
        raise DatasetError("the studio was started without prompts: stt-ft studio DATASET --script FILE")
    metadata = {key: value for key, value in facts.items() if isinstance(value, str)}
    return Session.open(studio.data, studio.script, metadata, sample_rate_hz=_rate_hz(studio))


def _consent(studio: Studio) -> str:
    return (studio.script.consent if studio.script else "") or CONSENT


def _has_agreed(studio: Studio, facts: dict[str, Any]) -> bool:
    consent = facts.get("consent")
    return isinstance(consent, dict) and consent.get("text") == _consent(studio)


def _prompt(studio: Studio, prompt_id: object) -> PromptLine:
    for prompt in studio.script.prompts if studio.script else ():
        if prompt.prompt_id == prompt_id:
            return prompt
    raise web.HTTPNotFound(text="no such prompt")


def _open_take(studio: Studio, request: web.Request) -> OpenTake | None:
    return OpenTake.find(own_path(studio.data, "takes"), _who(request))


async def _state(studio: Studio, request: web.Request) -> web.Response:
    """What the page shows when it opens, or when it is unsure."""
    async with studio.writing:
        facts = _facts(studio, request)
        state: dict[str, Any] = {"speaker": facts["speaker"], "dataset": studio.data.directory.resolve().name, "consent": _consent(studio)}
        state["consent_language"] = studio.script.language if studio.script and studio.script.consent else "en"
        state["agreed"] = _has_agreed(studio, facts)
        if studio.script is None:
            return web.json_response({**state, "prompts": []})
        clips = (await asyncio.to_thread(_session, studio, facts)).clips if state["agreed"] else {}
        state["prompts"] = [
            {"id": prompt.prompt_id, "say": prompt.say, "direction": prompt.direction, "done": prompt.prompt_id in clips}
            for prompt in studio.script.prompts
        ]
        take = _open_take(studio, request)
        if take is not None and take.num_samples:
            state["open"] = {"take": take.take_id, "prompt": take.prompt_id, "duration_s": take.duration_s}
    state["language"] = studio.script.language
    state["levels"] = {"clipped": CLIPPED_LEVEL, "quiet": QUIET_PEAK, "silent": SILENT_PEAK}
    state["max_take_s"] = MAX_TAKE_S
    return web.json_response(state)


async def _agree(studio: Studio, request: web.Request) -> web.Response:
    answers = await json_body(request)
    if answers.get("text") != _consent(studio):
        raise web.HTTPConflict(text="the text has changed meanwhile; open the link again")
    async with studio.writing:
        _facts(studio, request)
        agree(studio.data, _who(request), text=answers["text"], metadata=answers)
    return web.json_response({})


# --- Sound ----------------------------------------------------------------------------------------------------------------------------


async def _socket(studio: Studio, request: web.Request) -> web.WebSocketResponse:
    """Take in sound; a speaker has one socket, and a second page takes it over."""
    if not _has_agreed(studio, _facts(studio, request)):
        raise web.HTTPForbidden(text="the speaker has not agreed yet")
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False, heartbeat=15.0, timeout=2.0)
    await socket.prepare(request)
    who = _who(request)
    previous = studio.sockets.get(who)
    studio.sockets[who] = socket
    if previous is not None:  # its page may be gone without a word, and is not waited for
        closing = asyncio.ensure_future(previous.close(code=4001, message=b"opened elsewhere"))
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())
    take: OpenTake | None = None
    try:
        async for message in socket:
            if studio.sockets.get(who) is not socket:
                break
            try:
                if message.type is WSMsgType.BINARY:
                    answer = _add(take, message.data)
                    await asyncio.sleep(len(message.data) / MAX_BYTES_PER_S)
                elif message.type is WSMsgType.TEXT:
                    take, answer = await _told(studio, request, take, message.data)
                else:
                    continue
            except (SttFtError, web.HTTPNotFound) as error:
                answer = {"error": error.text if isinstance(error, web.HTTPException) else str(error)}
            await socket.send_json(answer)
    except ConnectionError:
        pass  # it comes again and resumes
    finally:
        if studio.sockets.get(who) is socket:
            del studio.sockets[who]
    return socket


def _add(take: OpenTake | None, message: bytes) -> dict[str, Any]:
    if take is None or len(message) < _OFFSET_BYTES:
        return {"error": "sound came before its take began"}
    is_whole = take.add(int.from_bytes(message[:_OFFSET_BYTES], "little"), message[_OFFSET_BYTES:])
    return {"have": take.num_samples} if is_whole else {"have": take.num_samples, "gap": True}


async def _told(studio: Studio, request: web.Request, take: OpenTake | None, text: str) -> tuple[OpenTake | None, dict[str, Any]]:
    """Do what the page says; return the take that is open now, and the answer."""
    try:
        said = json.loads(text)
        kind = next(iter(said))
    except (ValueError, TypeError, StopIteration, RecursionError):
        return take, {"error": "expected JSON"}
    if kind == "begin" and isinstance(said.get("rate_hz"), int):
        prompt = _prompt(studio, said["begin"])
        take = OpenTake.begin(own_path(studio.data, "takes"), _who(request), prompt_id=prompt.prompt_id, rate_hz=said["rate_hz"])
        return take, {"take": take.take_id, "have": 0}
    if kind == "resume":
        found = _open_take(studio, request)
        if found is None or found.take_id != said["resume"]:
            return take, {"lost": said["resume"]}
        return found, {"take": found.take_id, "have": found.num_samples}
    if kind == "end" and take is not None:
        if take.num_samples != said["end"]:
            return take, {"have": take.num_samples, "gap": True}
        return take, {"checked": take.take_id, **await asyncio.to_thread(_check, studio, take, said.get("gaps"))}
    return take, {"error": f"cannot {str(kind)[:20]} now"}


def _check(studio: Studio, take: OpenTake, gaps: object = 0) -> dict[str, Any]:
    rate_hz = _rate_hz(studio)
    samples = take.samples(rate_hz)
    assert studio.script is not None
    warnings = studio.script.faults(_prompt(studio, take.prompt_id), samples, rate_hz)
    if gaps:
        warnings.append("sound was lost: this machine was too busy to take it all; retake")
    return {"warnings": warnings, "duration_s": samples_to_s(len(samples), rate_hz)}


# --- What becomes of a take -----------------------------------------------------------------------------------------------------------


async def _named_take(studio: Studio, request: web.Request) -> OpenTake:
    wanted = (await json_body(request)).get("take")
    take = _open_take(studio, request)
    if take is None or take.take_id != wanted:
        raise web.HTTPNotFound(text="this take is no longer here")
    return take


async def _keep(studio: Studio, request: web.Request) -> web.Response:
    """Make the take a clip of the dataset, as `record` does."""
    take = await _named_take(studio, request)
    prompt = _prompt(studio, take.prompt_id)
    async with studio.writing:
        facts = _facts(studio, request)

        def keep() -> dict[str, Any]:
            session = _session(studio, facts)
            samples = take.samples(session.sample_rate_hz)
            if len(samples) == 0:
                raise AudioError("the take holds no sound at all: wait for the level meter to move")
            clip = session.keep(prompt, samples)
            take.drop()
            return {"path": clip.path, "duration_s": clip.duration_s}

        return web.json_response(await asyncio.to_thread(keep))


async def _drop(studio: Studio, request: web.Request) -> web.Response:
    (await _named_take(studio, request)).drop()
    return web.json_response({})


async def _check_open(studio: Studio, request: web.Request) -> web.Response:
    """The checks of a take whose page was closed before it ended."""
    return web.json_response(await asyncio.to_thread(_check, studio, await _named_take(studio, request)))


async def _play_open(studio: Studio, request: web.Request) -> web.Response:
    take = _open_take(studio, request)
    if take is None:
        raise web.HTTPNotFound(text="no open take")
    rate_hz = _rate_hz(studio)
    return web.Response(body=wav_of(take.samples(rate_hz), rate_hz), content_type="audio/wav")


async def _play_kept(studio: Studio, request: web.Request) -> web.Response:
    prompt = _prompt(studio, request.match_info["prompt"])
    async with studio.writing:
        clip = _session(studio, _facts(studio, request)).clips.get(prompt.prompt_id)
    if clip is None:
        raise web.HTTPNotFound(text="this prompt has not been recorded")
    return web.Response(body=read_bytes(studio.data.sound(clip)), content_type="audio/wav")


TAB = Tab(
    name="record",
    title="Record",
    at="speaker",
    routes={
        "GET api/record": _state,
        "POST api/record/agree": _agree,
        "GET api/record/socket": _socket,
        "POST api/record/check": _check_open,
        "POST api/record/keep": _keep,
        "POST api/record/drop": _drop,
        "GET api/record/open.wav": _play_open,
        "GET api/record/kept/{prompt}": _play_kept,
    },
)

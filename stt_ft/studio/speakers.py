"""The tab Speakers, at the desk: who records, with which link, and how far each has come.

DATASET/.studio/speakers.json    {"zoe-muller": {"speaker": "Zoé Müller", "room": "kitchen", "consent": {"text": …, "agreed": …}}}
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from stt_ft.core.atomic import write_json
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.corpus.recording import METADATA, known_sessions, speaker_id
from stt_ft.dataset.manifest import Dataset
from stt_ft.studio.tab import Studio, Tab, json_body, now, own_path

CONSENT = (
    "Your voice is recorded while you read the prompts. The recordings, and the name or initials that you give, are kept with this dataset "
    "and are used to train and to measure speech recognition. You may stop at any time, and ask whoever sent you here to delete them."
)
"""What a speaker agrees to where the script has no `consent` of its own."""

MAX_SPEAKERS, _MAX_TEXT = 200, 200


def read_speakers(data: Dataset) -> dict[str, dict[str, Any]]:
    """Return the part of file names -> what is known of the speaker: those of earlier sessions, and those who have been sent a link."""
    known = {}
    for session in known_sessions(data):
        known[speaker_id(session["speaker"])] = {key: str(session[key]) for key in METADATA if session.get(key)}
    path = own_path(data, "speakers.json")
    try:
        own = parse_json(path.read_bytes()) if path.is_file() else {}
        if not isinstance(own, dict) or not all(
            isinstance(entry, dict) and isinstance(entry.get("speaker"), str) for entry in own.values()
        ):
            raise ValueError("expected an object with a speaker in each entry")
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
    return {**known, **{who: {**known.get(who, {}), **entry} for who, entry in own.items()}}


def invite(data: Dataset, name: str) -> str:
    """Note a speaker, who may be known already, and return the part of file names; raises `DatasetError` where another has the same."""
    who, speakers = speaker_id(name), read_speakers(data)
    if who in speakers and speakers[who]["speaker"] != name:
        raise DatasetError(f"{name}: files of {speakers[who]['speaker']} are named {who} too; give another name")
    if len(name) > _MAX_TEXT or (who not in speakers and len(speakers) >= MAX_SPEAKERS):
        raise ConfigError(f"a dataset has {MAX_SPEAKERS} speakers at most, with names of {_MAX_TEXT} letters at most")
    if who not in speakers:
        _note(data, who, {"speaker": name})
    return who


def agree(data: Dataset, who: str, *, text: str, metadata: dict[str, Any]) -> None:
    """Note that a speaker agrees to `text`, and into what and where they speak."""
    answers = {key: str(metadata[key]).strip()[:_MAX_TEXT] for key in METADATA[1:] if metadata.get(key)}
    _note(data, who, {**answers, "consent": {"text": text, "agreed": now()}})


def _note(data: Dataset, who: str, facts: dict[str, Any]) -> None:
    speakers = read_speakers(data)
    write_json(own_path(data, "speakers.json"), {**speakers, who: {**speakers.get(who, {}), **facts}})


async def _list(studio: Studio, request: web.Request) -> web.Response:
    prompts = {prompt.prompt_id for prompt in studio.script.prompts} if studio.script else set()
    async with studio.writing:
        clips = studio.data.clips()
        known = read_speakers(studio.data)
    rows = []
    for who, facts in known.items():
        done = {clip.extra.get("prompt_id") for clip in clips if clip.extra.get("speaker") == who}
        place = f"speaker/{who}"
        rows.append(
            {
                "id": who,
                "name": facts["speaker"],
                "done": len(done & prompts),
                "link": studio.keys.link(place),
                "here": who in studio.sockets,
            }
        )
    return web.json_response({"speakers": rows, "prompts": len(prompts)})


async def _invite(studio: Studio, request: web.Request) -> web.Response:
    name = (await json_body(request)).get("name")
    if not isinstance(name, str):
        raise web.HTTPBadRequest(text="expected a name")
    async with studio.writing:
        who = invite(studio.data, name.strip())
    return web.json_response({"id": who, "link": studio.keys.link(f"speaker/{who}")})


TAB = Tab(name="speakers", title="Record", at="desk", routes={"GET api/speakers": _list, "POST api/speakers": _invite})

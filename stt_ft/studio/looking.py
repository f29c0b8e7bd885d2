"""The tab Look through, at the desk: the clips with their words and what is wrong with them, and corrections that can be undone.

The list comes first, with all that sidecars and manifests tell; sounds are listened to meanwhile, clip by clip, and the page asks how far
that is. An edit names the version of the sidecar that the page shows, so that of two edits at once one is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from stt_ft.align.sidecars import corrected
from stt_ft.audio.files import read_audio, wav_of
from stt_ft.core.errors import DatasetError
from stt_ft.core.storage import Piece
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.corpus.inspecting import Inspected, SetFaults, Sound, split_by
from stt_ft.corpus.problems import GRAVE, KINDS, Problem, numbers_in, word_problems
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import MAIN_SPEAKER, Sidecar, Word
from stt_ft.pages.dataset_page import clip_facts, outline_signs, problem_facts, title_of
from stt_ft.studio.changes import Change, Changes
from stt_ft.studio.tab import Studio, Tab, json_body

LISTENS_AFTER_S = 1.5
"""Sounds are listened to once the page stands: what it asks for comes first."""

MAX_WORDS = 20
"""Most words that one edit puts in the place of others."""

_BAD_WORDS = ("not_one_word", "word_times")
"""Kinds of problem that no edit may make."""


@dataclass(frozen=True, kw_only=True)
class _Heard:
    stamp: tuple[int, int]
    sha256: str
    duration_s: float | None
    outline: str
    problems: tuple[Problem, ...]


@dataclass
class Ears:
    """What is known by now of the dataset's sounds, of faults between clips, and of clips as they were shown last.

    Attributes:
        listened_to: the clips that `listening` is about, each with its split and the versions of its sound and its sidecar.
    """

    data: Dataset
    heard: dict[str, _Heard] = field(default_factory=dict)
    between: dict[str, list[Problem]] = field(default_factory=dict)
    shown: dict[tuple[str, str, float], dict[str, Any]] = field(default_factory=dict)
    num_clips: int = 0
    listening: asyncio.Task[None] | None = None
    listened_to: frozenset[tuple[str, ...]] = frozenset()

    @classmethod
    def of(cls, studio: Studio) -> Ears:
        return studio.kept.setdefault("look", cls(studio.data))

    def known(self, clip: Clip) -> _Heard | None:
        """Return what is known of the sound as it lies there now."""
        heard = self.heard.get(clip.path)
        return heard if heard is not None and heard.stamp == self.stamp(clip) else None

    def listen(self, clip: Clip) -> _Heard:
        """Listen to a clip, if need be."""
        heard = self.known(clip)
        if heard is None:
            stamp, sound = self.stamp(clip), Sound.of(self.data, clip)
            duration_s = None if sound.samples is None else samples_to_s(len(sound.samples), SAMPLE_RATE_HZ)
            outline = "" if sound.samples is None else outline_signs(sound.samples)
            heard = _Heard(stamp=stamp, sha256=sound.sha256, duration_s=duration_s, outline=outline, problems=sound.problems)
            self.heard[clip.path] = heard
        return heard

    async def listen_to_all(self, clips: Iterable[Clip]) -> None:
        """Listen to `clips`, and then compare all clips with each other."""
        await asyncio.sleep(LISTENS_AFTER_S)
        for clip in clips:
            await asyncio.to_thread(self.listen, clip)
        await asyncio.to_thread(self.compare)

    def compare(self) -> None:
        faults, between = SetFaults(split_by=split_by(self.data)), defaultdict[str, list[Problem]](list)
        for split in self.data.splits():
            for clip in self.data.clips(split):
                heard, sidecar = self.known(clip), _read(self.data, clip)[0]
                sha256 = "" if heard is None else heard.sha256
                faults.add(split, clip, Inspected(sha256=sha256, numbers=tuple(sorted(numbers_in(sidecar)))))
        for problem in faults.problems():
            between[problem.clip_id].append(problem)
        self.between = between

    def stamp(self, clip: Clip) -> tuple[int, int]:
        with contextlib.suppress(DatasetError, OSError):
            sound = self.data.sound(clip)
            stat = (sound.archive if isinstance(sound, Piece) else sound).stat()
            return stat.st_size, stat.st_mtime_ns
        return -1, -1


# --- What the page shows --------------------------------------------------------------------------------------------------------------


def _facts(ears: Ears, clip: Clip, split: str) -> dict[str, Any]:
    """Return what the page shows of a clip."""
    heard, version = ears.known(clip), _version(ears.data, clip)
    duration_s = clip.duration_s if heard is None or heard.duration_s is None else heard.duration_s
    seen = clip.path, version, duration_s
    if seen not in ears.shown:
        sidecar, problems = _read(ears.data, clip)
        ears.shown[seen] = clip_facts(clip, split, sidecar, problems, duration_s=duration_s)
    facts = ears.shown[seen]
    found = (*(() if heard is None else heard.problems), *ears.between.get(clip.path, ()))
    problems = sorted(facts["problems"] + [problem_facts(problem) for problem in found], key=lambda one: list(KINDS).index(one[0]))
    is_mute, stamp = heard is not None and heard.duration_s is None, "-".join(map(str, ears.stamp(clip)))
    return {**facts, "split": split, "problems": problems, "mute": is_mute, "version": version, "stamp": stamp}


def _version(data: Dataset, clip: Clip) -> str:
    with contextlib.suppress(DatasetError, OSError):
        return hashlib.sha256(data.sidecar_bytes(clip) or b"").hexdigest()[:16]
    return ""


def _read(data: Dataset, clip: Clip) -> tuple[Sidecar, list[Problem]]:
    try:
        sidecar = data.read_sidecar(clip)
    except DatasetError as error:
        return Sidecar(), [Problem(clip_id=clip.path, kind="sidecar", message=str(error))]
    return sidecar, word_problems(clip, sidecar)


def _everything(studio: Studio, ears: Ears) -> tuple[dict[str, Any], list[Clip]]:
    data = studio.data
    by_split = {split: data.clips(split) for split in data.splits()}
    split_of = {clip.path: split for split in reversed(by_split) for clip in by_split[split]}
    clips = list({clip.path: clip for part in by_split.values() for clip in part}.values())
    ears.num_clips = len(clips)
    changes = Changes(data)
    shown = [_facts(ears, clip, split_of[clip.path]) for clip in clips]
    for change, held, clip in changes.put_away_clips():
        facts = clip_facts(clip, held.splits()[0], _read(held, clip)[0], (), duration_s=clip.duration_s)
        shown.append({**facts, "mute": False, "version": "", "stamp": "", "away": change.kind, "number": change.number})
    titles = {kind: title_of(kind) for kind in KINDS}
    return {"clips": shown, "titles": titles, "grave": sorted(GRAVE), "meanings": KINDS, **_steps(changes)}, clips


def _steps(changes: Changes) -> dict[str, Any]:
    """Return what undo and redo would do now."""
    return {"undo": _told(changes.next_undo()), "redo": _told(changes.next_redo())}


def _told(change: Change | None) -> dict[str, Any] | None:
    return None if change is None else {"kind": change.kind, "clip": change.clip}


async def _list(studio: Studio, request: web.Request) -> web.Response:
    ears = Ears.of(studio)
    async with studio.writing:
        everything, clips = await asyncio.to_thread(_everything, studio, ears)
    if ears.listening is None or ears.listening.done():
        shown = [clip for clip in everything["clips"] if "away" not in clip]
        now = frozenset((clip["clip"], clip["split"], clip["stamp"], clip["version"]) for clip in shown)
        if ears.listening is None or now != ears.listened_to:  # else the page, which asks anew at its end, would begin it for ever
            ears.listening, ears.listened_to = asyncio.create_task(ears.listen_to_all(clips)), now
    return web.json_response(everything)


async def _progress(studio: Studio, request: web.Request) -> web.Response:
    ears = Ears.of(studio)
    is_done = ears.listening is not None and ears.listening.done()
    return web.json_response(
        {"heard": ears.num_clips if is_done else min(len(ears.heard), ears.num_clips), "of": ears.num_clips, "done": is_done}
    )


def _place(studio: Studio, clip_path: object, number: str | None = None) -> tuple[Dataset, Clip, str]:
    """Return the clip that the page means, of the dataset or put away by change `number`, and its split; answers 404 for any other name."""
    if number is not None:
        for change, held, clip in Changes(studio.data).put_away_clips():
            if str(change.number) == number:
                return held, clip, held.splits()[0]
        raise web.HTTPNotFound(text="this clip is no longer there")
    for split in studio.data.splits():
        for clip in studio.data.clips(split):
            if clip.path == clip_path:
                return studio.data, clip, split
    raise web.HTTPNotFound(text="no such clip in the dataset")


async def _outline(studio: Studio, request: web.Request) -> web.Response:
    ears = Ears.of(studio)
    held, clip, _ = await asyncio.to_thread(_place, studio, request.query.get("clip"), request.query.get("number"))
    heard = await asyncio.to_thread((ears if held is studio.data else Ears(held)).listen, clip)
    return web.json_response({"outline": heard.outline, "duration": heard.duration_s, "mute": heard.duration_s is None})


async def _sound(studio: Studio, request: web.Request) -> web.Response:
    """The sound as every stage hears it, in a form that every browser plays."""

    def wav() -> bytes:
        held, clip, _ = _place(studio, request.query.get("clip"), request.query.get("number"))
        return wav_of(read_audio(held.sound(clip)))

    return web.Response(body=await asyncio.to_thread(wav), content_type="audio/wav")


# --- What it changes ------------------------------------------------------------------------------------------------------------------


async def _words(studio: Studio, request: web.Request) -> web.Response:
    """Put words in the place of words `at` to `at` + `old` of a clip."""
    asked = await json_body(request)
    start, num_old, entries = asked.get("at"), asked.get("old"), asked.get("words")
    if not (isinstance(start, int) and isinstance(num_old, int) and isinstance(entries, list) and len(entries) <= MAX_WORDS):
        raise web.HTTPBadRequest(text="expected the words to replace, and by what")
    async with studio.writing:

        def change() -> dict[str, Any]:
            data, clip, split = _place(studio, asked.get("clip"))
            if asked.get("version") != _version(data, clip):
                raise DatasetError(f"{clip.path}: its words were changed meanwhile; they are shown as they are now")
            Changes(data).change_words(clip, lambda sidecar: _edited(clip, sidecar, start, start + num_old, entries))
            return _answer(studio, clip, split)

        return web.json_response(await asyncio.to_thread(change))


def _edited(clip: Clip, sidecar: Sidecar, start: int, stop: int, entries: list[Any]) -> Sidecar:
    """Return the sidecar with an edit of the page; raises `DatasetError` where a model could not learn from what it makes."""
    if not 0 <= start <= stop <= len(sidecar.alignments):
        raise DatasetError(f"{clip.path}: it has {len(sidecar.alignments)} words by now")
    speaker = sidecar.alignments[start].speaker if start < stop else MAIN_SPEAKER
    words: list[Word] = []
    for entry in entries:
        try:
            text, start_s, end_s = entry
            words += _apart(Word.from_json([text, [start_s, end_s], speaker]))
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{clip.path}: {error}") from None
    edited = corrected(sidecar, start, stop, words)
    known = {problem.message for problem in word_problems(clip, sidecar)}
    for problem in word_problems(clip, edited):
        if problem.kind in _BAD_WORDS and problem.message not in known:
            raise DatasetError(f"{clip.path}: {problem.message}")
    return edited


def _apart(word: Word) -> list[Word]:
    """Return the words of a text that was typed in the place of one, its time shared out by their letters."""
    texts = word.text.split()
    if len(texts) < 2:
        return [Word(text=word.text.strip(), start_s=word.start_s, end_s=word.end_s, speaker=word.speaker)]
    letters, apart, begun = sum(map(len, texts)), [], 0
    for text in texts:
        ends = begun + len(text)
        start_s, end_s = (word.start_s + (word.end_s - word.start_s) * part / letters for part in (begun, ends))
        apart.append(Word(text=text, start_s=start_s, end_s=end_s, speaker=word.speaker))
        begun = ends
    return apart


def _answer(studio: Studio, clip: Clip, split: str) -> dict[str, Any]:
    return {"clip": _facts(Ears.of(studio), clip, split), **_steps(Changes(studio.data))}


async def _away(studio: Studio, request: web.Request) -> web.Response:
    asked = await json_body(request)
    where = asked.get("where")
    if where not in ("aside", "bin"):
        raise web.HTTPBadRequest(text="expected aside or bin")
    async with studio.writing:

        def put_away() -> dict[str, Any]:
            data, clip, _ = _place(studio, asked.get("clip"))
            Changes(data).put_away(clip, where)
            return _steps(Changes(data))

        return web.json_response(await asyncio.to_thread(put_away))


async def _undo(studio: Studio, request: web.Request) -> web.Response:
    number = (await json_body(request)).get("number")
    if number is not None and not isinstance(number, int):
        raise web.HTTPBadRequest(text="expected a number")
    return await _step(studio, lambda changes: changes.undo(number))


async def _redo(studio: Studio, request: web.Request) -> web.Response:
    return await _step(studio, Changes.redo)


async def _step(studio: Studio, take: Any) -> web.Response:
    async with studio.writing:

        def step() -> dict[str, Any]:
            changes = Changes(studio.data)
            change = take(changes)
            told = {"did": _told(change), **_steps(changes)}
            with contextlib.suppress(web.HTTPNotFound):
                _, clip, split = _place(studio, change.clip)
                told = {**told, **_answer(studio, clip, split)}
            return told

        return web.json_response(await asyncio.to_thread(step))


TAB = Tab(
    name="look",
    title="Look through",
    at="desk",
    routes={
        "GET api/look": _list,
        "GET api/look/progress": _progress,
        "GET api/look/outline": _outline,
        "GET api/look/sound": _sound,
        "POST api/look/words": _words,
        "POST api/look/away": _away,
        "POST api/look/undo": _undo,
        "POST api/look/redo": _redo,
    },
)

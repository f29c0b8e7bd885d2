"""A recording session: on disk, where no crash loses a take, and at the terminal, as the speaker sees it.

A take is written as sound, then sidecar, then manifest line, each whole or not at all. A take found with sound and sidecar but no manifest
line (the session died in between) is taken up when the session is opened again. At the terminal, a prompt is shown large, with a level
meter, warnings, and keep, retake or skip.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.align import Align
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from stt_ft.audio.files import probe, write_wav
from stt_ft.audio.levels import CLIPPED_LEVEL, meter
from stt_ft.audio.microphone import Recording
from stt_ft.core.errors import AudioError, DatasetError, DiskError
from stt_ft.core.timing import samples_to_s
from stt_ft.corpus.prompt_script import PromptScript
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.text.prompts import PromptLine

_REDRAW_S = 0.05

METADATA = ("speaker", "microphone", "room", "accent")
"""Asked once a session; only the speaker is required."""


def speaker_id(name: str) -> str:
    """Return `name` as a part of a file name ("Zoé Müller" is zoe-muller); raises `DatasetError` when nothing of it is left."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", letters).strip("-").lower()
    if not plain:
        raise DatasetError(f"the speaker {name!r} becomes part of file names and needs a letter or digit from a-z, 0-9")
    return plain


def known_sessions(data: Dataset) -> list[dict[str, Any]]:
    """Return the metadata of earlier sessions in this dataset, the latest last."""
    sessions = data.info().get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(session, dict) and session.get("speaker") for session in sessions):
        raise DatasetError(f"{data.directory / 'dataset.yaml'}: sessions must be a list of objects with a speaker")
    return sessions


def check_language(data: Dataset, script: PromptScript) -> None:
    """Raise `DatasetError` where the dataset is in another language than the script."""
    language = str(data.info().get("language") or script.language)
    if language.partition("-")[0] != script.language.partition("-")[0]:
        raise DatasetError(f"{data.directory}: its language is {language}, the script's is {script.language}; give another dataset")


@dataclass(kw_only=True)
class Session:
    """One speaker reading one script into one dataset."""

    data: Dataset
    script: PromptScript
    speaker: str
    sample_rate_hz: int
    clips: dict[str, Clip] = field(default_factory=dict)

    @classmethod
    def open(cls, data: Dataset, script: PromptScript, metadata: Mapping[str, str], *, sample_rate_hz: int) -> Session:
        """Begin a session, or go on with one: its metadata is kept in dataset.yaml, takes without manifest line are taken up.

        Raises:
            DatasetError: the speaker cannot name files, or the dataset is in another language; nothing is written then.
        """
        sessions = known_sessions(data)
        speaker = speaker_id(metadata["speaker"])
        check_language(data, script)
        session = {key: metadata[key] for key in METADATA if metadata.get(key)}
        if session not in sessions:
            made = {"name": data.directory.name, "language": script.language, "made_by": "stt-ft record"}
            data.write_info({**made, **data.info(), "sample_rate_hz": sample_rate_hz, "sessions": [*sessions, session]})
        opened = cls(data=data, script=script, speaker=speaker, sample_rate_hz=sample_rate_hz)
        present = {clip.path for clip in data.clips()}
        for prompt in script.prompts:
            clip = opened._clip(prompt, duration_s=0.0)
            if clip.path in present:
                opened.clips[prompt.prompt_id] = clip
            elif data.has_sidecar(clip):
                with contextlib.suppress(AudioError):  # without usable sound the prompt is read again
                    opened._add(prompt, opened._clip(prompt, duration_s=probe(data.sound(clip)).duration_s))
        return opened

    def missing(self, start_at: int | None = None) -> list[tuple[int, PromptLine]]:
        """Return (number, prompt) of the prompts still to be read, in order; from number `start_at` on, of every prompt, read or not."""
        if start_at is not None:
            return self.script.numbered(start_at)
        return [(number, prompt) for number, prompt in self.script.numbered() if prompt.prompt_id not in self.clips]

    def keep(self, prompt: PromptLine, samples: np.ndarray) -> Clip:
        """Write a take; an earlier take of the same prompt is replaced, with its words and times."""
        clip = self._clip(prompt, duration_s=samples_to_s(len(samples), self.sample_rate_hz))
        write_wav(self.data.audio_path(clip, to_write=True), samples, self.sample_rate_hz)
        self.data.write_sidecar(clip, Sidecar(script=prompt.say))
        self._add(prompt, clip)
        return clip

    def _clip(self, prompt: PromptLine, *, duration_s: float) -> Clip:
        extra = {"speaker": self.speaker, "prompt_id": prompt.prompt_id, "kind": prompt.kind, "script": prompt.say}
        return Clip(path=f"audio/{self.speaker}_{prompt.prompt_id}.wav", duration_s=duration_s, extra=extra)

    def _add(self, prompt: PromptLine, clip: Clip) -> None:
        """Put the clip's line into the split that has one already, or at the end of train."""
        for split in self.data.splits():
            clips = self.data.clips(split)
            if any(other.path == clip.path for other in clips):
                self.data.write_clips(split, [clip if other.path == clip.path else other for other in clips])
                break
        else:
            self.data.write_clips("train", [*(self.data.clips("train") if "train" in self.data.splits() else []), clip])
        self.clips[prompt.prompt_id] = clip


@dataclass(frozen=True)
class Desk:
    """Runs a session at a terminal.

    Attributes:
        read_line: waits for Enter and returns the line typed; raises `EOFError` at the end of input.
    """

    session: Session
    record: Callable[[], AbstractContextManager[Recording]]
    play: Callable[[np.ndarray], None]
    console: Console
    read_line: Callable[[], str] = input

    def run(self, start_at: int | None = None) -> bool:
        """Go through the missing prompts; return False when the speaker quits before the end."""
        for number, prompt in self.session.missing(start_at):
            try:
                if not self._one_prompt(number, prompt):
                    return False
            except EOFError:
                return False
        return True

    def _one_prompt(self, number: int, prompt: PromptLine) -> bool:
        """Record one prompt until a take is kept or skipped; return False to quit."""
        while True:
            self._show(number, prompt)
            answer = self._ask("Enter starts, s skips, q quits")
            if answer in ("s", "q"):
                return answer == "s"
            samples, num_gaps = self._take(number, prompt)
            self._show(number, prompt)
            if len(samples) == 0:
                self.console.print(Text("  ! the device gave no sound at all: wait for the level meter to move", style="bold yellow"))
                answer = self._ask("Enter tries again, s skips, q quits")
                if answer in ("s", "q"):
                    return answer == "s"
                continue
            for warning in self.session.script.faults(prompt, samples, self.session.sample_rate_hz):
                self.console.print(Text(f"  ! {warning}", style="bold yellow"))
            if num_gaps:
                self.console.print(Text("  ! sound was lost: this machine was too busy to take it all; retake", style="bold yellow"))
            answer = self._listen_and_decide(samples)
            if answer in ("s", "q"):
                return answer == "s"
            if answer in ("", "k"):
                return self._keep(prompt, samples)

    def _keep(self, prompt: PromptLine, samples: np.ndarray) -> bool:
        """Write a take; where the disk refuses, ask until it does not. Return False to quit without the take."""
        while True:
            try:
                clip = self.session.keep(prompt, samples)
            except DiskError as error:
                self.console.print(Text(f"  ! {error}", style="bold yellow"))
                if self._ask("make room, then Enter tries again; q quits and loses this take") == "q":
                    return False
                continue
            self.console.print(Text(f"  kept {clip.path}, {clip.duration_s:.1f} s", style="green"))
            return True

    def _listen_and_decide(self, samples: np.ndarray) -> str:
        self._play_back(samples)
        while True:
            answer = self._ask("Enter keeps, r retakes, p plays again, s skips, q quits")
            if answer == "p":
                self._play_back(samples)
            elif answer in ("", "k", "r", "s", "q"):
                return answer

    def _take(self, number: int, prompt: PromptLine) -> tuple[np.ndarray, int]:
        """Record until Enter is pressed, with a live level meter; return the sound and the number of gaps in it."""
        self._show(number, prompt)
        with self.record() as take, Live(console=self.console, refresh_per_second=1 / _REDRAW_S, transient=True) as live:
            stopped = threading.Event()
            threading.Thread(target=self._wait_for_enter, args=(stopped,), daemon=True).start()
            begin_s = time.monotonic()
            while not stopped.wait(_REDRAW_S):
                live.update(_meter_line(take, time.monotonic() - begin_s))
            return take.samples(), take.num_gaps

    def _wait_for_enter(self, stopped: threading.Event) -> None:
        try:
            self.read_line()
        except EOFError:
            pass
        finally:
            stopped.set()

    def _show(self, number: int, prompt: PromptLine) -> None:
        self.console.clear()
        self.console.print(_panel(prompt, f"{number} of {len(self.session.script.prompts)}", speaker=self.session.speaker))

    def _ask(self, question: str) -> str:
        self.console.print(Text(f"  {question} ", style="dim"), end="")
        return self.read_line().strip().lower()[:1]

    def _play_back(self, samples: np.ndarray) -> None:
        try:
            self.play(samples)
        except AudioError as error:
            self.console.print(Text(f"  {error}", style="yellow"))


def _panel(prompt: PromptLine, title: str, *, speaker: str) -> Panel:
    lines = [Text(""), Align.center(Text(prompt.say, style="bold bright_white", justify="center")), Text("")]
    if prompt.direction:
        lines += [Align.center(Text(prompt.direction, style="italic cyan", justify="center")), Text("")]
    return Panel(Group(*lines), title=f"{title}  {prompt.prompt_id}", subtitle=speaker, border_style="blue", padding=(1, 4))


def _meter_line(take: Recording, elapsed_s: float) -> Text:
    loud = take.peak >= CLIPPED_LEVEL
    style = "bold red" if loud else "green"
    return Text(f"  ● {elapsed_s:5.1f} s  {meter(take.level_db)}  {'CLIPPED' if loud else 'Enter stops'}", style=style)

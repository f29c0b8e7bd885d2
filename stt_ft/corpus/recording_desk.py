"""The recording session as the speaker sees it: a prompt shown large, a level meter, warnings, and keep, retake or skip."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from rich.align import Align
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from stt_ft.audio.levels import CLIPPED_LEVEL, meter, take_warnings
from stt_ft.core.errors import AudioError, TextError
from stt_ft.corpus.prompt_script import PromptLine
from stt_ft.corpus.recording_session import Session
from stt_ft.text.spoken_forms import spoken_words

_REDRAW_S = 0.05


class Take(Protocol):
    """A recording under way."""

    @property
    def level_db(self) -> float: ...

    @property
    def peak(self) -> float: ...

    @property
    def num_gaps(self) -> int: ...

    def samples(self) -> np.ndarray: ...


class Desk:
    """Runs a session at a terminal.

    Args:
        session: what is read and where it is kept.
        record: starts a take.
        play: plays samples back.
        console: where prompts are shown.
        read_line: waits for Enter and returns what was typed before it; raises `EOFError` at the end of input.
    """

    def __init__(
        self,
        session: Session,
        *,
        record: Callable[[], AbstractContextManager[Take]],
        play: Callable[[np.ndarray], None],
        console: Console,
        read_line: Callable[[], str] = input,
    ) -> None:
        self._session = session
        self._record = record
        self._play = play
        self._console = console
        self._read_line = read_line

    def run(self, start_at: int | None = None) -> bool:
        """Go through the missing prompts; return False when the speaker quits before the end."""
        for number, prompt in self._session.missing(start_at):
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
                self._console.print(Text("  ! the device gave no sound at all: wait for the level meter to move", style="bold yellow"))
                answer = self._ask("Enter tries again, s skips, q quits")
                if answer in ("s", "q"):
                    return answer == "s"
                continue
            for warning in take_warnings(
                samples, self._session.sample_rate_hz, num_words=_num_words(prompt, self._session.script.language)
            ):
                self._console.print(Text(f"  ! {warning}", style="bold yellow"))
            if num_gaps:
                self._console.print(Text("  ! sound was lost: this machine was too busy to take it all; retake", style="bold yellow"))
            answer = self._listen_and_decide(samples)
            if answer == "q":
                return False
            if answer == "s":
                return True
            if answer in ("", "k"):
                clip = self._session.keep(prompt, samples)
                self._console.print(Text(f"  kept {clip.path}, {clip.duration_s:.1f} s", style="green"))
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
        """Record until Enter is pressed, with a live level meter; return the sound and how often some of it was lost."""
        self._show(number, prompt)
        with self._record() as take, Live(console=self._console, refresh_per_second=1 / _REDRAW_S, transient=True) as live:
            stopped = threading.Event()
            threading.Thread(target=self._wait_for_enter, args=(stopped,), daemon=True).start()
            begin_s = time.monotonic()
            while not stopped.wait(_REDRAW_S):
                live.update(_meter_line(take, time.monotonic() - begin_s))
            return take.samples(), take.num_gaps

    def _wait_for_enter(self, stopped: threading.Event) -> None:
        try:
            self._read_line()
        except EOFError:
            pass
        finally:
            stopped.set()

    def _show(self, number: int, prompt: PromptLine) -> None:
        self._console.clear()
        self._console.print(_panel(prompt, f"{number} of {len(self._session.script.prompts)}", speaker=self._session.speaker))

    def _ask(self, question: str) -> str:
        self._console.print(Text(f"  {question} ", style="dim"), end="")
        return self._read_line().strip().lower()[:1]

    def _play_back(self, samples: np.ndarray) -> None:
        try:
            self._play(samples)
        except AudioError as error:
            self._console.print(Text(f"  {error}", style="yellow"))


def _panel(prompt: PromptLine, title: str, *, speaker: str) -> Panel:
    lines = [Text(""), Align.center(Text(prompt.say, style="bold bright_white", justify="center")), Text("")]
    if prompt.direction:
        lines += [Align.center(Text(prompt.direction, style="italic cyan", justify="center")), Text("")]
    return Panel(Group(*lines), title=f"{title}  {prompt.prompt_id}", subtitle=speaker, border_style="blue", padding=(1, 4))


def _meter_line(take: Take, elapsed_s: float) -> Text:
    loud = take.peak >= CLIPPED_LEVEL
    style = "bold red" if loud else "green"
    return Text(f"  ● {elapsed_s:5.1f} s  {meter(take.level_db)}  {'CLIPPED' if loud else 'Enter stops'}", style=style)


def _num_words(prompt: PromptLine, language: str) -> int:
    """Return how many words the prompt has when it is said; of a prompt that cannot be read aloud, its written words."""
    try:
        return len(spoken_words(prompt.say, language=language))
    except TextError:
        return len(prompt.say.split())

"""What a person sees while training: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from stt_ft.core.progress import say


class Dashboard:
    """Shows step, loss, frames a second, time left and memory. To be used as a context manager."""

    def __init__(self, *, first_step: int, max_steps: int, is_shown: bool = True) -> None:
        self._is_shown = is_shown
        self._first_step = first_step
        self._max_steps = max_steps
        self._begin_s = time.monotonic()
        self._num_frames = 0
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> Dashboard:
        if self._is_shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._live = Progress(*columns, console=Console(stderr=True), redirect_stderr=True)
            self._task = self._live.add_task("", total=self._max_steps, completed=self._first_step)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def frames_per_s(self) -> float:
        """Frames learned from per second since the beginning, padding not counted."""
        return self._num_frames / max(time.monotonic() - self._begin_s, 1e-9)

    def step_done(self, step: int, num_frames: int, loss: float | None) -> None:
        """Note one optimizer step; `loss` is None while it is still on its way from the device."""
        self._num_frames += num_frames
        if self._live is not None:
            shown = {} if loss is None else {"description": f"loss {loss:.4f}  {self.frames_per_s:,.0f} frames/s{_memory()}"}
            self._live.update(self._task, completed=step, **shown)

    def validated(self, step: int, figures: dict[str, float], *, is_best: bool) -> None:
        """Say how the dev split came out."""
        shown = "  ".join(f"{name} {_figure(name, value)}" for name, value in figures.items())
        say(f"step {step:>5}  dev: {shown}{'  (best)' if is_best else ''}")


def _figure(name: str, value: float) -> str:
    if name.endswith("_s"):
        return f"{value:.2f} s"
    return f"{value:.4f}" if "loss" in name or name == "combined" else f"{100 * value:.1f} %"


def _memory() -> str:
    """Return the peak GPU memory so far, where a GPU is in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return ""
    return f"  {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"

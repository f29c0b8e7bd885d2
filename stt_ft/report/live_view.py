"""What a live microphone shows: the words as they come and the pause heads as bars on a terminal; lines or JSON for other programs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from stt_ft.core.progress import emit_json
from stt_ft.model.transcriber import LiveFrame
from stt_ft.targets.pause_targets import HORIZONS_S

BAR_CELLS = 30
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_THRESHOLD = 0.6


class FrameView(Protocol):
    """Shows frames one by one."""

    def show(self, frame: LiveFrame) -> None: ...


def bar(prob: float, cells: int = BAR_CELLS) -> str:
    """Return a bar of `cells` characters filled to `prob`, to an eighth of a character."""
    eighths = round(min(max(prob, 0.0), 1.0) * cells * 8)
    part = _EIGHTHS[eighths % 8] if eighths % 8 else ""
    return ("█" * (eighths // 8) + part).ljust(cells)


@contextlib.contextmanager
def live_view(*, as_json: bool) -> Iterator[FrameView]:
    """Give the view that suits where stdout goes: a picture on a terminal, else a line a word, or with `as_json` a line a frame."""
    if as_json:
        yield _JsonLines()
    elif not sys.stdout.isatty():
        yield _WordLines()
    else:
        with Live(console=Console(), refresh_per_second=12, vertical_overflow="visible") as live:
            yield _Picture(live)


class _JsonLines:
    def show(self, frame: LiveFrame) -> None:
        words = [[word.text, round(word.start_s, 3), round(word.end_s, 3), round(word.appeared_s, 3)] for word in frame.words]
        emit_json({"heard_s": round(frame.heard_s, 3), "words": words, "pause": np.round(frame.pause_probs.astype(float), 4).tolist()})


class _WordLines:
    def show(self, frame: LiveFrame) -> None:
        for word in frame.words:
            print(f"{word.appeared_s:8.2f} s  {word.text}", flush=True)


class _Picture:
    def __init__(self, live: Live) -> None:
        self._live, self._words = live, []

    def show(self, frame: LiveFrame) -> None:
        self._words += [word.text for word in frame.words]
        self._live.update(Group(Text(" ".join(self._words) or "…", style="bold"), Text(), *pause_lines(frame.pause_probs)))


def pause_lines(pause_probs: Sequence[float] | np.ndarray) -> list[Text]:
    """Return a line a head: its horizon, a bar (red above the usual threshold), the probability."""
    lines = []
    for head, prob in enumerate(float(prob) for prob in pause_probs):
        horizon = f"{HORIZONS_S[head]:g} s" if head < len(HORIZONS_S) else f"head {head}"
        line = Text.assemble(("pause ", "dim"), (f"{horizon:>6} ", "dim"))
        line.append(bar(prob), style="red" if prob > _THRESHOLD else "cyan")
        line.append(f" {prob:4.2f}", style="bold red" if prob > _THRESHOLD else "")
        lines.append(line)
    return lines

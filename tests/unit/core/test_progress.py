"""Talk goes to stderr, results to stdout; without a terminal a stage is one line."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest

from stt_ft.core.progress import emit_json, say, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_a_stage_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]):
    assert list(track(range(30), "aligning clips")) == list(range(30))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aligning clips: 30 in ")
    assert err.count("\n") == 1


def test_work_that_stops_half_way_says_how_far_it_came(capsys: pytest.CaptureFixture[str]):
    def clips() -> Iterator[int]:
        yield from range(12)
        raise RuntimeError("broken clip")

    with pytest.raises(RuntimeError, match="broken clip"):
        list(track(clips(), "aligning clips", total=30))
    assert capsys.readouterr().err.startswith("aligning clips: 12/30 in ")


def test_on_a_terminal_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track((n for n in range(3)), "encoding", total=3)) == [0, 1, 2]
    assert "encoding" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_results_are_one_line_of_json_on_stdout(capsys: pytest.CaptureFixture[str]):
    emit_json({"wörter": [1, None]})
    say("done")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"wörter": [1, None]}
    assert "wörter" in out
    assert err == "done\n"
    with pytest.raises(ValueError, match="JSON compliant"):
        emit_json({"loss": float("nan")})

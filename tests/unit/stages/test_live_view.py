import json
from dataclasses import replace

import numpy as np
import pytest

from stt_ft.model.transcriber import LiveFrame
from stt_ft.model.words import HeardWord
from stt_ft.stages.transcribe import bar, live_view, pause_lines

FRAME = LiveFrame(
    heard_s=1.04,
    text_token=3,
    pause_probs=np.array([0.9, 0.2, 0.61, 0.0], np.float32),
    words=(HeardWord(text="order", start_s=0.4, end_s=0.56, appeared_s=1.04),),
)


@pytest.mark.parametrize(("prob", "drawn"), [(0.0, "    "), (0.5, "██  "), (0.53125, "██▏ "), (1.0, "████"), (1.7, "████")])
def test_a_bar_is_filled_to_an_eighth_of_a_character(prob, drawn):
    assert bar(prob, cells=4) == drawn


def test_a_line_a_head_with_its_horizon_and_red_above_the_threshold():
    lines = pause_lines(FRAME.pause_probs)
    assert [line.plain.split()[1] for line in lines] == ["0.5", "1", "2", "3"]
    assert [any("red" in str(span.style) for span in line.spans) for line in lines] == [True, False, True, False]


def test_programs_get_a_line_of_json_a_frame_and_pipes_a_line_a_word(capsys):
    with live_view(["tuned"], as_json=True) as show:
        show([FRAME])
    assert json.loads(capsys.readouterr().out) == {"heard_s": 1.04, "words": [["order", 0.4, 0.56, 1.04]], "pause": [0.9, 0.2, 0.61, 0.0]}
    with live_view(["tuned"], as_json=False) as show:
        show([FRAME])
    assert capsys.readouterr().out.split() == ["1.04", "s", "order"]


def test_two_models_are_shown_side_by_side(capsys, monkeypatch):
    silent = replace(FRAME, words=(), pause_probs=np.array([0.1, 0.1, 0.7, 0.1], np.float32))
    with live_view(["tuned", "base"], as_json=True) as show:
        show([silent, FRAME])
    told = json.loads(capsys.readouterr().out)
    assert (told["words"], told["against"]["words"], told["against"]["pause"]) == ([], [["order", 0.4, 0.56, 1.04]], [0.9, 0.2, 0.61, 0.0])
    with live_view(["tuned", "base"], as_json=False) as show:
        show([silent, FRAME])
        show([FRAME, FRAME])
    names, alone, both = capsys.readouterr().out.splitlines()
    assert names.split() == ["tuned", "base"]
    assert alone.index("order") == names.index("base")
    assert both.split() == ["1.04", "s", "order", "order"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with live_view(["tuned", "base"], as_json=False) as show:
        show([silent, FRAME])
    assert capsys.readouterr().out.count("pause") >= 4

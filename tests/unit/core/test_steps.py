"""A chain of steps does what must be done, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stt_ft.core.steps import Step, run_steps


def chain(root: Path, done: list[str], *, option: int = 1) -> list[Step]:
    def work(name: str) -> None:
        done.append(name)
        (root / name).write_text(name)

    first = Step(name="first", action=lambda: work("a"), options={"option": option}, inputs=lambda: [root / "input"], outputs=[root / "a"])
    return [first, Step(name="second", action=lambda: work("b"), outputs=[root / "b"])]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "input").write_text("x")
    return tmp_path


def test_a_finished_chain_does_nothing_again(root: Path) -> None:
    done: list[str] = []
    for _ in range(2):
        run_steps(chain(root, done), root / "records")
    assert done == ["a", "b"]


def test_a_changed_input_option_or_a_lost_output_is_worked_again_with_all_that_follows(root: Path) -> None:
    done: list[str] = []
    run_steps(chain(root, done), root / "records")
    (root / "input").write_text("changed")
    run_steps(chain(root, done), root / "records")
    assert done == ["a", "b"] * 2
    run_steps(chain(root, done, option=2), root / "records")
    assert done == ["a", "b"] * 3
    os.remove(root / "b")
    run_steps(chain(root, done, option=2), root / "records")
    assert done == [*["a", "b"] * 3, "b"]


def test_an_interrupted_chain_goes_on_where_it_stopped(root: Path) -> None:
    done: list[str] = []
    first, second = chain(root, done)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_steps([first, Step(name="second", action=interrupted, outputs=[root / "b"])], root / "records")
    run_steps([first, second], root / "records")
    assert done == ["a", "b"]


def test_a_damaged_record_is_worked_again(root: Path) -> None:
    done: list[str] = []
    run_steps(chain(root, done), root / "records")
    (root / "records" / "second.json").write_text("{")
    run_steps(chain(root, done), root / "records")
    assert done == ["a", "b", "b"]

"""The same work by any engine: the same results in the same order, through killed workers and clips that kill; refusals in one line."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stt_ft.core.engine import LOCAL, Engine, SetAside, batched, in_words, spread
from stt_ft.core.errors import ConfigError, DatasetError, MissingExtra

ITEMS = list(range(40))
ENGINES = {
    "in this process": LOCAL,
    "two processes": Engine(workers=2),
    "ray": Engine(name="ray", workers=2),
}


class Squares:
    """A worker whose items are numbers; what is in `fatal` kills its process, so many times as its file in `deaths` does not say yet."""

    def __init__(self, deaths: Path | None = None, fatal: dict[int, int] | None = None) -> None:
        self.deaths, self.fatal = deaths, fatal or {}

    def __call__(self, batch: list[int]) -> list[int]:
        for item in batch:
            if item in self.fatal and self.deaths is not None:
                path = self.deaths / str(item)
                died = len(path.read_bytes()) if path.exists() else 0
                if died < self.fatal[item]:
                    path.write_bytes(b"x" * (died + 1))
                    os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002 * (batch[0] % 3))  # whoever comes first is not done first
        return [item**2 for item in batch]


class Refuses:
    def __init__(self) -> None:
        raise MissingExtra("pocketsphinx", "synth", "aligner sphinx")

    def __call__(self, batch: list[int]) -> list[int]:
        raise AssertionError(batch)


class RefusesOne:
    def __call__(self, batch: list[int]) -> list[int]:
        if 17 in batch:
            raise DatasetError("clip 17: no such thing")
        return batch


class Breaks:
    """A worker that cannot be made, of a fault that nobody foresaw."""

    def __init__(self) -> None:
        raise ZeroDivisionError("of its own")

    def __call__(self, batch: list[int]) -> list[int]:
        return batch


class LoadsAndSleeps:
    """A worker that loads for half a second and needs 20 ms for an item."""

    def __init__(self) -> None:
        time.sleep(0.5)

    def __call__(self, batch: list[int]) -> list[int]:
        time.sleep(0.02 * len(batch))
        return batch


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name == "ray" else ()) for name in ENGINES])
def engine(request) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray_here")
    return ENGINES[request.param]


def test_results_come_in_order_from_any_engine(engine):
    assert list(engine.results(Squares, batched(ITEMS, 3))) == [(item, item**2) for item in ITEMS]


def test_no_work_is_no_work(engine):
    assert list(engine.results(Squares, [])) == []


def test_a_killed_worker_loses_nothing_and_an_item_that_kills_thrice_is_set_aside(engine, tmp_path):
    if engine is LOCAL:
        pytest.skip("the process itself would die")
    make = functools.partial(Squares, tmp_path, {4: 1, 11: 2, 23: 99})
    results = dict(engine.results(make, batched(ITEMS, 5)))
    assert list(results) == ITEMS
    reason = results.pop(23)
    assert isinstance(reason, SetAside)
    assert "3 times" in reason.fault
    assert results == {item: item**2 for item in ITEMS if item != 23}
    assert (tmp_path / "23").stat().st_size == 4  # with others, and three times alone


def test_a_worker_that_cannot_be_made_says_so_as_it_would_here(engine):
    with pytest.raises(MissingExtra, match=r"aligner sphinx needs pocketsphinx: pip install 'stt-ft\[synth\]'"):
        list(engine.results(Refuses, batched(ITEMS, 3)))


def test_a_fault_in_making_a_worker_is_no_fault_of_its_items(engine):
    with pytest.raises(Exception, match="of its own"):
        list(engine.results(Breaks, batched(ITEMS, 3)))


def test_a_script_that_asks_for_processes_is_not_run_by_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from test_engine import Squares\n"
        "from stt_ft.core.engine import Engine\n"
        "print([result for _, result in Engine(workers=2).results(Squares, [[2], [3]])])\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("[4, 9]\n", "")


def test_what_ends_the_work_ends_it_from_another_process_too(engine):
    with pytest.raises(DatasetError, match="clip 17: no such thing"):
        list(engine.results(RefusesOne, batched(ITEMS, 3)))


def test_an_estimate_says_how_much_there_is_and_how_long_it_takes():
    told = Engine(workers=1).estimate(Squares, batched(ITEMS, 1))
    assert told.startswith("40 to do, ")
    assert "a second by 1 worker: about 0 s" in told
    assert LOCAL.estimate(Squares, []) == "0 to do"


def test_an_estimate_is_of_the_work_alone_though_results_come_together(engine):
    """Ray Data hands results over many at once, after it has begun for seconds: neither is the rate."""
    told = engine.estimate(LoadsAndSleeps, batched(ITEMS, 4))
    match = re.fullmatch(r"40 to do, ([0-9.]+) a second by ([12]) workers?: about \d+ s", told)
    assert match, told
    assert 30 < float(match[1]) / int(match[2]) <= 50


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"name": "spark"}, "local or ray"),
        ({"workers": 0}, "positive"),
        ({"gpus_per_worker": -1.0}, "negative"),
        ({"address": "auto"}, "engine ray"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(flags, match):
    with pytest.raises(ConfigError, match=match):
        Engine(**flags)


def test_a_stage_that_is_spread_has_the_flags_and_takes_an_engine():
    @spread
    def stage(dataset: str, *, size: int = 1, engine: Engine = LOCAL) -> tuple[str, int, Engine]:
        """Do it.

        Args:
            dataset: where.
            size: how much.
        """
        return dataset, size, engine

    from stt_ft.cli import parameters_of

    assert [p.name for p in parameters_of(stage)] == ["dataset", "size", "engine", "address", "workers", "gpus_per_worker"]
    flags: dict[str, Any] = {"workers": 3}
    assert stage("d", size=2, **flags) == ("d", 2, Engine(workers=3))
    assert stage("d", engine=Engine(workers=5)) == ("d", 1, Engine(workers=5))
    assert "gpus_per_worker: share of a GPU" in (stage.__doc__ or "")


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (12_600, "3.5 hours"), (86_400 * 11.4, "11 days")])
def test_times_are_told_as_people_do(seconds, words):
    assert in_words(seconds) == words


class Pids:
    def __call__(self, batch: list[int]) -> list[int]:
        time.sleep(0.1)
        return [os.getpid() for _ in batch]


def print_pids() -> None:
    for _, pid in Engine(workers=2).results(Pids, batched(ITEMS * 100, 1)):
        print(pid, flush=True)


def test_the_processes_of_a_killed_command_end_with_it():
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_engine; test_engine.print_pids()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        pids: set[int] = set()
        while len(pids) < 2:
            pids.add(int(asking.stdout.readline()))
        asking.kill()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return
        time.sleep(0.1)
    pytest.fail(f"processes {pids} go on")

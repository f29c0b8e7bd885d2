"""How many threads torch takes, and that they wait asleep: by files as Linux writes them, and by a process of its own."""

import os
import subprocess
import sys

import pytest

from stt_ft.core import cores
from stt_ft.core.engine import Engine


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that writes control groups, FILE -> text, and which of them are this process's; eight cores are bound to it."""
    monkeypatch.setattr(cores, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_bound_cores", lambda: 8)

    def write(own: str, **files: str) -> int:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cores.num_cores()

    return write


def test_without_a_quota_all_cores_that_the_process_is_bound_to_count(groups):
    assert groups("0::/") == 8
    assert groups("0::/jobs/one\n", jobs__one__cpu_max="max 100000\n") == 8


def test_the_least_quota_of_the_groups_around_a_process_counts(groups):
    assert groups("0::/jobs/one\n", jobs__one__cpu_max="600000 100000\n", jobs__cpu_max="250000 100000\n") == 2


def test_a_quota_of_less_than_a_core_is_one(groups):
    assert groups("0::/\n", cpu_max="50000 100000\n") == 1


def test_the_groups_of_old_kernels_are_read_too(groups):
    own = "5:memory:/jobs\n3:cpu,cpuacct:/jobs\n0::/\n"
    quota = {"cpu,cpuacct__jobs__cfs_quota_us": "300000\n", "cpu,cpuacct__jobs__cfs_period_us": "100000\n"}
    assert groups(own, **quota) == 3
    assert groups(own, **{**quota, "cpu,cpuacct__jobs__cfs_quota_us": "-1\n"}) == 8


@pytest.mark.parametrize("damaged", ["", "0::/\n0\n", "::::"])
def test_what_cannot_be_read_grants_all(groups, damaged):
    assert groups(damaged, cpu_max="a lot\n") == 8


def test_workers_share_the_cores_unless_a_number_was_asked_for(groups, monkeypatch):
    groups("0::/\n", cpu_max="600000 100000\n")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [cores.threads_for(workers) for workers in (1, 2, 4, 7)] == [6, 3, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores.threads_for(4) == 3


class Threads:
    """A worker that tells how many threads torch will have in its process."""

    def __call__(self, batch: list[int]) -> list[str]:
        return [os.environ["OMP_NUM_THREADS"] for _ in batch]


def test_the_processes_of_a_pool_share_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # threads that were asked for are those of each
    assert [threads for _, threads in Engine(workers=2).results(Threads, [[1], [2]])] == ["3", "3"]


def test_a_process_that_has_torch_takes_so_many_threads_at_once(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        cores.take_threads(before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def settled(**environment: str) -> dict[str, str]:
    told = {name: text for name, text in os.environ.items() if name not in (*cores._WAITING, "OMP_NUM_THREADS")}
    script = "import os; from stt_ft.cli import main; main(['gate', 'nowhere']); print(dict(os.environ))"
    done = subprocess.run([sys.executable, "-c", script], env={**told, **environment}, capture_output=True, text=True, check=True)
    return eval(done.stdout)


def test_a_command_lets_waiting_threads_sleep_unless_the_environment_says_how_they_wait():
    assert settled()["GOMP_SPINCOUNT"] == cores.SPIN_COUNT
    assert "GOMP_SPINCOUNT" not in settled(OMP_WAIT_POLICY="active")

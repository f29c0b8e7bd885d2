"""Processes of two machines: what they have to share and to have alike, and what torchrun does when one of them is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from short_runs import Outcome

import stt_ft
from stt_ft.core.errors import BusyError, ConfigError
from stt_ft.dataset.manifest import Dataset
from stt_ft.training import parallel
from stt_ft.training.parallel import LostProcess, joined_world

NUM_STEPS = 400
PATIENCE_S = 240.0


def _changed(config: Path, **changes) -> Path:
    path = config.with_name("other.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **changes}))
    return path


def _with_a_clip_less(data: Dataset, directory: Path) -> Dataset:
    shutil.copytree(data.directory, directory)
    other = Dataset(directory)
    other.write_clips("train", data.clips("train")[1:])
    return other


def test_a_process_that_has_something_else_is_named(written_recipe, two_processes, encoded_dataset, tmp_path):
    """One line in one process says so; the other ends without a word, and nothing is left of the run."""
    config = written_recipe({})
    other_clips = _with_a_clip_less(encoded_dataset, tmp_path / "orders")
    for changes, fault in (
        ({"dataset": str(other_clips.directory)}, "process 1 of 2, on .*, reads other training clips than the first"),
        ({"optim": {"lr": 1e-5}}, r"process 1 of 2, on .*, has another optim\.lr in its recipe than the first"),
        ({"run_dir": str(tmp_path / "run")}, "run: is not one directory for all processes; process 1 of 2, on .*, does not see"),
        ({"dataset": str(tmp_path / "nothing")}, "nothing: "),
    ):
        with pytest.raises(AssertionError, match=rf"(?s)^process 0: .*{fault}.*process 1: .*SystemExit: 2\n$"):
            two_processes.train(config, _changed(config, **changes))
        assert not Outcome(config).directory.exists()
        assert not (tmp_path / "run").exists()


def test_the_same_clips_may_lie_elsewhere(written_recipe, two_processes, encoded_dataset, tmp_path):
    shutil.copytree(encoded_dataset.directory, tmp_path / "orders")
    config = written_recipe({"schedule": {"max_steps": 1}, "validation": {"every_steps": 0}})
    two_processes.train(config, _changed(config, dataset=str(tmp_path / "orders")))
    assert len(Outcome(config).rows("train")) == 1


@pytest.mark.parametrize(
    ("error", "is_ended"), [(ConfigError("a mistake"), True), (LostProcess("gone"), False), (BusyError("at work"), False)]
)
def test_torchrun_tries_again_after_a_loss_and_not_after_a_mistake(monkeypatch, error, is_ended):
    at_exit = []
    monkeypatch.setattr(parallel.atexit, "register", lambda *what: at_exit.append(what))
    for name, value in {"RUN_ID": "x", "MAX_RESTARTS": "3", "RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    with pytest.raises(type(error)), joined_world(parallel.torch.device("cpu")):
        raise error
    assert at_exit == ([(os.kill, os.getppid(), signal.SIGTERM)] if is_ended else [])


def test_a_connection_that_breaks_is_one_line_and_other_errors_stay_what_they_are():
    told = r"another process of this run is gone \(\[pair\.cc:538\] Connection closed by peer\); the run goes on"
    with pytest.raises(LostProcess, match=told), parallel._no_lost_process():
        raise RuntimeError("[pair.cc:538]\n Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), parallel._no_lost_process():
        raise RuntimeError("shape mismatch")


@dataclasses.dataclass
class Machines:
    """Two network namespaces, joined as by a cable: machines with an address of their own that share a disk."""

    name: str
    log: Path
    running: dict[int, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)

    def start(self, number: int, config: Path, *, nodes: str, restarts: int = 0) -> None:
        """Start torchrun on a machine; the first is where the others meet."""
        meeting = f"is_host={1 - number},join_timeout=120,last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"
        launcher = ["torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1", "--max-restarts", str(restarts)]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.19.1:29519", "--rdzv-id", "run", "--rdzv-conf", meeting]
        launcher += ["--local-addr", f"10.77.19.{number + 1}", "--monitor-interval", "0.1"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(stt_ft.__file__).parents[1]),
            "GLOO_SOCKET_IFNAME": f"{self.name}{number}",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        with self._log(number).open("ab") as log:
            self.running[number] = subprocess.Popen(
                ["ip", "netns", "exec", f"{self.name}{number}", sys.executable, "-m", *launcher, "-m", "stt_ft", "train", str(config)],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def _log(self, number: int) -> Path:
        return self.log / f"machine_{number}.log"

    def said(self, number: int) -> str:
        return self._log(number).read_text(errors="replace")

    def fail(self, number: int) -> None:
        """Let a machine go out, torchrun and all."""
        for process in subprocess.run(["ip", "netns", "pids", f"{self.name}{number}"], capture_output=True, check=True).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        self.running.pop(number).wait()

    def ended(self) -> list[int]:
        """Return the exit codes of all, once they have ended."""
        return [process.wait(PATIENCE_S) for _, process in sorted(self.running.items())]

    def until(self, is_so) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s, self.said(0)[-3000:]
            assert self.running[0].poll() is None, self.said(0)[-3000:]
            time.sleep(0.05)


@pytest.fixture
def machines(tmp_path) -> Iterator[Machines]:
    name = f"sttft{os.getpid() % 100_000}"
    made = []
    try:
        for number in (0, 1):
            made.append(_ip("netns", "add", f"{name}{number}"))
        made.append(_ip("link", "add", f"{name}0", "netns", f"{name}0", "type", "veth", "peer", "name", f"{name}1", "netns", f"{name}1"))
        for number in (0, 1):
            within = ("-n", f"{name}{number}")
            made.append(_ip(*within, "addr", "add", f"10.77.19.{number + 1}/24", "dev", f"{name}{number}"))
            made += [_ip(*within, "link", "set", device, "up") for device in (f"{name}{number}", "lo")]
        if not all(made):
            pytest.skip("no network namespaces here: they take Linux, iproute2 and root")
        two = Machines(name, tmp_path)
        yield two
        for number in list(two.running):
            two.fail(number)
    finally:
        for number in (0, 1):
            _ip("netns", "del", f"{name}{number}")


def _ip(*words: str) -> bool:
    try:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
def test_a_machine_dies_and_comes_back_and_the_run_ends_as_undisturbed(trained, written_recipe, machines):
    """Whole weights, sharded over two machines, then all on one, then sharded again; each time from the newest checkpoint."""
    changes = {
        "lora": {"rank": None, "heads": "full"}, "optim": {"lr": 3e-4}, "schedule": {"max_steps": NUM_STEPS}, "batch": {"batch_size": 5},
        "validation": {"every_steps": 5, "listen": False, "best_metric": "loss"}, "checkpoint": {"keep": 1},
    }  # fmt: skip
    config = written_recipe(changes)
    run = Outcome(config)

    def num_rows() -> int:
        path = run.directory / "metrics.train.jsonl"
        return len(run.rows("train")) if path.exists() else 0

    for number in (0, 1):
        machines.start(number, config, nodes="1:2", restarts=2)
    machines.until(lambda: num_rows() >= 9)
    machines.fail(1)
    machines.until(lambda: machines.said(0).count("going on after step") == 1)
    machines.start(1, config, nodes="1:2", restarts=2)
    codes = machines.ended()
    assert codes == [0, 0], machines.said(0)[-3000:]
    assert "stt-ft: torchrun: another process of this run is gone (" in machines.said(0)
    assert "Traceback" not in machines.said(0)
    one = trained(1, changes)
    for ours, theirs in zip(run.rows("train"), one.rows("train"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_a_mistake_ends_torchrun_on_both_machines(written_recipe, machines, tmp_path):
    """It is said once on each, and not tried again though torchrun may."""
    config = written_recipe({})
    other = _changed(config, run_dir=str(tmp_path / "elsewhere"))
    machines.start(0, config, nodes="2", restarts=3)
    machines.start(1, other, nodes="2", restarts=3)
    assert 0 not in machines.ended()
    for number in (0, 1):
        assert machines.said(number).count("elsewhere: is not one directory for all processes; process 1 of 2") == 1
    assert not (tmp_path / "elsewhere").exists()

"""Two processes that stay while many short runs are trained in them: torch is imported once, and a hang ends one test, not all."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from stt_ft.stages.finetune import train
from stt_ft.training import parallel

NUM_PROCESSES = 2

PATIENCE_S = 120.0
"""After this long processes count as waiting for each other; a run takes a second or two."""


class TwoProcesses:
    """What `torchrun --nproc-per-node 2` starts, without starting it anew for every run."""

    def __init__(self) -> None:
        self._workers: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def train(self, config: Path, other: Path | None = None) -> None:
        """Train the recipe of `config` in both processes, or in the second one that of `other`.

        Raises:
            AssertionError: a process failed, with its traceback; or they wait for each other.
        """
        if not self._workers:
            self._workers = [_start(rank) for rank in range(NUM_PROCESSES)]
        port = free_port()
        for (_, connection), own in zip(self._workers, (config, other or config), strict=True):
            connection.send((str(own), port))
        answered = [connection.poll(PATIENCE_S) for _, connection in self._workers]
        if not all(answered):
            said = [connection.recv() for (_, connection), has_answered in zip(self._workers, answered, strict=True) if has_answered]
            self.close()
            raise AssertionError(f"processes that answered within {PATIENCE_S:.0f} s: {answered}; the others wait. They said: {said}")
        failures = [connection.recv() for _, connection in self._workers]
        assert failures == [None] * NUM_PROCESSES, "\n".join(f"process {rank}: {text}" for rank, text in enumerate(failures))

    def close(self) -> None:
        """End both processes."""
        for process, connection in self._workers:
            process.kill()
            process.join()
            connection.close()
        self._workers = []


def _start(rank: int) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(rank, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _work(rank: int, connection: Connection) -> None:
    """Train what comes, as process number `rank`, and answer None or why that failed."""
    parallel.SHARED_WITHIN_S = 0.5
    while True:
        try:
            config, port = connection.recv()
        except EOFError:  # the tests are over
            return
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(NUM_PROCESSES), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
        )
        try:
            train(config)
            connection.send(None)
        except (Exception, SystemExit):
            connection.send(traceback.format_exc())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

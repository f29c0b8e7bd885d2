"""The cores that a process may use, the threads that it takes for them, and how those threads wait for each other.

torch gives each parallel stretch of its work to a thread a core (OpenMP), and a thread that is done first spins until the last one is.
Where another program takes one of the cores, that one is late each time: 40 steps of listening took up to 27 s in place of 0.3. A thread
that soon sleeps leaves its core to the late one. So nobody counts the cores that are free, which would be another number in a second,
and with which the last bit of a sum would change: the number of threads is the same however busy the machine is.

Number and manner are read from the environment when torch is loaded: `settle_threads` comes before that. What a user has set there stays.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux says of which control groups this process is, and where their limits are."""

SPIN_COUNT = "10000"
"""Rounds that a thread spins before it sleeps, half a millisecond: nearly all waits of a machine at rest are shorter, and on a busy one no
more is lost by each. GNU's own count is 300,000. Without any, training takes a fifth longer at rest (docs/decisions.md)."""

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What says how threads of OpenMP wait; torch comes with GNU's (Linux) or LLVM's (macOS)."""


def num_cores() -> int:
    """Return the cores that this process may use: those it is bound to, or fewer where a container has a quota of their time."""
    return max(1, math.floor(min([_bound_cores(), *_quotas()])))


def settle_threads() -> None:
    """Let the threads of torch soon sleep while they wait for each other, and let it take no more of them than a quota grants."""
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    if num_cores() < _bound_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(num_cores()))


def take_threads(num_threads: int) -> None:
    """Let torch use `num_threads` threads in this process, whether it is loaded or not."""
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)


def threads_for(num_workers: int) -> int:
    """Return the threads that each of `num_workers` processes on this machine should take: an equal share of the cores, or what
    OMP_NUM_THREADS says."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else max(1, num_cores() // num_workers)


def _bound_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> list[float]:
    """Return the cores' worth of time that each control group around this process grants, of both versions of Linux's."""
    try:
        groups = [line.split(":", 2) for line in _OWN_GROUPS.read_text().splitlines()]
    except OSError:
        return []
    quotas = []
    for _, controllers, path in (group for group in groups if len(group) == 3):
        root = _GROUPS / controllers if controllers else _GROUPS
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                quotas += _quota_of(folder)
    return quotas


def _quota_of(group: Path) -> list[float]:
    """Return the quota of the control group with this folder, in cores; empty where it has none."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return [int(quota) / int(period)] if quota.isdecimal() and int(period) else []
    except (OSError, ValueError):
        return []

"""How work is spread: in this process, over processes of this machine, or over the machines of a Ray cluster.

A *worker* is a plain class. Its instance is made once in each process, where it loads its model; called with a batch (a list of small
items) it returns one small result for each. It keeps nothing between batches and writes nothing: what it returns goes to the process that
asked, which alone writes. The same class does the same work anywhere, and so the same results come in the same order from any engine.

    engine = Engine(name="ray", workers=8, gpus_per_worker=0.5)
    for clip, found in engine.results(functools.partial(Annotator, dataset, options), batches):
        ...

An item that kills its process (out of memory, a fault in a native library) is tried `MAX_DEATHS` times, then set aside: its result is
`SetAside`, and the work goes on. On Ray the same holds for a machine that dies; another takes its batches.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import itertools
import logging
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from stt_ft.core.cores import num_cores, take_threads, threads_for
from stt_ft.core.errors import ConfigError, MissingExtra, SttFtError

Item = TypeVar("Item")
Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])

Worker = Callable[[list[Item]], Sequence[Result]]
"""An instance of a worker class: called with a batch, it returns one result for each item."""

MAX_DEATHS = 3
"""Processes that an item, alone in its batch, may take down before it is set aside."""

WORKER_NUMBER = "STT_FT_WORKER"
"""Environment variable of a process of the pool: its number, counted from 0, by which it takes a GPU of its own (`model/device.py`)."""

_LEAST_ITEMS_FOR_PROCESSES = 32
"""For less work than this, processes are started only where somebody asks for them: each takes a second to begin."""

_BATCHES_AHEAD = 2
"""Batches that wait for each process of the pool: enough that none is idle, and few are lost when one dies."""

_MOST_TASKS = 4000
"""Tasks into which Ray's work is divided at most; each costs some milliseconds in the process that asked."""

_SAMPLE_S, _SAMPLE_BATCHES = 10.0, 4
"""An estimate ends after so many seconds, or so many batches a worker."""


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """In the place of a result: why there is none. Results that may have a fault call it so, too."""

    fault: str


_KILLER = SetAside(fault=f"it killed its worker {MAX_DEATHS} times, and is set aside")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where workers run.

    Attributes:
        name: `local` for this machine, `ray` for a cluster.
        address: of the Ray cluster: HOST:PORT, `auto` for the one that this machine is part of; None starts one here.
        workers: processes; None for what suits the work (`local`: this process where the worker is a model that uses all cores by itself,
            else one a core; `ray`: as many as the cluster has room for).
        gpus_per_worker: share of a GPU that Ray sets aside for a worker.
    """

    name: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("local", "ray"):
            raise ConfigError(f"--engine must be local or ray, got {self.name!r}")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be positive, got {self.workers}")
        if self.gpus_per_worker < 0:
            raise ConfigError(f"--gpus_per_worker must not be negative, got {self.gpus_per_worker}")
        if self.name == "local" and (self.address is not None or self.gpus_per_worker):
            raise ConfigError("--address and --gpus_per_worker go with --engine ray")

    @property
    def is_here(self) -> bool:
        """Whether a worker that keeps all cores busy runs in this very process."""
        return self.name == "local" and self.workers in (None, 1)

    def results(
        self, make_worker: Callable[[], Worker[Item, Result]], batches: Sequence[Sequence[Item]], *, cores: bool = False
    ) -> Iterator[tuple[Item, Result | SetAside]]:
        """Yield each item with its result, in the order of `batches`, whoever was done first.

        Args:
            make_worker: makes a worker; can be pickled, as a class is, or `functools.partial` of one with small arguments.
            batches: can be pickled.
            cores: whether a worker keeps one core busy and no more, so that by default there is one for each.

        Raises:
            SttFtError: what a worker raises of this kind ends the work. A worker tells of the fault of one item by its result.
        """
        if self.name == "ray":
            yield from _ray_results(self, make_worker, batches)
            return
        num_workers = self._processes(batches, cores=cores)
        if num_workers <= 1:
            worker = make_worker() if batches else None
            for batch in batches:
                assert worker is not None
                yield from zip(batch, worker(list(batch)), strict=True)
            return
        yield from _Pool(make_worker, num_workers).results(batches)

    def estimate(self, make_worker: Callable[[], Worker[Item, Result]], batches: Sequence[Sequence[Item]], *, cores: bool = False) -> str:
        """Do a sample of the work, forget its results, and return how much there is and how long it will take, in words."""
        total, spent_s = sum(map(len, batches)), list[float]()
        step = max(1, len(batches) // (_SAMPLE_BATCHES * (self.workers or num_cores())))
        begin_s = time.monotonic()
        for _, took_s in self.results(functools.partial(_Stopwatch, make_worker), batches[::step], cores=cores):
            if isinstance(took_s, float):
                spent_s.append(took_s)
            if time.monotonic() - begin_s > _SAMPLE_S and spent_s:
                break
        if not spent_s:
            return f"{total} to do"
        num_workers = self.workers or _room_on_ray(self) if self.name == "ray" else self._processes(batches, cores=cores)
        rate = num_workers * len(spent_s) / max(sum(spent_s), 1e-9)
        return f"{total} to do, {rate:.1f} a second by {num_workers} worker{'s' if num_workers > 1 else ''}: about {in_words(total / rate)}"

    def _processes(self, batches: Sequence[Sequence[Any]], *, cores: bool) -> int:
        """Return how many processes of this machine share the work."""
        is_little = sum(map(len, batches)) < _LEAST_ITEMS_FOR_PROCESSES
        return min(self.workers or (num_cores() if cores and not is_little else 1), len(batches))


LOCAL = Engine()
"""This machine, as suits the work."""


def in_words(seconds: float) -> str:
    """Return a length of time as people say it: "40 s", "12 min", "3.5 hours", "6 days"."""
    for unit, size_s in (("days", 86_400.0), ("hours", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.2g} {unit}" if seconds < 10 * size_s else f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def batched(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return `items` in batches of `size`, the last one perhaps smaller."""
    return [items[first : first + size] for first in range(0, len(items), size)]


_FLAGS: dict[str, tuple[Any, Any, str]] = {
    "engine": (Literal["local", "ray"], "local", "local: this machine; ray: a Ray cluster (extra ray), which goes on when a machine dies."),
    "address": (str | None, None, "of the Ray cluster: HOST:PORT, or auto for that of this machine; by default one is started here."),
    "workers": (int | None, None, "processes to share the work; by default what suits it."),
    "gpus_per_worker": (float, 0.0, "share of a GPU for each worker on Ray: 0.5 puts two on one."),
}  # fmt: skip
"""Flag -> its type, default and documentation, of every command that can be spread."""


def spread(function: Function) -> Function:
    """Give a stage, which has a parameter `engine: Engine`, the flags --engine, --address, --workers and --gpus_per_worker in its place.

    From Python, `engine` may be an `Engine` as well.
    """

    @functools.wraps(function)
    def stage(*args: Any, **kwargs: Any) -> Any:
        engine = kwargs.pop("engine", "local")
        if isinstance(engine, Engine):
            return function(*args, engine=engine, **kwargs)
        flags = {name: kwargs.pop(name, default) for name, (_, default, _) in _FLAGS.items() if name != "engine"}
        return function(*args, engine=Engine(name=engine, **flags), **kwargs)

    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "engine"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default, _) in _FLAGS.items()
    ]
    stage.__signature__ = signature.replace(parameters=[*own, *added])  # pyright: ignore[reportAttributeAccessIssue]
    hints = {name: kind for name, kind in function.__annotations__.items() if name != "engine"}
    stage.__annotations__ = {**hints, **{name: kind for name, (kind, _, _) in _FLAGS.items()}}
    documented = "".join(f"\n        {name}: {text}" for name, (_, _, text) in _FLAGS.items())
    stage.__doc__ = f"{(function.__doc__ or '').rstrip()}{documented}\n    "
    return stage  # pyright: ignore[reportReturnType]


class _Stopwatch:
    """A worker whose results are the seconds that another one takes for an item, whatever it finds and however long its model loads."""

    def __init__(self, make_worker: Callable[[], Worker[Any, Any]]) -> None:
        self._worker = make_worker()

    def __call__(self, batch: list[Any]) -> list[float]:
        begin_s = time.monotonic()
        self._worker(batch)
        return [(time.monotonic() - begin_s) / len(batch)] * len(batch)


# --- Processes of this machine ------------------------------------------------------------------------------------------------------

_worker: Any = None
"""The worker of a process of the pool; None in any other process."""


def _begin(make_worker: Callable[[], Any], numbers: Any, num_threads: int) -> None:
    """Make the worker of a new process of the pool, or keep why it cannot be made."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ[WORKER_NUMBER] = str(numbers.get())
    take_threads(num_threads)
    try:
        _worker = make_worker()
    except Exception as error:
        _worker = _Refusal(error)


def _end_with_parent() -> None:
    """End this process when the one that asked is gone: nobody waits for what it finds."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(batch: list[Any]) -> list[Any]:
    return list(_worker(batch))


class _Refusal:
    """In the place of a worker that could not be made: raises why. A process that died of it would pass for one that an item killed."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, batch: list[Any]) -> list[Any]:
        raise self.error


@contextlib.contextmanager
def _script_untold() -> Iterator[None]:
    """Let processes that start meanwhile not know of the script that asks: a new one would run it from its first line, up to the call that
    starts processes, wherever that is not under `if __name__ == "__main__"`. Workers are of modules."""
    main = vars(sys.modules["__main__"])
    kept = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


class _Pool:
    """Processes of this machine, each with a worker of its own."""

    def __init__(self, make_worker: Callable[[], Any], num_workers: int) -> None:
        self._make_worker = make_worker
        self._num_workers = num_workers

    def results(self, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, Any]]:
        """Yield items and results in order. A batch whose process died is done again, item by item."""
        pending = iter(batches)
        waiting: collections.deque[tuple[Sequence[Any], Future[list[Any]]]] = collections.deque()
        pool = self._open(self._num_workers)
        try:
            while True:
                for batch in itertools.islice(pending, _BATCHES_AHEAD * self._num_workers - len(waiting)):
                    waiting.append((batch, self._submit(pool, batch)))
                if not waiting:
                    return
                batch, future = waiting.popleft()
                try:
                    done = future.result()
                except BrokenProcessPool:
                    pool.shutdown(wait=True, cancel_futures=True)
                    for each, others in [(batch, future), *waiting]:
                        survived = others.done() and others.exception() is None
                        yield from zip(each, others.result() if survived else self._one_by_one(each), strict=True)
                    waiting.clear()
                    pool = self._open(self._num_workers)
                else:
                    yield from zip(batch, done, strict=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _open(self, num_workers: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        numbers = context.SimpleQueue()
        for number in range(num_workers):
            numbers.put(number)
        told = (self._make_worker, numbers, threads_for(self._num_workers))
        return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin, initargs=told)

    def _submit(self, pool: ProcessPoolExecutor, batch: Sequence[Any]) -> Future[list[Any]]:
        try:
            with _script_untold():
                return pool.submit(_work, list(batch))
        except BrokenProcessPool as broken:
            future: Future[list[Any]] = Future()
            future.set_exception(broken)
            return future

    def _one_by_one(self, batch: Sequence[Any]) -> list[Any]:
        """Return the results of a batch in which an item may have killed its process; nothing else runs meanwhile."""
        results: list[Any] = []
        pool = self._open(1)
        try:
            for item in batch:
                result: Any = _KILLER
                for _ in range(MAX_DEATHS):
                    try:
                        (result,) = self._submit(pool, [item]).result()
                        break
                    except BrokenProcessPool:
                        pool.shutdown(wait=True)
                        pool = self._open(1)
                results.append(result)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return results


# --- The machines of a Ray cluster --------------------------------------------------------------------------------------------------


def _ray_results(engine: Engine, make_worker: Callable[[], Any], batches: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield items and results in order, from workers that are actors of Ray Data; it feeds them, restarts them and tries anew."""
    if not batches:
        return
    ray = _ray(engine)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Ledger).remote()
    rows = [{"number": number, "batch": pickle.dumps(list(batch))} for number, batch in enumerate(batches)]
    room = ray.data.ActorPoolStrategy(size=engine.workers) if engine.workers else ray.data.ActorPoolStrategy(min_size=1)
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_TASKS)).map(
        _RayWorker, fn_constructor_args=(make_worker, ledger), compute=room, num_cpus=1, num_gpus=engine.gpus_per_worker or None
    )
    for number, row in enumerate(dataset.iter_rows()):
        done = pickle.loads(row["done"])
        if isinstance(done, SttFtError):
            raise done
        yield from zip(batches[number], done, strict=True)


def _ray(engine: Engine) -> Any:
    """Return the module ray, joined to its cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own words for what is told here in one line, or no fault
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "ray", "--engine ray") from None
    if not ray.is_initialized():
        own: dict[str, Any] = {"num_cpus": engine.workers, "include_dashboard": False}
        try:  # "local": told no address, Ray would join one that already runs here
            ray.init(engine.address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if engine.address else own))
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            if not engine.address:
                raise ConfigError(f"--engine ray: Ray cannot be started on this machine: {reason}") from None
            hint = "" if "RAY_AUTH_MODE" in os.environ else "; one that asks for a token wants RAY_AUTH_MODE=token here (docs/cluster.md)"
            raise ConfigError(f"--address {engine.address}: no Ray cluster can be joined there: {reason}{hint}") from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


def _room_on_ray(engine: Engine) -> int:
    """Return how many workers the cluster has room for."""
    held = _ray(engine).cluster_resources()
    rooms = [held.get("CPU", 1.0), *([held.get("GPU", 0.0) / engine.gpus_per_worker] if engine.gpus_per_worker else [])]
    return max(1, math.floor(min(rooms)))


class _Ledger:
    """Counts in one place how often each batch and each item was begun, so that whoever takes up a dead worker's batch knows of it."""

    def __init__(self) -> None:
        self._begun: collections.Counter[tuple[int, ...]] = collections.Counter()

    def begin(self, *place: int) -> int:
        """Note that a batch (its number), or an item (and its place in the batch), is begun; return how often it was begun before."""
        self._begun[place] += 1
        return self._begun[place] - 1

    def survive(self, *place: int) -> None:
        """Forget what was begun of an item that is done: its worker may die of another."""
        del self._begun[place]

    def end(self, number: int) -> None:
        """Forget a batch that is done."""
        for place in [place for place in self._begun if place[0] == number]:
            del self._begun[place]


class _RayWorker:
    """An actor: makes the worker and calls it for each row of Ray Data."""

    def __init__(self, make_worker: Callable[[], Any], ledger: Any) -> None:
        self._ledger = ledger
        try:
            self._worker = make_worker()
        except Exception as error:
            self._worker = _Refusal(error)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        number, batch = int(row["number"]), pickle.loads(row["batch"])
        try:
            died_before = self._ask("begin", number) > 0
            done: Any = self._one_by_one(number, batch) if died_before else list(self._worker(batch))
            self._ask("end", number)
        except SttFtError as error:
            done = error
        return {"done": pickle.dumps(done)}

    def _one_by_one(self, number: int, batch: list[Any]) -> list[Any]:
        """Return the results of a batch during which a worker died, without the items that took down too many."""
        results: list[Any] = []
        for place, item in enumerate(batch):
            is_killer = self._ask("begin", number, place) >= MAX_DEATHS
            results.append(_KILLER if is_killer else self._worker([item])[0])
            if not is_killer:
                self._ask("survive", number, place)
        return results

    def _ask(self, what: str, *place: int) -> int:
        import ray

        return ray.get(getattr(self._ledger, what).remote(*place))

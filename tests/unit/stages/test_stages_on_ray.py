"""The stages on Ray: the same bytes as in one process, and nothing lost with a machine that dies in the middle."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stt_ft.align.workers import AlignerOptions, Annotator
from stt_ft.core.engine import LOCAL, Engine
from stt_ft.core.manifest import Dataset
from stt_ft.stages.dataset import check
from stt_ft.stages.evaluate import evaluate
from stt_ft.stages.finetune import encode
from stt_ft.stages.synthesize import synthesize
from stt_ft.stages.words import annotate, convert

pytestmark = pytest.mark.slow


@pytest.fixture
def three_machines():
    """A Ray cluster of three machines, each a raylet of its own with one core; yields a function that kills one of them."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'stt-ft[ray]'")
    from ray.cluster_utils import Cluster

    ray.shutdown()
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    room = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**room, "include_dashboard": False})
    others = [cluster.add_node(**room) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield lambda: cluster.remove_node(others.pop(), allow_graceful=False)
    ray.shutdown()
    cluster.shutdown()


def test_every_stage_leaves_the_same_bytes_as_in_one_process(recorded, tmp_path, tree_hash, ray_here, capsys):
    def stages(directory: Path, **where: Any) -> tuple[str, list[str], str]:
        data = shutil.copytree(recorded, directory / "orders")
        annotate(str(data), aligner="sphinx", **where)
        convert(str(data), **where)
        encode(str(data), base="tiny", **where)
        synthesize(str(data), out=str(directory / "synthetic"), count=6, **where)
        capsys.readouterr()
        check(str(data), **where)
        problems = [line for line in capsys.readouterr().err.splitlines() if line.startswith("audio/")]
        Dataset(data).write_clips("heldout", Dataset(data).clips("train")[:4])
        evaluate("tiny", data, out=directory / "report", smart_turn="none", silero=False, set_on=None, **where)
        for kept in (data / "tokens" / "sounds.npy", directory / "synthetic" / "tokens" / "sounds.npy"):
            kept.unlink(missing_ok=True)  # has the times of files
        frames = (directory / "report" / "frames.jsonl").read_text()
        return tree_hash(data) + tree_hash(directory / "synthetic"), problems, frames

    assert stages(tmp_path / "ray", engine="ray", workers=2) == stages(tmp_path / "here")


def test_a_machine_that_dies_in_the_middle_loses_nothing(recorded, three_machines: Callable[[], None]):
    data = Dataset.open(recorded)
    clips = data.clips() * 3
    batches = [[clip] for clip in clips]
    options = AlignerOptions(name="sphinx", model="", language="en", device="cpu", batch_size=1)
    make = functools.partial(Annotator, data, options)
    found = []
    for number, one in enumerate(Engine(name="ray", workers=3).results(make, batches)):
        found.append(one)
        if number == 5:
            three_machines()
    assert found == list(LOCAL.results(make, batches))
    assert len(found) == len(clips)

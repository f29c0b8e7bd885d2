"""A machine of a Ray cluster that dies in the middle: nothing is lost."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import pytest

from stt_ft.align.workers import AlignerOptions, Annotator
from stt_ft.core.engine import LOCAL, Engine
from stt_ft.dataset.manifest import Dataset

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


def test_a_ray_of_its_own_is_started_beside_one_that_runs(recorded, three_machines: Callable[[], None]):
    import ray

    ray.shutdown()  # the three machines go on without this process
    data = Dataset.open(recorded)
    batches = [[clip] for clip in data.clips()[:2]]
    make = functools.partial(Annotator, data, AlignerOptions(name="sphinx", model="", language="en", device="cpu", batch_size=1))
    assert list(Engine(name="ray", workers=1).results(make, batches)) == list(LOCAL.results(make, batches))
    assert len(ray.nodes()) == 1

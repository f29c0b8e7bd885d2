"""The way that people start several processes: `torchrun … -m stt_ft train CONFIG`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from short_runs import Outcome

import stt_ft

LABELS = {"labels": {"style": "base"}, "batch": {"batch_size": 5}}


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does_and_learns_the_same_labels(trained, written_recipe):
    """The base, asked by the first process alone, says how labels are written; all learn them so."""
    one, config = trained(1, LABELS), written_recipe(LABELS)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    done = subprocess.run([*launcher, "-m", "stt_ft", "train", str(config)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    two = Outcome(config)
    for ours, theirs in zip(two.rows("train"), one.rows("train"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    labels = [json.loads((run.directory / "labels.json").read_bytes()) for run in (one, two)]
    assert labels[0] == labels[1]
    assert len(labels[0]["styles"]) == 12 + 4  # train, dev
    assert done.stderr.count("steps done") == 1, "more than one process speaks"

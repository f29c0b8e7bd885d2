"""The way that people start several processes: `torchrun … -m stt_ft train CONFIG`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from short_runs import Outcome
from two_processes import free_port

import stt_ft

FAKES = {  # two tasks on this machine, as SLURM would start one on each of two
    "scontrol": "echo localhost; echo node-2",
    "srun": 'while case "$1" in --*) ;; *) false ;; esac; do shift; done; SLURM_PROCID=1 "$@" & SLURM_PROCID=0 "$@" && wait $!',
}

DIES_ONCE = """
import os, threading, time

def die():
    while not os.path.exists(os.environ["DIES_AT"]):
        time.sleep(0.01)
    os._exit(9)

if os.environ.get("RANK") == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    threading.Thread(target=die, daemon=True).start()
"""
"""A `sitecustomize` of Python: the second process dies once, when there is the file named in DIES_AT."""

LABELS = {"labels": {"style": "base"}, "batch": {"batch_size": 5}}


@pytest.mark.slow
def test_the_slurm_script_of_the_documentation_trains_as_one_process_does(trained, written_recipe, tmp_path):
    """SLURM's commands are stand-ins, torchrun and what it starts are real. A process dies, and is begun anew in its place.

    The base, asked by the first process alone, says how labels are written; all learn them so.
    """
    one, config = trained(1, LABELS), written_recipe(LABELS)
    text = (Path(stt_ft.__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
    [script] = re.findall(r"^#!/bin/bash\n.*?(?=^```)", text, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "slurm.sh"
    path.write_text(script.replace("port=$((29500 +", f"port=$(({free_port()} + 0 *"))
    (tmp_path / "sitecustomize.py").write_text(DIES_ONCE)
    for name, command in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}:{Path(stt_ft.__file__).parents[1]}",
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "1",
        "DIES_AT": str(config.parent / "run" / "metrics.train.jsonl"),
    }  # fmt: skip
    done = subprocess.run(["bash", str(path), str(config)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    two = Outcome(config)
    for ours, theirs in zip(two.rows("train"), one.rows("train"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    labels = [json.loads((run.directory / "labels.json").read_bytes()) for run in (one, two)]
    assert labels[0] == labels[1]
    assert len(labels[0]["styles"]) == 12 + 4  # train, dev
    assert done.stderr.count("failed (exitcode: 9)") == 1
    assert done.stderr.count("steps done") == 1, "more than one process speaks"

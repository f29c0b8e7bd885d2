"""The stages on Ray: the same bytes as in one process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stt_ft.dataset.manifest import Dataset
from stt_ft.stages.dataset import check
from stt_ft.stages.evaluate import evaluate
from stt_ft.stages.finetune import encode
from stt_ft.stages.synthesize import synthesize
from stt_ft.stages.words import annotate, convert

pytestmark = pytest.mark.slow


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
        evaluate("tiny", data, out=directory / "report", smart_turn="none", serving="unmute", draws=2, set_on=None, **where)
        for kept in (data / "tokens" / "sounds.npy", directory / "synthetic" / "tokens" / "sounds.npy"):
            kept.unlink(missing_ok=True)  # has the times of files
        frames = (directory / "report" / "frames.jsonl").read_text()
        return tree_hash(data) + tree_hash(directory / "synthetic"), problems, frames

    assert stages(tmp_path / "ray", engine="ray", workers=2) == stages(tmp_path / "here")

"""The path from encode to transcribe through the command line, on random weights: every stage runs and reads what the one before left."""

from __future__ import annotations

import json

from random_models import write_dataset

from stt_ft.cli import main

RECIPE = """
dataset: {dataset}
run_dir: {run_dir}
base: {base}
precision: float32
device: cpu
threads: 1
lora: {{rank: 4}}
schedule: {{max_steps: 3}}
validation: {{every_steps: 3}}
"""


def test_the_path_from_encode_to_transcribe(random_base, tmp_path, capsys):
    data = write_dataset(tmp_path / "orders", {"train": 4, "dev": 2})
    base, run, merged, exported = random_base.directory, tmp_path / "run", tmp_path / "merged", tmp_path / "candle"
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(dataset=data.directory, run_dir=run, base=base))
    for words in (
        ("encode", data.directory, "--base", base),
        ("train", tmp_path / "recipe.yaml", "--optim.lr", "1e-3"),
        ("merge", run, "--out", merged),
        ("export", merged, "--out", exported),
    ):
        code, captured = main([str(word) for word in words]), capsys.readouterr()
        assert code == 0, captured.err
        assert captured.out == ""
    wav = data.audio_path(data.clips("dev")[0])
    assert main(["transcribe", str(exported), str(wav), "--json"]) == 0
    heard = json.loads(capsys.readouterr().out)
    assert heard["audio"] == str(wav)
    assert len(heard["pause"][0]) == 4
    assert main(["export", str(merged), "--out", str(tmp_path / "onnx"), "--format", "onnx"]) == 2
    assert "onnx" in capsys.readouterr().err
    assert not (tmp_path / "onnx").exists()

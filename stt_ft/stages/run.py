"""Everything between recordings and a proven model, from one recipe: annotate, convert, check, encode, train, merge, export, evaluate.

stt-ft run configs/stt_1b_digits.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stt_ft.stages import stage_step


def run(config: str, *, overrides: dict[str, Any] | None = None) -> None:
    """Run every stage of a recipe in order, skipping what is up to date.

    The dataset must exist (`stt-ft record` or `stt-ft ingest` make one) and be split (`stt-ft split`). A stage runs again when its options,
    its files or the stage before it changed.

    Args:
        config: recipe file, such as configs/stt_1b_digits.yaml.
        overrides: keys of the recipe given as flags; they win over the file.
    """
    from stt_ft.core.config import config_files, load_config
    from stt_ft.core.errors import DatasetError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say
    from stt_ft.core.recipe import Recipe
    from stt_ft.core.steps import run_steps

    recipe = load_config(Recipe, config, overrides or {})
    dataset = Dataset.open(recipe.dataset)
    if "heldout" not in dataset.splits():
        raise DatasetError(f"{recipe.dataset}: no heldout split to evaluate on; make it first: stt-ft split {recipe.dataset}")
    run_dir = Path(recipe.run_dir)
    merged, export, report = (run_dir / name for name in ("merged", "candle", "evaluation"))
    manifests = [dataset.manifest_path(split) for split in dataset.splits()]

    aligner: dict[str, Any] = {"aligner": recipe.annotate.aligner, "model": recipe.annotate.model}
    copies = {"speeds": list(recipe.augment.speeds), "channels": list(recipe.augment.channels)}
    run_steps(
        [
            stage_step("annotate", recipe.dataset, **aligner, inputs=manifests),
            stage_step("convert", recipe.dataset, style=recipe.convert.style),
            stage_step("check", recipe.dataset, base=recipe.base),
            stage_step("encode", recipe.dataset, base=recipe.base, **copies),
            stage_step("train", config, overrides=overrides or {}, inputs=config_files(config), outputs=[run_dir / "checkpoints"]),
            stage_step("merge", recipe.run_dir, out=str(merged), overwrite=True, outputs=[merged]),
            stage_step("export", str(merged), out=str(export), overwrite=True, outputs=[export]),
            stage_step(
                "evaluate",
                str(merged),
                recipe.dataset,
                out=str(report),
                baseline=recipe.base,
                run_dir=recipe.run_dir,
                outputs=[report / "report.json"],
            ),
        ],
        records=run_dir / ".stages",
    )
    say(f"report     {report / 'report.html'}")
    say(f"model      {merged}")
    say(f"for Rust   {export}")

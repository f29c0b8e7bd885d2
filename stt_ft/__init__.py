"""Fine-tune Kyutai's streaming speech-to-text models so that dictated numbers come out as words, promptly.

    from stt_ft import Transcriber, merge, train

    model = merge(train("configs/stt_1b_digits.yaml"), out="models/orders")
    transcriber = Transcriber.open(model)

The names below are the public face: docs/api.md shows each at work, and what else is in the package may change with any version. They are
imported when they are first asked for, so that `import stt_ft` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stt_ft.audio.files import read_audio
    from stt_ft.core.errors import SttFtError
    from stt_ft.core.recipe import Recipe, load_recipe
    from stt_ft.dataset.manifest import Clip, Dataset
    from stt_ft.dataset.sidecar import Word
    from stt_ft.evaluation.report import Report
    from stt_ft.model.checkpoint_dir import ModelDir, open_model
    from stt_ft.model.transcriber import Transcriber, Transcript
    from stt_ft.stages.evaluate import evaluate
    from stt_ft.stages.finetune import encode, merge, train
    from stt_ft.stages.handover import export as export_model
    from stt_ft.stages.words import annotate, convert
    from stt_ft.text.inverse.written_numbers import NumberWriter, write_numbers

__version__ = "0.2.0"

__all__ = [
    "Clip",
    "Dataset",
    "ModelDir",
    "NumberWriter",
    "Recipe",
    "Report",
    "SttFtError",
    "Transcriber",
    "Transcript",
    "Word",
    "annotate",
    "convert",
    "encode",
    "evaluate",
    "export_model",
    "load_recipe",
    "merge",
    "open_model",
    "read_audio",
    "train",
    "write_numbers",
]

_HOMES = {
    "Clip": "stt_ft.dataset.manifest:Clip",
    "Dataset": "stt_ft.dataset.manifest:Dataset",
    "ModelDir": "stt_ft.model.checkpoint_dir:ModelDir",
    "NumberWriter": "stt_ft.text.inverse.written_numbers:NumberWriter",
    "Recipe": "stt_ft.core.recipe:Recipe",
    "Report": "stt_ft.evaluation.report:Report",
    "SttFtError": "stt_ft.core.errors:SttFtError",
    "Transcriber": "stt_ft.model.transcriber:Transcriber",
    "Transcript": "stt_ft.model.transcriber:Transcript",
    "Word": "stt_ft.dataset.sidecar:Word",
    "annotate": "stt_ft.stages.words:annotate",
    "convert": "stt_ft.stages.words:convert",
    "encode": "stt_ft.stages.finetune:encode",
    "evaluate": "stt_ft.stages.evaluate:evaluate",
    "export_model": "stt_ft.stages.handover:export",  # `stt_ft.export` is a room of the package
    "load_recipe": "stt_ft.core.recipe:load_recipe",
    "merge": "stt_ft.stages.finetune:merge",
    "open_model": "stt_ft.model.checkpoint_dir:open_model",
    "read_audio": "stt_ft.audio.files:read_audio",
    "train": "stt_ft.stages.finetune:train",
    "write_numbers": "stt_ft.text.inverse.written_numbers:write_numbers",
}
"""Public name -> where it is defined, as MODULE:NAME. The imports above say the same to type checkers; a test compares the two."""

if not TYPE_CHECKING:  # hidden from type checkers, which would take any name for a public one

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, attribute = _HOMES[name].partition(":")
        value = globals()[name] = getattr(importlib.import_module(module), attribute)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

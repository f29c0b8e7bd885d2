"""The formats of exports by name: how each is written, which engine runs it, and the proof that the engine agrees with PyTorch.

For the proof, the engine that will run the exported directory and PyTorch run on the same codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stt_ft.core.errors import ConfigError
from stt_ft.core.serving import KYUTAI, Serving
from stt_ft.export.agreement import PAUSE_TOLERANCE, Agreement, Heard, compare
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward, load_lm

FORMATS = ("candle", "gguf", "mlx", "transformers")

Codes = Mapping[str, np.ndarray]
"""Clip -> codec codes [n_q, T]."""

ROUNDED_SAME_TOKENS, ROUNDED_PAUSE_TOLERANCE = 0.95, 0.25
"""Agreement required of weights or products rounded to 8 bits with float32: on single frames two tokens are about equally likely.

One side is given the tokens of the other, so that a frame on which they part does not count again in all that follow.
"""


def write_format(
    format: str, model: ModelDir, out: Path, *, absolute_paths: bool = False, overwrite: bool = False, serving: Serving | None = None
) -> list[str]:
    """Write `model` to `out` in a format of `FORMATS`, its server's file for `serving` alone where it is given; return the tensors' names.

    Raises:
        MissingExtra: the format needs a package that is not installed.
        CheckpointError: what the format's own function raises, all before anything is written.
    """
    if format == "candle":
        from stt_ft.export.candle import export_candle

        return export_candle(model, out, absolute_paths=absolute_paths, overwrite=overwrite, serving=serving)
    if format == "gguf":
        from stt_ft.export.gguf import export_gguf

        return export_gguf(model, out, absolute_paths=absolute_paths, overwrite=overwrite, serving=serving)
    if format == "mlx":
        from stt_ft.export.mlx import export_mlx

        return export_mlx(model, out, overwrite=overwrite)
    from stt_ft.export.hf import export_transformers

    return export_transformers(model, out, overwrite=overwrite)


def how_to_run(format: str, model: ModelDir, out: Path) -> str:
    """Return one line that says what runs the exported directory, and what does not."""
    if format == "candle":
        line = f"run it with `moshi-server worker --config {out}/moshi-server.toml`"
        line += " (or -unmute.toml, for Unmute)" if (out / "moshi-server-unmute.toml").is_file() else ""
        foreign = "; moshi-server knows Kyutai's Mimi alone and will refuse this codec's shape, tools/candle_probe takes it"
        return line + (foreign if model.mimi_config is not None else "")
    if format == "gguf":
        return "for programs on the Rust crate moshi; moshi-server itself opens safetensors only"
    if format == "mlx":
        return "run it with moshi_mlx"
    return f'KyutaiSpeechToTextForConditionalGeneration.from_pretrained("{out}") opens it; its pause heads lie in extra_heads.safetensors'


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The program that runs a format, found and built before anything is exported.

    Attributes:
        hear: directory, codes, PyTorch's tokens (for an engine that is given them) -> its outputs.
        same_tokens, pause_tolerance: the agreement that is required.
        within_context: whether it computes the same only until the attention's context is full.
        is_rounded: whether it computes with rounded weights, and PyTorch is given its tokens.
        with_bfloat16: whether to compare it also with PyTorch in bfloat16, the type that models are trained and stored in.
    """

    name: str
    hear: Callable[[Path, Codes, Mapping[str, np.ndarray]], dict[str, Heard]]
    same_tokens: float = 1.0
    pause_tolerance: float = PAUSE_TOLERANCE
    within_context: bool = False
    is_rounded: bool = False
    with_bfloat16: bool = False


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How the engine agrees with PyTorch in float32, and for Candle with PyTorch in bfloat16 too."""

    engine: str
    agreement: Agreement
    bfloat16: Agreement | None = None

    def to_json(self) -> dict[str, object]:
        """Return the figures for programs."""
        result: dict[str, object] = {"engine": self.engine, **self.agreement.to_json()}
        return result if self.bfloat16 is None else {**result, "pytorch_bfloat16": self.bfloat16.to_json()}

    def __str__(self) -> str:
        line = f"{self.engine}: {self.agreement}"
        return line if self.bfloat16 is None else f"{line}; PyTorch in bfloat16: {self.bfloat16}"


def engine_of(format: str) -> Engine:
    """Find, and where need be build, the engine of a format.

    Raises `SttFtError`: cargo, or the package that the engine is, is not installed.
    """
    if format in ("candle", "gguf"):
        from stt_ft.export.candle import build_probe, run_on_codes

        program = build_probe()

        def hear(directory: Path, codes: Codes, _: object) -> dict[str, Heard]:
            return run_on_codes(program, directory, codes)

        if format == "candle":
            return Engine(name="Candle (float32)", hear=hear, with_bfloat16=True)
        tokens, pauses = ROUNDED_SAME_TOKENS, ROUNDED_PAUSE_TOLERANCE
        return Engine(name="Candle (q8_0)", hear=hear, is_rounded=True, same_tokens=tokens, pause_tolerance=pauses)
    if format == "mlx":
        from stt_ft.export.mlx import mlx_python, run_mlx

        python = mlx_python()
        # moshi_mlx looks back over one frame more than the context (`k_target_len` of its attention): the same until that many were heard.
        return Engine(name="moshi_mlx (float32)", hear=lambda d, codes, _: run_mlx(python, d, codes), within_context=True)
    if format == "transformers":
        from stt_ft.export.hf import run_transformers

        # Given a whole clip at once and no mask, it looks back over all of it; frame by frame, its cache keeps to the context.
        return Engine(name="transformers (float32)", hear=run_transformers, within_context=True)
    raise ConfigError(f"{format}: nothing to verify it with")


def random_clips(model: ModelDir, num_clips: int) -> dict[str, np.ndarray]:
    """Return made-up clips of 100 frames, the same ones every time."""
    rng = np.random.default_rng(0)
    card, shape = int(model.config["card"]), (model.n_q, 100)
    return {f"random {index}": rng.integers(0, card, shape).astype(np.int16) for index in range(num_clips)}


def verify_export(engine: Engine, model: ModelDir, out: Path, codes: Codes, serving: Serving = KYUTAI) -> Verification:
    """Run engine and PyTorch in float32 on the same codes and compare them by frame; raises `CheckFailed` as `Agreement.require` does.

    PyTorch hears the codebooks of `serving`; the engine those that its own file says. Neither draws tokens: chance is not compared.
    """
    heard = {clip: serving.heard(one) for clip, one in codes.items()}
    if engine.within_context:
        codes = {clip: clip_codes[:, : model.context] for clip, clip_codes in codes.items()}
        heard = {clip: one[:, : model.context] for clip, one in heard.items()}
    if engine.is_rounded:
        theirs = engine.hear(out, codes, {})
        ours = heard_when_told(model, heard, theirs, torch.float32)
    else:
        ours = heard_by_pytorch(model, heard)
        theirs = engine.hear(out, codes, {clip: heard.text_tokens for clip, heard in ours.items()})
    agreement = compare(ours, theirs)
    agreement.require(engine.name, same_tokens=engine.same_tokens, pause_tolerance=engine.pause_tolerance)
    if not engine.with_bfloat16:
        return Verification(engine=engine.name, agreement=agreement)
    bfloat16 = compare(theirs, heard_when_told(model, heard, theirs, torch.bfloat16))
    bfloat16.require("PyTorch in bfloat16", same_tokens=ROUNDED_SAME_TOKENS, pause_tolerance=ROUNDED_PAUSE_TOLERANCE)
    return Verification(engine=engine.name, agreement=agreement, bfloat16=bfloat16)


def heard_by_pytorch(model: ModelDir, codes: Codes) -> dict[str, Heard]:
    """Return the outputs of our own streaming in float32 on the CPU, in which each frame is given the token before it."""
    lm = load_lm(model, device=torch.device("cpu"), dtype=torch.float32)
    streams = stream_codes(lm, list(codes.values()))
    return {clip: Heard(text_tokens=s.text_tokens, pause_probs=s.pause_probs) for clip, s in zip(codes, streams, strict=True)}


@torch.inference_mode()
def heard_when_told(model: ModelDir, codes: Codes, written: Mapping[str, Heard], dtype: torch.dtype) -> dict[str, Heard]:
    """Return PyTorch's outputs at every frame, given the tokens of `written` before it."""
    lm, heard = load_lm(model, device=torch.device("cpu"), dtype=dtype), {}
    for clip, clip_codes in codes.items():
        told = torch.from_numpy(np.concatenate([written[clip].text_tokens[None], clip_codes]).astype(np.int64))
        output = forward(lm, told[None])
        heard[clip] = Heard(
            text_tokens=output.text_logits[0].float().argmax(dim=-1).numpy().astype(np.int32),
            pause_probs=output.head_logits[0].float().softmax(dim=-1)[..., 0].numpy(),
        )
    return heard

"""Mimi, the codec: sound in, a few codes every 80 ms out."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from safetensors import SafetensorError

from stt_ft.core import timing
from stt_ft.core.errors import CheckpointError
from stt_ft.core.provenance import file_sha256
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu

SUFFIX_S = 2.5
"""Silence after a clip and the text lag, in seconds: the last words get written in it, and the heads learn in it that the turn is over."""


def num_codebooks(model: ModelDir) -> int:
    """Return how many codebooks of Mimi the model hears (upstream `CheckpointInfo.get_mimi`)."""
    return max(model.dep_q, model.n_q - model.dep_q)


def suffix_frames(model: ModelDir) -> int:
    """Return the whole frames of silence that are encoded after a clip."""
    return timing.num_frames_covering(model.text_lag_s + SUFFIX_S)


def codec_hash(model: ModelDir) -> str:
    """Return a hash of everything but the sound that codes depend on: weights, shape, codebooks, silence before and after."""
    facts = {
        "weights": file_sha256(model.mimi_weights),
        "config": model.mimi_config,
        "num_codebooks": num_codebooks(model),
        "num_prefix_frames": model.num_prefix_frames,
        "num_suffix_frames": suffix_frames(model),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class MimiCodec:
    """The encoder of a model directory's Mimi."""

    def __init__(self, mimi: MimiModel, model: ModelDir, device: torch.device) -> None:
        self._mimi = mimi
        self._model = model
        self._device = device
        self.num_prefix_frames: int = model.num_prefix_frames
        self.num_suffix_frames: int = suffix_frames(model)

    @classmethod
    def load(cls, model: ModelDir, device: torch.device | str = "cpu") -> MimiCodec:
        """Load the codec; raises `CheckpointError` when its weights do not fit its config or the language model."""
        try:
            mimi = loaders.get_mimi(model.mimi_weights, model.mimi_config, device=device, num_codebooks=num_codebooks(model))
        except (RuntimeError, TypeError, KeyError, AssertionError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{model.mimi_weights}: these codec weights cannot be used: {reason}") from None
        if mimi.cardinality != model.config["card"] or mimi.frame_size != timing.SAMPLES_PER_FRAME:
            raise CheckpointError(
                f"{model.mimi_weights}: {mimi.cardinality} codes and {mimi.frame_size} samples a frame, "
                f"where the language model takes {model.config['card']} and {timing.SAMPLES_PER_FRAME}"
            )
        return cls(mimi, model, torch.device(device))

    @property
    def weights_hash(self) -> str:
        """See `codec_hash`."""
        return codec_hash(self._model)

    def encode(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.int16]]:
        """Encode clips of mono sound at 24 kHz, each with the model's silence prefix before and `num_suffix_frames` of silence after.

        The codec is causal, so what is padded behind a clip changes none of its codes. Still, kernels round differently by the shape of
        a batch, and a code that lies within rounding of two falls either way (18 of 72,288 codes of real speech). On a CPU, where a
        batch gains nothing, clips therefore go one by one and have the same codes in any company; a GPU takes them side by side.

        Args:
            clips: samples of each clip [N].

        Returns:
            Codes of each clip [K, T]; T counts prefix, clip (filled to a whole frame) and suffix.
        """
        if self._device.type == "cpu":
            return [codes for clip in clips for codes in self._encode_side_by_side([clip])]
        return self._encode_side_by_side(clips)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int16]]]:
        """Give a function that takes sound frame by frame, samples [1920] in, codes [K] out; it remembers what it heard before."""

        def encode_frame(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
            sound = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).to(self._device)[None, None]
            exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with torch.inference_mode(), compile_only_on_gpu(self._device), exact:
                return self._mimi.encode(sound)[0, :, 0].cpu().numpy().astype(np.int16)

        with self._mimi.streaming(1):
            yield encode_frame

    def _encode_side_by_side(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.int16]]:
        num_frames = [
            self.num_prefix_frames + timing.num_frames_covering(timing.samples_to_s(len(clip))) + self.num_suffix_frames for clip in clips
        ]
        sound = torch.zeros(len(clips), 1, max(num_frames, default=0) * timing.SAMPLES_PER_FRAME)
        start = self.num_prefix_frames * timing.SAMPLES_PER_FRAME
        for row, clip in enumerate(clips):
            sound[row, 0, start : start + len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32 would round to ten bits
        with torch.inference_mode(), compile_only_on_gpu(self._device), exact:
            codes = self._mimi.encode(sound.to(self._device)).cpu().numpy().astype(np.int16)  # [B, K, T]
        return [codes[row, :, :length].copy() for row, length in enumerate(num_frames)]

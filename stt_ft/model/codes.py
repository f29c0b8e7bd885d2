"""Codec codes: made of sound by Mimi, a few every 80 ms, and kept beside a dataset, so that no clip goes through the codec twice.

    NAME/tokens/<codec hash>/index.json          {"clips": {"<key of the sound>": "00000", …}}
    NAME/tokens/<codec hash>/00000.safetensors   key -> int16 codes [n_q, T]

A clip is known by its bytes, not its name: renamed, it is found; changed, it is encoded anew. Shards are only ever added.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from safetensors import SafetensorError

from stt_ft.audio.channel import channels_named
from stt_ft.audio.files import change_speed, read_audio
from stt_ft.core import timing
from stt_ft.core.atomic import atomic_path, write_json
from stt_ft.core.errors import AudioError, CheckpointError, DatasetError
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.progress import track
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import Version
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.safetensors_file import SafetensorsHeader, read_header

KEY_LENGTH = 16
"""Hexadecimal digits of a key: 64 bits, enough to tell billions of clips apart."""

AS_RECORDED = Version()


def codec_hash(model: ModelDir) -> str:
    """Return a hash of everything but the sound that codes depend on: weights, shape, codebooks, silence before and after."""
    facts = {
        "weights": file_sha256(model.mimi_weights),
        "config": model.mimi_config,
        "num_codebooks": model.n_q,
        "num_prefix_frames": model.num_prefix_frames,
        "num_suffix_frames": model.num_tail_frames(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class MimiCodec:
    """The encoder of a model directory's Mimi."""

    def __init__(self, mimi: MimiModel, model: ModelDir, device: torch.device) -> None:
        self._mimi = mimi
        self._model = model
        self._device = device

    @classmethod
    def load(cls, model: ModelDir, device: torch.device | str = "cpu") -> MimiCodec:
        """Load the codec; raises `CheckpointError` when its weights do not fit its config or the language model."""
        try:
            mimi = loaders.get_mimi(model.mimi_weights, model.mimi_config, device=device, num_codebooks=model.n_q)
        except (RuntimeError, TypeError, KeyError, AssertionError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{model.mimi_weights}: these codec weights cannot be used: {reason}") from None
        if mimi.cardinality != model.config["card"] or mimi.frame_size != timing.SAMPLES_PER_FRAME:
            raise CheckpointError(
                f"{model.mimi_weights}: {mimi.cardinality} codes and {mimi.frame_size} samples a frame, "
                f"where the language model takes {model.config['card']} and {timing.SAMPLES_PER_FRAME}"
            )
        return cls(mimi, model, torch.device(device))

    def encode(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.int16]]:
        """Encode clips of mono sound at 24 kHz, each with the model's silence prefix before it and `num_tail_frames` of silence after.

        The codec is causal, so what is padded behind a clip changes none of its codes. Still, kernels round differently by the shape of
        a batch, and a code that lies within rounding of two falls either way (18 of 72,288 codes of real speech). On a CPU, where a
        batch gains nothing, clips therefore go one by one and have the same codes in any company; a GPU takes them side by side.

        Args:
            clips: samples of each clip [N].

        Returns:
            Codes of each clip [K, T]; T counts prefix, clip (filled to a whole frame) and tail.
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
        around = self._model.num_prefix_frames + self._model.num_tail_frames()
        num_frames = [around + timing.num_frames_covering(timing.samples_to_s(len(clip))) for clip in clips]
        sound = torch.zeros(len(clips), 1, max(num_frames, default=0) * timing.SAMPLES_PER_FRAME)
        start = self._model.num_prefix_frames * timing.SAMPLES_PER_FRAME
        for row, clip in enumerate(clips):
            sound[row, 0, start : start + len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32 would round to ten bits
        with torch.inference_mode(), compile_only_on_gpu(self._device), exact:
            codes = self._mimi.encode(sound.to(self._device)).cpu().numpy().astype(np.int16)  # [B, K, T]
        return [codes[row, :, :length].copy() for row, length in enumerate(num_frames)]


def audio_key(path: Path) -> str:
    """Return the key of a sound file: the beginning of its SHA-256. Raises `AudioError` when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:KEY_LENGTH]
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from None


def keys_of(data: Dataset, clips: Sequence[Clip], copy: Version = AS_RECORDED) -> list[str]:
    """Return the keys under which the codes of `clips` at a speed or through a channel are kept; raises `AudioError` as `audio_key`."""
    return [audio_key(data.audio_path(clip)) + (f"@{copy.name}" if copy.name else "") for clip in clips]


class TokenStore:
    """The codes of a dataset under one codec."""

    def __init__(self, directory: Path, shard_of_key: dict[str, str]) -> None:
        self.directory = directory
        self._shard_of_key = shard_of_key
        self._headers: dict[str, SafetensorsHeader] = {}

    @classmethod
    def of(cls, data: Dataset, model: ModelDir) -> TokenStore:
        """Open the store of `data` for the codec of `model`."""
        return cls.open(data.directory, codec_hash(model))

    @classmethod
    def open(cls, dataset_dir: Path, codec_hash: str) -> TokenStore:
        """Open the store of `dataset_dir` for a codec, empty where there is none yet."""
        directory = dataset_dir / "tokens" / codec_hash[:KEY_LENGTH]
        index = directory / "index.json"
        if not index.exists():
            return cls(directory, {})
        try:
            return cls(directory, {str(key): str(shard) for key, shard in json.loads(index.read_bytes())["clips"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DatasetError(f"{index}: not an index of codes; delete {directory} and encode again") from None

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that have no codes yet, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._shard_of_key]

    def get(self, key: str) -> npt.NDArray[np.int16]:
        """Return the codes of a clip [n_q, T]; raises `DatasetError` when it has none."""
        if key not in self._shard_of_key:
            raise DatasetError(f"{self.directory}: no codes for sound {key}; run `stt-ft encode`")
        shard = self._shard_of_key[key]
        if shard not in self._headers:
            self._headers[shard] = read_header(self.directory / f"{shard}.safetensors")
        return self._headers[shard].array(key)

    def add(self, codes: Mapping[str, npt.NDArray[np.int16]]) -> None:
        """Write one more shard, then the index that names it."""
        if not codes:
            return
        taken = [int(path.stem) for path in self.directory.glob("*.safetensors") if path.stem.isdigit()]
        shard = f"{max(taken, default=-1) + 1:05d}"
        with atomic_path(self.directory / f"{shard}.safetensors") as temporary:
            safetensors.numpy.save_file({key: np.ascontiguousarray(codes[key], dtype=np.int16) for key in sorted(codes)}, temporary)
        self._shard_of_key |= dict.fromkeys(codes, shard)
        write_json(self.directory / "index.json", {"clips": self._shard_of_key})


def encoded(
    model: ModelDir, data: Dataset, sounds: Mapping[str, tuple[Clip, Version]], *, batch_size: int, device: torch.device | str
) -> Iterator[dict[str, npt.NDArray[np.int16]]]:
    """Encode sounds (key -> clip, and how it is heard) and yield their codes by key, batch by batch; sounds of like length together."""
    if not sounds:
        return
    codec = MimiCodec.load(model, device)
    keys = sorted(sounds, key=lambda key: sounds[key][0].duration_s / sounds[key][1].speed)
    for batch in track([keys[first : first + batch_size] for first in range(0, len(keys), batch_size)], "encoding batches"):
        yield dict(zip(batch, codec.encode([_sound(data, *sounds[key]) for key in batch]), strict=True))


def codes_of(
    model: ModelDir, data: Dataset, clips: Sequence[Clip], copy: Version = AS_RECORDED, *, batch_size: int, device: torch.device | str
) -> list[npt.NDArray[np.int16]]:
    """Return the codes of every clip [n_q, T], at a speed or through a channel where `copy` says so.

    Codes that are kept beside the dataset are read. Missing ones are made, and kept where the dataset can be written to.
    """
    store, keys = TokenStore.of(data, model), keys_of(data, clips, copy)
    clip_of_key = dict(zip(keys, clips, strict=True))
    made: dict[str, npt.NDArray[np.int16]] = {}
    missing = {key: (clip_of_key[key], copy) for key in store.missing(keys)}
    for codes in encoded(model, data, missing, batch_size=batch_size, device=device):
        made |= codes
        if os.access(data.directory, os.W_OK):
            store.add(codes)
    return [made[key] if key in made else store.get(key) for key in keys]


def _sound(data: Dataset, clip: Clip, copy: Version) -> npt.NDArray[np.float32]:
    """Return a clip's sound as `copy` has it, 24 kHz."""
    samples = change_speed(read_audio(data.audio_path(clip)), copy.speed)
    return samples if copy.channel is None else channels_named([copy.channel])[0].carry(samples, clip.path)

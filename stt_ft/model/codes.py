"""Codec codes, which Mimi makes of sound: encoding, and the store beside a dataset, so that no clip goes through the codec twice.

    NAME/tokens/<codec hash>/00000-<hash of its keys>.safetensors   key of a sound -> int16 codes [n_q, T]

A clip is known by the key of its sound (`audio/sounds.py`). Shards are only ever added, and each says in its header what it holds, so that
processes which encode side by side cannot overwrite or forget each other's codes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.modules.transformer import StreamingMultiheadAttention
from safetensors import SafetensorError

from stt_ft.audio.sounds import KEY_LENGTH, Sound, hash64, places_of, sounds_of
from stt_ft.core import timing
from stt_ft.core.atomic import atomic_path, is_writable, local_copy
from stt_ft.core.engine import LOCAL, Engine, SetAside, batched
from stt_ft.core.errors import AudioError, CheckpointError, DatasetError
from stt_ft.core.progress import track
from stt_ft.core.recipe import Version
from stt_ft.core.storage import check_lies_inside
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.model.checkpoint_dir import UNFIT, ModelDir, open_model
from stt_ft.model.device import compile_only_on_gpu, pick_device
from stt_ft.model.safetensors_file import candle_name, check_finite, read_header

SHARD_SIZE = 512
"""Clips in a shard: few files for a million clips, and not much to do again where `encode` was killed."""

_ENTRY = np.dtype([("key", "<u8"), ("shard", "<i4"), ("num_codebooks", "<i2"), ("num_frames", "<i4"), ("first_byte", "<i8")])
"""Where the codes of a sound lie; `key` is a hash of the key under which they are stored."""


def codec_hash(model: ModelDir) -> str:
    """Return a hash of all that codes depend on beside the sound: weights, shape, codebooks, silence before and after."""
    facts = {
        "weights": model.sha256(model.mimi_weights),
        "config": model.mimi_config,
        "num_codebooks": model.n_q,
        "num_prefix_frames": model.num_prefix_frames,
        "num_suffix_frames": model.num_tail_frames(),
        "looks_back": "as a stream",  # codes made before it did have another hash
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class MimiCodec:
    """The encoder of a model directory's Mimi."""

    def __init__(self, mimi: MimiModel, model: ModelDir, device: torch.device) -> None:
        _look_back_as_a_stream(mimi)
        self._mimi = mimi
        self._model = model
        self._device = device
        num_threads = torch.get_num_threads() if device.type == "cpu" else 0
        self._twins = [_twin(mimi) for _ in range(num_threads)]

    @classmethod
    def load(cls, model: ModelDir, device: torch.device | str = "cpu") -> MimiCodec:
        """Load the codec; raises `CheckpointError` when its weights do not fit its config or the language model, or are not finite."""
        try:
            if model.mimi_config is not None:  # of a foreign shape: held against the weights before anything of its size is made
                with torch.device("meta"):
                    shapes = loaders.get_mimi(None, model.mimi_config, device="meta", num_codebooks=model.n_q).state_dict()
                stored = {candle_name(name): spec.shape for name, spec in read_header(model.mimi_weights).tensors.items()}
                for name, tensor in shapes.items():
                    if stored.get(candle_name(name)) != tensor.shape:
                        raise ValueError(f"mimi_config.json asks for {name} of shape {list(tensor.shape)}")
            mimi = loaders.get_mimi(model.mimi_weights, model.mimi_config, device=device, num_codebooks=model.n_q)
        except (*UNFIT, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{model.mimi_weights}: these codec weights cannot be used: {reason}") from None
        if mimi.cardinality != model.config["card"] or mimi.frame_size != timing.SAMPLES_PER_FRAME:
            raise CheckpointError(
                f"{model.mimi_weights}: {mimi.cardinality} codes and {mimi.frame_size} samples a frame, "
                f"where the language model takes {model.config['card']} and {timing.SAMPLES_PER_FRAME}"
            )
        check_finite(mimi.state_dict(), model.mimi_weights)
        return cls(mimi, model, torch.device(device))

    @property
    def at_once(self) -> int:
        """Sounds that are encoded at the same time and have the codes that each has alone."""
        return max(1, len(self._twins))

    def begin_cleared(self) -> None:
        """Begin every stream as moshi-server does, which changes the codes of its first frame.

        Mimi's downsampling repeats a stream's first value before its beginning, here and in the crate. The server warms up on silence and
        then clears each stream's state to zeros (`StreamableConv1d::reset_batch_idx` in the crate's conv.rs).
        """
        for mimi in (self._mimi, *self._twins):
            downsample: Any = mimi.downsample
            downsample.conv.pad_mode = "constant"

    def encode(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.int16]]:
        """Encode clips of mono sound at 24 kHz [N], each with the model's silence prefix before it and `num_tail_frames` of silence after.

        Returns the codes of each clip [K, T]; T counts prefix, clip (filled to a whole frame) and tail.

        The codec is causal, so what is padded behind a clip changes none of its codes. Still, kernels round differently by the shape of
        a batch and by the number of threads, and a code that lies within rounding of two falls either way (18 of 72,288 codes of real
        speech). On a CPU, where a batch gains nothing, each clip therefore goes alone and through one thread, as many at a time as torch
        has threads: it has the same codes in any company, and from any number of processes. A GPU takes clips side by side.
        """
        if not self._twins:
            return self._encode_side_by_side(self._mimi, clips)
        free: queue.SimpleQueue[MimiModel] = queue.SimpleQueue()
        for twin in self._twins:
            free.put(twin)

        def encode_one(clip: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
            mimi = free.get()
            try:
                return self._encode_side_by_side(mimi, [clip])[0]
            finally:
                free.put(mimi)

        threads = ThreadPoolExecutor(len(self._twins), initializer=torch.set_num_threads, initargs=(1,))  # each its own number
        with compile_only_on_gpu(self._device), threads:  # for all: the setting is the process's
            return list(threads.map(encode_one, clips))

    @contextlib.contextmanager
    def streaming(self) -> Iterator[Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int16]]]:
        """Yield a function that encodes sound frame by frame, samples [1920] in, codes [K] out; it keeps the codec's state."""

        def encode_frame(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
            sound = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None, None]
            return self._codes(self._mimi, sound)[0, :, 0]

        with self._mimi.streaming(1):
            yield encode_frame

    def _encode_side_by_side(self, mimi: MimiModel, clips: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.int16]]:
        around = self._model.num_prefix_frames + self._model.num_tail_frames()
        num_frames = [around + timing.num_frames_covering(timing.samples_to_s(len(clip))) for clip in clips]
        sound = torch.zeros(len(clips), 1, max(num_frames, default=0) * timing.SAMPLES_PER_FRAME)
        start = self._model.num_prefix_frames * timing.SAMPLES_PER_FRAME
        for row, clip in enumerate(clips):
            sound[row, 0, start : start + len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
        codes = self._codes(mimi, sound)
        return [codes[row, :, :length].copy() for row, length in enumerate(num_frames)]

    def _codes(self, mimi: MimiModel, sound: torch.Tensor) -> npt.NDArray[np.int16]:
        """Return the codes [B, K, T] of samples [B, 1, N]."""
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32 would round to ten bits
        with torch.inference_mode(), compile_only_on_gpu(self._device), exact:
            return mimi.encode(sound.to(self._device)).cpu().numpy().astype(np.int16)


def _twin(mimi: MimiModel) -> MimiModel:
    """Return the same codec with the same weights and modules of its own, since a module remembers things while it computes."""
    return copy.deepcopy(mimi, {id(tensor): tensor for tensor in (*mimi.parameters(), *mimi.buffers())})


def _look_back_as_a_stream(mimi: MimiModel) -> None:
    """Let the encoder's attention see as far back in a whole clip as it does in a stream, frame by frame.

    A stream keeps as many steps as the context has, 250, in a ring, and a frame's steps, two, are all written before the first looks back:
    it finds its oldest step overwritten and sees 249. So it is in the server (`ScatteredCacheBuilder::indices_and_mask` in the crate's
    kv_cache.rs) and in upstream's `RingKVCache.complete`; yet of a whole clip, upstream's attention lets each step see 250.
    """
    num_steps = round(mimi.encoder_frame_rate / mimi.frame_rate)

    def look_back(attention: StreamingMultiheadAttention, args: tuple[torch.Tensor, ...], seen: torch.Tensor) -> None:
        context = attention.context
        if attention.is_streaming or context is None or seen.shape[1] <= context:
            return
        for step in range(num_steps - 1):
            attention.context = context - (num_steps - 1 - step)
            seen[:, step::num_steps] = attention.forward(*args)[:, step::num_steps]
        attention.context = context

    for module in () if mimi.encoder_transformer is None else mimi.encoder_transformer.modules():
        if isinstance(module, StreamingMultiheadAttention):
            module.register_forward_hook(look_back)


class TokenStore:
    """The codes of a dataset under one codec.

    What is where is held in arrays, 34 bytes a clip: no more of a shard is read than the codes that are asked for. An *entry* is a place
    in these arrays; adding codes moves entries.
    """

    def __init__(self, directory: Path, *, card: int = 1 << 15) -> None:
        """Read the headers of the shards in `directory`, codes below `card`; raises `CheckpointError` naming one that is broken."""
        self.directory = directory
        self._card = card
        self._paths: list[Path] = []
        self._entries, self._added = np.zeros(0, dtype=_ENTRY), list[np.ndarray]()
        self._keys = np.zeros(0, dtype=np.uint64)
        for path in sorted(directory.glob("*.safetensors")):
            self._take_in(local_copy(path))

    @classmethod
    def of(cls, data: Dataset, model: ModelDir) -> TokenStore:
        """Open the store of `data` for the codec of `model`, empty where there is none yet."""
        return cls.open(data.directory, codec_hash(model), card=model.config["card"])

    @classmethod
    def open(cls, dataset_dir: Path, codec_hash: str, *, card: int = 1 << 15) -> TokenStore:
        """Open the store of a dataset's directory for a codec by its hash."""
        return cls(dataset_dir / "tokens" / codec_hash[:KEY_LENGTH], card=card)

    def missing(self, sounds: Sequence[Sound]) -> list[Sound]:
        """Return those of `sounds` that have no codes yet, in order."""
        entries = self.find([sound.key for sound in sounds])
        return [sounds[index] for index in np.flatnonzero(entries < 0)]

    def find(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the entry of each of `keys`, -1 where there is none."""
        if self._added:  # of equal keys the last counts
            entries = np.concatenate([self._entries, *self._added])
            entries = entries[np.argsort(entries["key"], kind="stable")]
            self._entries = entries[np.append(entries["key"][1:] != entries["key"][:-1], True)]
            self._keys, self._added = np.ascontiguousarray(self._entries["key"]), []
        return places_of(np.array([hash64(key) for key in keys], dtype=np.uint64), self._keys)

    def key_hash(self, entry: int) -> int:
        """Return a hash of the key of an entry."""
        return int(self._entries["key"][entry])

    def num_frames(self, entry: int) -> int:
        """Return the frames T of an entry."""
        return int(self._entries["num_frames"][entry])

    def get(self, key: str) -> npt.NDArray[np.int16]:
        """Return the codes of a clip [n_q, T]; raises `DatasetError` when it has none."""
        (entry,) = self.find([key]).tolist()
        if entry < 0:
            raise DatasetError(f"{self.directory}: no codes for sound {key}; run `stt-ft encode`")
        return self.read(entry, key)

    def read(self, entry: int, name: str) -> npt.NDArray[np.int16]:
        """Return the codes of an entry [n_q, T]; raises `CheckpointError` where they are damaged, naming shard and `name`."""
        _, shard, num_codebooks, num_frames, first_byte = self._entries[entry].item()
        path, num_bytes = self._paths[shard], 2 * num_codebooks * num_frames
        try:
            with path.open("rb") as file:
                file.seek(first_byte)
                content = bytearray(file.read(num_bytes))
        except OSError as error:
            raise CheckpointError(f"{path}: {name} cannot be read: {error.strerror or error}") from None
        codes = np.frombuffer(content, dtype="<i2") if len(content) == num_bytes else np.zeros(0, dtype=np.int16)
        if codes.size == 0 or codes.min() < 0 or codes.max() >= self._card:
            raise CheckpointError(f"{path}: damaged: {name} holds no codes from 0 to {self._card - 1}; remove it, `stt-ft encode` again")
        return codes.reshape(num_codebooks, num_frames)

    def keep(self, made: Iterable[tuple[str, npt.NDArray[np.int16]]]) -> int:
        """Write codes, each with its key, as they are made, `SHARD_SIZE` clips a shard, and return how many there were.

        What a shard holds follows from the order in which codes come. Those that came before an error are kept.
        """
        gathered: dict[str, npt.NDArray[np.int16]] = {}
        count = 0
        try:
            for key, codes in made:
                gathered[key] = codes
                count += 1
                if len(gathered) == SHARD_SIZE:
                    full, gathered = gathered, {}
                    self.add(full)
        finally:
            self.add(gathered)
        return count

    def add(self, codes: Mapping[str, npt.NDArray[np.int16]]) -> None:
        """Write one more shard. Another process may do so at the same time: only one with the same sounds has the same name.

        Raises `DatasetError` where the store is a link that leads out of the dataset.
        """
        if not codes:
            return
        digest = hashlib.sha256(" ".join(sorted(codes)).encode()).hexdigest()[:KEY_LENGTH]
        path = self.directory / f"{len(self._paths):05d}-{digest}.safetensors"
        try:
            check_lies_inside(self.directory, self.directory.parent.parent)
        except ValueError as error:
            raise DatasetError(f"{error}; nothing is written there: put a directory in its place, or link the whole dataset") from None
        with atomic_path(path) as temporary:
            safetensors.numpy.save_file({key: np.ascontiguousarray(codes[key], dtype=np.int16) for key in sorted(codes)}, temporary)
        self._take_in(local_copy(path))

    def _take_in(self, path: Path) -> None:
        """Note what a shard holds; what is no codes gets a shape that `read` refuses."""
        shapes = (
            (name, spec.shape if spec.dtype == "I16" and len(spec.shape) == 2 else (0, 0), at)
            for name, spec, at in read_header(path).places()
        )
        rows = [(hash64(name), len(self._paths), *shape, at) for name, shape, at in shapes]
        self._added.append(np.array(rows, dtype=_ENTRY))
        self._paths.append(path)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The codes of a sound [n_q, T], or why there are none."""

    codes: npt.NDArray[np.int16] | None = None
    fault: str = ""


class Encoder:
    """A worker (`core/engine.py`) that encodes sounds. One that cannot be read never hides another."""

    def __init__(self, data: Dataset, base: str, device: str) -> None:
        self._data = data
        self._codec = MimiCodec.load(open_model(base, require_extra_heads=False), pick_device(device))

    def __call__(self, sounds: Sequence[Sound]) -> list[Encoded]:
        results, heard = dict[int, Encoded](), dict[int, npt.NDArray[np.float32]]()
        for index, sound in enumerate(sounds):
            try:
                heard[index] = sound.samples(self._data)
            except (AudioError, DatasetError) as error:
                results[index] = Encoded(fault=str(error))
        for index, codes in zip(heard, self._codec.encode(list(heard.values())), strict=True):
            results[index] = Encoded(codes=codes)
        return [results[index] for index in range(len(sounds))]


def in_batches(sounds: Iterable[Sound], batch_size: int) -> list[Sequence[Sound]]:
    """Return sounds in batches of like length, each sound once."""
    once = {sound.key: sound for sound in sounds}.values()
    return batched(sorted(once, key=lambda sound: sound.clip.duration_s / sound.version.speed), batch_size)


def new_codes(
    engine: Engine, make: Callable[[], Encoder], batches: Sequence[Sequence[Sound]], refuse: Callable[[Sound, str], None]
) -> Iterator[tuple[str, npt.NDArray[np.int16]]]:
    """Yield the codes of sounds by their keys, as workers of `engine` make them; `refuse` is told of a sound that has none, and why."""
    for sound, one in track(engine.results(make, batches), "encoding clips", total=sum(map(len, batches))):
        if isinstance(one, SetAside) or one.codes is None:
            refuse(sound, one.fault)
        else:
            yield sound.key, one.codes


def codes_of(
    model: ModelDir,
    data: Dataset,
    clips: Sequence[Clip],
    versions: Sequence[Version] = (Version(),),
    *,
    batch_size: int,
    device: torch.device | str,
    engine: Engine = LOCAL,
) -> list[npt.NDArray[np.int16]]:
    """Return the codes [n_q, T] of each of `versions` of every clip, version by version; by default of the recordings.

    Codes that are stored beside the dataset are read; missing ones are made, and stored where the dataset is writable.
    """
    store, sounds = TokenStore.of(data, model), sounds_of(data, clips, versions, engine=engine)
    missing = store.missing(sounds)

    def refuse(sound: Sound, fault: str) -> None:
        raise AudioError(f"{sound.clip.path}: {fault}")

    made = new_codes(engine, functools.partial(Encoder, data, model.name, str(device)), in_batches(missing, batch_size), refuse)
    kept = {}
    if missing and is_writable(data.directory):
        store.keep(made)
    elif missing:
        kept = dict(made)
    return [kept[sound.key] if sound.key in kept else store.get(sound.key) for sound in sounds]

"""Write tiny archives with the reference programs: lhotse 1.33.0 (Shar), webdataset 1.0.2, datasets 5.2.0; the sound is made up.

python tests/golden/archives/make.py     in an environment with lhotse, webdataset, datasets and soundfile
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import lhotse
import numpy as np
import soundfile
import webdataset
from lhotse.supervision import AlignmentItem

import datasets

HERE = Path(__file__).parent
RATE_HZ = 8000


def tone(number: int, duration_s: float = 0.3) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * (200 + 50 * number) * time_s)).astype(np.float32)


def sound(number: int, kind: str = "wav", duration_s: float = 0.3, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    samples = np.stack([tone(number, duration_s)] * channels, axis=1)
    soundfile.write(buffer, samples, RATE_HZ, format=kind.upper(), subtype="PCM_16")
    return buffer.getvalue()


def shar(folder: Path) -> None:
    """Three whole cuts, one of them in stereo, and one that was cut out of a longer recording, whose words are timed in that one."""
    files = folder / "files"
    files.mkdir(parents=True)
    cuts = []
    for number, channels in ((1, 1), (2, 1), (3, 2)):
        path = files / f"call.{number}.wav"
        path.write_bytes(sound(number, channels=channels, duration_s=0.6 if number == 2 else 0.3))
        recording = lhotse.Recording.from_file(path, recording_id=f"call.{number}")
        words = [AlignmentItem("order", 0.06, 0.1), AlignmentItem(str(number), 0.18, 0.05)]
        said = lhotse.SupervisionSegment(
            id=f"said{number}", recording_id=recording.id, start=0.05, duration=0.2, channel=0, text=f"order {number}",
            speaker=f"s{number}", custom={"mood": "calm"}, alignment={"word": words},
        )  # fmt: skip
        cut = lhotse.MonoCut(
            id=f"cut.{number}", start=0.0, duration=recording.duration, channel=0, supervisions=[said], recording=recording,
            custom={"line": "a", "tags": ["x"]},
        )  # fmt: skip
        cuts.append(cut)
    late = lhotse.SupervisionSegment(
        id="late", recording_id="call.2", start=0.3, duration=0.25, text="late", alignment={"word": [AlignmentItem("late", 0.35, 0.1)]}
    )
    whole = cuts[1]
    cuts.append(
        lhotse.MonoCut(
            id="cut.out", start=0.25, duration=0.35, channel=0, supervisions=[late.with_offset(-0.25)], recording=whole.recording
        )
    )
    (folder / "dev").mkdir()
    lhotse.CutSet.from_cuts(cuts).to_shar(folder / "dev", fields={"recording": "flac"}, shard_size=3)
    shutil.rmtree(files)


def web(folder: Path) -> None:
    folder.mkdir(parents=True)
    with webdataset.ShardWriter(str(folder / "train-%06d.tar"), maxcount=2, verbose=0) as writer:
        writer.write({"__key__": "a/one", "wav": sound(1), "txt": "order one", "json": {"speaker": "anna"}})
        writer.write({"__key__": "a/two", "flac": sound(2, "flac"), "json": {"text": "order two", "speaker": "bo"}, "cls": 3})
        words = [{"word": " order", "start": 0.02, "end": 0.1}, {"word": " three", "start": 0.12, "end": 0.25}]
        writer.write(
            {"__key__": "one", "wav": sound(3), "json": {"text": " order three", "segments": [{"text": " order three", "words": words}]}}
        )


def hub(folder: Path) -> None:
    rows = {
        "audio": [{"bytes": sound(n, "flac" if n % 2 else "wav"), "path": f"{n}.{'flac' if n % 2 else 'wav'}"} for n in (1, 2, 3)],
        "transcription": ["order one", "order two", "order three"],
        "speaker_id": [7, 8, 9],
        "gain": [0.5, None, 1.0],
    }
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    (folder / "data").mkdir(parents=True)
    table.select([0, 1]).to_parquet(folder / "data" / "train-00000-of-00001.parquet", batch_size=1)
    table.select([2]).to_parquet(folder / "data" / "test-00000-of-00001.parquet")


if __name__ == "__main__":
    for name, make in (("shar", shar), ("webdataset", web), ("huggingface", hub)):
        shutil.rmtree(HERE / name, ignore_errors=True)
        make(HERE / name)
        print(name, sum(path.stat().st_size for path in (HERE / name).rglob("*") if path.is_file()), "bytes")
    print(json.dumps({"lhotse": lhotse.__version__, "webdataset": webdataset.__version__, "datasets": datasets.__version__}))

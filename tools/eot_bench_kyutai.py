"""A streaming adapter for livekit's eot-bench that runs a model directory of ours, base or tuned, with its pause heads.

    STT_FT_MODEL=models/orders eot-harness predict-streaming --path livekit/eot-bench-data --name en --output-dir output \
        --adapter tools.eot_bench_kyutai:KyutaiStreamingAdapter

The shape is that of the adapters in `eot_harness` (github.com/livekit/eot-bench, "Adapter Contracts" in its README). The rows are those of
`stt_ft.metrics.eot_bench.looks`, from which `stt-ft evaluate` computes its own measures.
"""

from __future__ import annotations

import asyncio
import io
import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stt_ft.audio.files import resample
from stt_ft.core.timing import SAMPLE_RATE_HZ, frame_heard_s, samples_to_s
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.eot_bench import LOOK_S, looks
from stt_ft.model.transcriber import Transcriber


class KyutaiStreamingAdapter:
    """Hear whole turns, and tell the pause probability of one head in every silence.

    `model` is a model directory, a hub repo id, or tiny; by default what the variable STT_FT_MODEL names, or tiny.
    """

    display_name = "Kyutai STT"
    concurrency = 1

    def __init__(self, *, model: str | None = None, head: int = EndpointRule().head, languages: tuple[str, ...] = ("en", "fr")) -> None:
        self.model = model or os.environ.get("STT_FT_MODEL", "tiny")
        self.head, self.languages = head, languages

    @property
    def adapter_id(self) -> str:
        return f"kyutai/{Path(self.model).name}"

    def supports_language(self, lang_code: str) -> bool:
        return lang_code.lower().partition("-")[0] in self.languages

    async def predict_turn(self, row: dict[str, Any], *, inference_interval: float = LOOK_S) -> dict[str, Any]:
        """Return id, audio_sec, events and prediction_rows of a turn; probabilities have five decimals, as in frames.jsonl."""
        sound = _sound_of(row["audio"])
        heard = await asyncio.to_thread(self._transcriber.transcribe, [sound])
        probs = np.round(heard[0].pause_probs[:, self.head].astype(np.float64), 5)
        spans = [(float(span["start"]), float(span["end"])) for span in row["silence_spans"]]
        return {
            "id": row["id"],
            "audio_sec": samples_to_s(len(sound)),
            "events": [{"event": "Step", "timestamp": frame_heard_s(step), "p_eot": float(prob)} for step, prob in enumerate(probs)],
            "prediction_rows": [asdict(look) for look in looks(row["id"], spans, probs, every_s=inference_interval)],
        }

    @cached_property
    def _transcriber(self) -> Transcriber:
        return Transcriber.open(self.model, require_extra_heads=True)


def _sound_of(audio: dict[str, Any]) -> np.ndarray:
    """Return the sound of a row, mono at 24 kHz [N]: encoded `bytes`, or `array` with `sampling_rate`."""
    if audio.get("array") is not None:
        samples, rate_hz = np.asarray(audio["array"], np.float32), int(audio["sampling_rate"])
    else:
        samples, rate_hz = soundfile.read(io.BytesIO(audio["bytes"]), dtype="float32")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    return np.asarray(resample(mono, rate_hz, SAMPLE_RATE_HZ), np.float32)

"""Smart Turn v3: the probability that a turn is over, from the sound of its last 8 seconds. It is what agents on pipecat ask.

The weights are an ONNX file of 8.7 MB in the wheel of `pipecat-ai` (`pip install 'stt-ft[smart_turn]'`), or a file that the user names.
They are read without importing the package. The features are Whisper's, of sound that is scaled to mean 0 and variance 1 first.

Source: `LocalSmartTurnAnalyzerV3` of pipecat (`pipecat/audio/turn/smart_turn/local_smart_turn_v3.py`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.core.errors import CheckpointError, MissingExtra

PACKAGE = "pipecat-ai"
MODEL_RATE_HZ = 16_000
HEARD_S = 8.0
"""Seconds of sound that the model hears; a shorter turn has silence before it."""

_VARIANCE_FLOOR = 1e-7


def shipped_weights() -> Path | None:
    """Return the weights in the installed wheel of pipecat, None without one."""
    spec = importlib.util.find_spec("pipecat")
    folders = [] if spec is None else [Path(one) for one in spec.submodule_search_locations or ()]
    found = [path for folder in folders for path in sorted((folder / "audio/turn/smart_turn/data").glob("smart-turn-v3*cpu.onnx"))]
    return found[-1] if found else None


class SmartTurn:
    """The model, loaded."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @classmethod
    def load(cls, path: Path | None = None) -> SmartTurn:
        """Load the weights at `path`, by default those of the installed wheel.

        Raises:
            MissingExtra: onnxruntime, or without `path` pipecat, is not installed.
            CheckpointError: the file is missing or holds another model.
        """
        weights = path or shipped_weights()
        if weights is None or importlib.util.find_spec("onnxruntime") is None:
            raise MissingExtra(PACKAGE if weights is None else "onnxruntime", "smart_turn", "the baseline of Smart Turn")
        if not weights.is_file():
            raise CheckpointError(f"{weights}: no such file; --smart_turn takes Smart Turn's ONNX file")
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(weights), sess_options=options, providers=["CPUExecutionProvider"])
            inputs = [(one.name, one.shape[1:]) for one in session.get_inputs()]
        except Exception as error:  # onnxruntime has no common class of its errors
            raise CheckpointError(f"{weights}: not an ONNX model: {str(error)[:80]}") from None
        if inputs != [("input_features", [80, 800])]:
            raise CheckpointError(f"{weights}: not Smart Turn v3, whose one input is input_features [80, 800]; this one's are {inputs}")
        return cls(session)

    def prob_over(self, sound: np.ndarray) -> float:
        """Return the probability that the turn whose mono `sound` at 16 kHz is heard so far is over."""
        features = _features(sound)
        return float(self._session.run(None, {"input_features": features[None]})[0].reshape(-1)[0])


def _features(sound: np.ndarray) -> np.ndarray:
    """Return Whisper's log-mel features [80, 800] of the last 8 s of `sound`, silence before it where it is shorter.

    In float64, as pipecat has them: the weights are of 8 bits, and a difference of 1e-5 can move the probability by 0.2.
    """
    import torch
    from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

    num_samples = round(HEARD_S * MODEL_RATE_HZ)
    heard = sound[-num_samples:].astype(np.float32)
    heard = np.pad(heard, (num_samples - len(heard), 0))
    scaled = torch.from_numpy((heard - heard.mean()) / np.sqrt(heard.var() + _VARIANCE_FLOOR)).double()
    window = torch.hann_window(N_FFT, dtype=torch.float64)
    power = torch.stft(scaled, N_FFT, HOP_LENGTH, window=window, return_complex=True)[:, :-1].abs() ** 2
    log_mel = (mel_filters("cpu", 80).double() @ power).clamp(min=1e-10).log10()
    return ((log_mel.clamp(min=float(log_mel.max()) - 8.0) + 4.0) / 4.0).float().numpy()

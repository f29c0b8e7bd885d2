"""How a model is served, and what the agent behind the server does: the two configurations that people deploy, and any other by its file.

    kyutai   every codebook, the likeliest token. Source: `configs/config-stt-en_fr-hf.toml` of kyutai-labs/delayed-streams-modeling.
    unmute   the first 20 of 32 codebooks, tokens drawn at temperature 0.25, and Unmute as the agent. Source: kyutai-labs/unmute at 84aa28d,
             `services/moshi-server/configs/stt.toml` and `unmute/unmute_handler.py`.

A file is moshi-server's own (TOML). It may have a table `[client]` beside what the server reads (which passes over it), with keys of
`Serving`: `rule`, `flush_s` and `flush_speed`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from stt_ft.core.config import Config, Limits, typed
from stt_ft.core.errors import ConfigError
from stt_ft.core.timing import num_frames_covering

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_Codebooks = Annotated[int, Limits(ge=1, le=1024)]


@dataclass(frozen=True, kw_only=True)
class Serving(Config):
    """How a model is served.

    Attributes:
        codebooks: how many codebooks the server reads, the first ones; None for all.
        of_codebooks: of how many the model has, so that a model of other size hears the same share; None takes `codebooks` as it is.
        temperature: of the text tokens; at 0 the likeliest is written.
        rule: name of the agent's rule (`metrics.endpointing.RULES`).
        flush_s: silence that the agent feeds once the turn is over, so that the last words are written before it answers; 0 for none.
        flush_speed: how many times faster than real time the server hears it. Kyutai says of theirs: 0.5 s in 125 ms
            (kyutai.org/next/stt, "the flush trick").
    """

    codebooks: _Codebooks | None = None
    of_codebooks: _Codebooks | None = None
    temperature: Annotated[float, Limits(ge=0, le=10)] = 0.0
    rule: str = "kyutai"
    flush_s: Annotated[float, Limits(ge=0, le=60)] = 0.0
    flush_speed: Annotated[float, Limits(gt=0, le=1000)] = 4.0

    @classmethod
    def named(cls, name: str) -> Serving:
        """Return the serving called `name`, a key of `SERVINGS` or a file; raises `ConfigError` for neither, or a file that is none."""
        if name in SERVINGS:
            return SERVINGS[name]
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"--serving {name}: no such file; give {', '.join(SERVINGS)}, or moshi-server's own file (TOML)")
        try:
            return typed(cls, _told_by_server_file(tomllib.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, ConfigError) as error:
            raise ConfigError(f"--serving {path}: {error}") from None

    def num_codebooks(self, n_q: int) -> int:
        """Return how many of a model's `n_q` codebooks the server reads; raises `ConfigError` where it has fewer than are asked for."""
        if self.codebooks is None:
            return n_q
        if self.of_codebooks is not None:
            return max(1, round(n_q * self.codebooks / self.of_codebooks))
        if self.codebooks > n_q:
            raise ConfigError(f"--serving: the server reads {self.codebooks} codebooks, and the model has {n_q}")
        return self.codebooks

    def heard(self, codes: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """Return codes [n_q, ...] as the server reads them: -1, which the model takes for nothing, in the codebooks that it leaves out.

        A server of fewer codebooks has no embedding for the others (`LmModel::forward_cond` of moshi-core's `lm.rs`); the codebooks of
        Mimi refine each other, so the first ones are the same however many follow.
        """
        num_heard = self.num_codebooks(len(codes))
        if num_heard == len(codes):
            return codes
        heard = codes.copy()
        heard[num_heard:] = -1
        return heard

    @property
    def num_flush_frames(self) -> int:
        """Frames of silence after which the agent answers."""
        return num_frames_covering(self.flush_s)

    @property
    def flush_wait_s(self) -> float:
        """How long the flush keeps the caller waiting, in seconds."""
        return self.flush_s / self.flush_speed


KYUTAI = Serving()
"""As Kyutai's own configuration serves a model; whatever speaks of no serving means this one."""

SERVINGS = {
    "kyutai": KYUTAI,
    "unmute": Serving(codebooks=20, of_codebooks=32, temperature=0.25, rule="unmute", flush_s=0.5),
}
"""Servings that have a name (`Serving.named`)."""


def _told_by_server_file(config: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `Serving` that a file of moshi-server tells; raises `ValueError` where it serves no speech-to-text model."""
    modules = config.get("modules")
    for module in modules.values() if isinstance(modules, dict) else ():
        model = module.get("model") if isinstance(module, dict) and module.get("type") in ("BatchedAsr", "Asr") else None
        if isinstance(model, dict) and "audio_codebooks" in model:
            client = config.get("client", {})
            if not isinstance(client, dict) or not client.keys() <= {"rule", "flush_s", "flush_speed"}:
                raise ValueError("[client] may hold rule, flush_s and flush_speed, and nothing else")
            return {"codebooks": model["audio_codebooks"], "temperature": module.get("temperature", 0.0), **client}
    raise ValueError("no file of moshi-server: it lacks a module of type BatchedAsr with model.audio_codebooks")

"""A recording session on disk: which prompts are still missing, and keeping a take so that no crash loses it.

A take is written as sound, then sidecar, then manifest line, each whole or not at all. A take found with sound and sidecar but no manifest
line (the session died in between) is taken up when the session is opened again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stt_ft.audio.files import probe, write_wav
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.manifest import Clip, Dataset, Sidecar
from stt_ft.core.timing import samples_to_s
from stt_ft.corpus.prompt_script import PromptLine, PromptScript

METADATA = ("speaker", "microphone", "room", "accent")
"""What is asked once a session; only the speaker is required."""


def speaker_id(name: str) -> str:
    """Return `name` as a part of a file name ("Zoé Müller" is zoe-muller); raises `DatasetError` when nothing of it is left."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", letters).strip("-").lower()
    if not plain:
        raise DatasetError(f"the speaker {name!r} becomes part of file names and needs a letter or digit from a-z, 0-9")
    return plain


def known_sessions(data: Dataset) -> list[dict[str, Any]]:
    """Return the metadata of earlier sessions in this dataset, the latest last."""
    sessions = data.info().get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(session, dict) and session.get("speaker") for session in sessions):
        raise DatasetError(f"{data.directory / 'dataset.yaml'}: sessions must be a list of objects with a speaker")
    return sessions


@dataclass(kw_only=True)
class Session:
    """One speaker reading one script into one dataset."""

    data: Dataset
    script: PromptScript
    speaker: str
    sample_rate_hz: int
    clips: dict[str, Clip] = field(default_factory=dict)

    @classmethod
    def open(cls, data: Dataset, script: PromptScript, metadata: Mapping[str, str], *, sample_rate_hz: int) -> Session:
        """Begin a session, or go on with one: its metadata is kept in dataset.yaml, takes without manifest line are taken up.

        Raises:
            DatasetError: the speaker cannot name files, or the dataset is in another language; nothing is written then.
        """
        sessions = known_sessions(data)
        speaker = speaker_id(metadata["speaker"])
        language = str(data.info().get("language") or script.language)
        if language.partition("-")[0] != script.language.partition("-")[0]:
            raise DatasetError(f"{data.directory}: its language is {language}, the script's is {script.language}; give another --out")
        session = {key: metadata[key] for key in METADATA if metadata.get(key)}
        if session not in sessions:
            info = data.info() or {"name": data.directory.name, "language": script.language, "made_by": "stt-ft record"}
            data.write_info({**info, "sample_rate_hz": sample_rate_hz, "sessions": [*sessions, session]})
        opened = cls(data=data, script=script, speaker=speaker, sample_rate_hz=sample_rate_hz)
        present = {clip.path for clip in data.clips()}
        for prompt in script.prompts:
            clip = opened._clip(prompt, duration_s=0.0)
            if clip.path in present:
                opened.clips[prompt.prompt_id] = clip
            elif data.sidecar_path(clip).exists():
                opened._take_up(prompt, clip)
        return opened

    def missing(self, start_at: int | None = None) -> list[tuple[int, PromptLine]]:
        """Return (number, prompt) of what is still to be read, in order; from number `start_at` on every prompt, read or not."""
        if start_at is not None:
            return self.script.numbered(start_at)
        return [(number, prompt) for number, prompt in self.script.numbered() if prompt.prompt_id not in self.clips]

    def keep(self, prompt: PromptLine, samples: np.ndarray) -> Clip:
        """Write a take; an earlier take of the same prompt is replaced, and what was made of it is forgotten."""
        clip = self._clip(prompt, duration_s=samples_to_s(len(samples), self.sample_rate_hz))
        write_wav(self.data.audio_path(clip), samples, self.sample_rate_hz)
        self.data.write_sidecar(clip, Sidecar(script=prompt.say))
        self._add(prompt, clip)
        return clip

    def _clip(self, prompt: PromptLine, *, duration_s: float) -> Clip:
        extra = {"speaker": self.speaker, "prompt_id": prompt.prompt_id, "kind": prompt.kind, "script": prompt.say}
        return Clip(path=f"audio/{self.speaker}_{prompt.prompt_id}.wav", duration_s=duration_s, extra=extra)

    def _take_up(self, prompt: PromptLine, clip: Clip) -> None:
        try:
            duration_s = probe(self.data.audio_path(clip)).duration_s
        except AudioError:
            return  # no usable sound: the prompt is read again
        self._add(prompt, self._clip(prompt, duration_s=duration_s))

    def _add(self, prompt: PromptLine, clip: Clip) -> None:
        """Put the clip's line into the split that has one already, or at the end of train."""
        for split in self.data.splits():
            clips = self.data.clips(split)
            if any(other.path == clip.path for other in clips):
                self.data.write_clips(split, [clip if other.path == clip.path else other for other in clips])
                break
        else:
            self.data.write_clips("train", [*(self.data.clips("train") if "train" in self.data.splits() else []), clip])
        self.clips[prompt.prompt_id] = clip

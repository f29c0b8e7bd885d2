"""A folder of sound with .txt or .json beside each file, and moshi-finetune's JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.manifest import SPLITS, SYNTHETIC, Sidecar
from stt_ft.corpus.source import SourceClip, json_lines, split_named


def read_folder(source: Path) -> Iterator[SourceClip]:
    """Yield every sound file under `source`. `NAME.txt` beside it is its script; `NAME.json` a sidecar, or an object with `text`."""
    if not source.is_dir():
        raise DatasetError(f"{source}: not a folder")
    for audio in sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()):
        clip_id = str(audio.relative_to(source))
        if not any(part.startswith(".") for part in Path(clip_id).parts):
            yield _clip_beside(audio, clip_id, extra={})


def read_jsonl(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a moshi-finetune manifest, or of the manifests in a directory; paths are relative to the manifest."""
    if source.is_dir():
        manifests = [source / f"{split}.jsonl" for split in SPLITS if (source / f"{split}.jsonl").exists()]
        if not manifests:
            raise DatasetError(f"{source}: no manifest here (expected one of {', '.join(f'{split}.jsonl' for split in SPLITS)})")
    else:
        manifests = [source]
    for manifest in manifests:
        for number, entry in json_lines(manifest):
            path = entry.pop("path", None)
            if not isinstance(path, str) or not path:
                raise DatasetError(f'{manifest}, line {number}: expected {{"path": "audio/NAME.wav", "duration": SECONDS}}')
            entry.pop("duration", None)
            yield _clip_beside(manifest.parent / path, path.removeprefix("audio/"), extra=entry, split=split_named(manifest.stem))


def _clip_beside(audio: Path, clip_id: str, *, extra: dict[str, Any], split: str | None = None) -> SourceClip:
    """Put a clip together from a sound file and what lies beside it; a malformed file beside it is the clip's fault."""
    script = extra.get("script")
    sidecar, fault = None, ""
    text_path, json_path = audio.with_suffix(".txt"), audio.with_suffix(".json")
    try:
        if json_path.is_file():
            sidecar, told = _read_json_beside(json_path)
            script = sidecar.script or told.pop("text", None) or script
            extra = {**extra, **told}
        elif text_path.is_file():
            script = text_path.read_text(encoding="utf-8").strip()
    except (ValueError, RecursionError) as error:
        fault = f"{json_path if json_path.is_file() else text_path}: {error}"
    script = script if isinstance(script, str) and script else None
    return SourceClip(clip_id=clip_id, audio=audio, script=script, sidecar=sidecar, extra=extra, split=split, fault=fault)


def _read_json_beside(path: Path) -> tuple[Sidecar, dict[str, Any]]:
    """Return the sidecar in `path` and its keys that are of use in a manifest; raises `ValueError` when it is malformed."""
    value = parse_json(path.read_bytes())
    if isinstance(value, dict) and isinstance(value.get("transcript"), str):
        value.setdefault("text", value["transcript"])
    sidecar = Sidecar.from_json(value)
    told: dict[str, Any] = {key: value[key] for key in ("text", "speaker", "kind", "prompt_id") if isinstance(value.get(key), str)}
    return sidecar, told | ({SYNTHETIC: True} if sidecar.extra.get(SYNTHETIC) is True else {})

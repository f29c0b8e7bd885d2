"""Pages of clips: one file that opens offline, sound included, made of the files in static/."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Hashable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import jinja2
import numpy as np
import soundfile
from markupsafe import Markup

from stt_ft.core.storage import Source
from stt_ft.core.timing import SAMPLE_RATE_HZ

Item = TypeVar("Item", bound=Hashable)

STATIC_FILES = resources.files("stt_ft.pages") / "static"

PEAKS_PER_S = 100
"""Points a second of a drawn outline: one a pixel when nine seconds fill a wide screen."""

EMBED_LIMIT_BYTES = 12_000_000
"""Once a page carries this much sound, further clips are linked by relative path."""

MAX_CARDS, MAX_DATA_BYTES = 500, 6_000_000
"""Most clips that have a card on a page, and most that a page holds of what the cards show, sound aside: so it opens in a second, and stays
below 20 MB with its sound."""


def in_turn(rankings: Sequence[Sequence[Item]]) -> Iterator[Item]:
    """Yield at most `MAX_CARDS` items: the first of each ranking in turn that is not taken yet, until all are."""
    waiting, taken = [iter(ranking) for ranking in rankings], set()
    while waiting and len(taken) < MAX_CARDS:
        still = []
        for ranking in waiting:
            item = next((item for item in ranking if item not in taken), None)
            if item is not None and len(taken) < MAX_CARDS:
                taken.add(item)
                still.append(ranking)
                yield item
        waiting = still


def render_page(template: str, *, scripts: Sequence[str], data: Any, audio: Sequence[str], **values: Any) -> str:
    """Return the HTML of a page from `template`, a file of static/ that extends base.html.j2, and its `values`.

    `scripts` are modules of static/, each after those that it imports; they read `data` as JSON. `audio` is the source of each clip's
    sound, in the order of the clips in `data`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_static_file), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script_data = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<\u2028\u2029":  # they would end the script element, or a line of it
        script_data = script_data.replace(sign, f"\\u{ord(sign):04x}")
    return environment.get_template(template).render(
        data=Markup(script_data),
        audio=audio,
        style=Markup(_static_file("page.css")),
        script=Markup("\n".join(_as_one_script(_static_file(name)) for name in ("element.js", "clip_cards.js", *scripts))),
        **values,
    )


def _as_one_script(module: str) -> str:
    """Return a module without its imports and exports, to stand in one script with those that it imports: a file opened from disk cannot
    load others."""
    return re.sub(r"^export (?=(async )?(const|let|class|function)\b)", "", re.sub(r"^import [^;]*;\n", "", module, flags=re.M), flags=re.M)


def _static_file(name: str) -> str:
    return (STATIC_FILES / name).read_text(encoding="utf-8")


class PageSounds:
    """Gives each clip of a page the source of its sound, carried in the page as long as that stays small."""

    def __init__(self, page_dir: Path) -> None:
        self._page_dir = page_dir
        self._num_bytes = 0

    def source(self, sound: Source, samples: np.ndarray) -> str:
        """Return a data URI of `samples` as MP3 (every browser plays it, libsndfile's has no delay), or the address of the file `sound`
        for the page, where it is one of this machine."""
        if self._num_bytes >= EMBED_LIMIT_BYTES and isinstance(sound, Path):
            return quote(Path(os.path.relpath(sound, self._page_dir)).as_posix())
        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.9)
        source = "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        self._num_bytes += len(source)
        return source


def outline(samples: np.ndarray) -> list[int]:
    """Return the loudest sample of each hundredth of a second, in hundredths of the clip's loudest."""
    step = SAMPLE_RATE_HZ // PEAKS_PER_S
    padded = np.pad(np.abs(samples), (0, -len(samples) % step)).reshape(-1, step).max(axis=1)
    return np.round(100 * padded / max(float(padded.max()), 1e-6)).astype(int).tolist()

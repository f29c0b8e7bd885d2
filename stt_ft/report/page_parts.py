"""Pages of clips: one file that opens offline. The files it is put together from lie in page_files/; none of them loads anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

PAGE_FILES = resources.files("stt_ft.report") / "page_files"


def render_page(template: str, *, scripts: Sequence[str], data: Any, audio: Sequence[str], **values: Any) -> str:
    """Return the HTML of a page.

    Args:
        template: file of page_files/ that extends base.html.j2.
        scripts: files of page_files/ that run after clip_cards.js, which every page has.
        data: what the scripts read, as JSON.
        audio: source of each clip's sound, in the order of the clips in `data`.
        values: what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_page_file), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        data=_script_json(data),
        audio=audio,
        style=Markup(_page_file("page.css")),
        script=Markup("\n".join(_page_file(name) for name in ("clip_cards.js", *scripts))),
        **values,
    )


def _script_json(value: Any) -> Markup:
    """Return `value` as JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _page_file(name: str) -> str:
    return (PAGE_FILES / name).read_text(encoding="utf-8")

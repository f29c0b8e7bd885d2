"""How the fuzzer damages a file: by what is known of its format, or byte by byte."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import struct
from pathlib import Path
from typing import Any

import yaml

CHOSEN = ("recipe.yaml", "args.yaml")
"""Files whose paths are chosen by whoever trains, who may name any place."""

WORDS = (
    "",
    "x",
    "é",
    "\ud800",
    "\0",
    "a\nb",
    "-1",
    "1e999",
    "NaN",
    "x" * 5000,
    "order 41",
    "😀",
    "SPEAKER_01",
    "hf://a",
    "hf://",
    "a/..",
    "~",
    "a/b",
    "true",
    "http://[",
    "Infinity",
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    3.5,
    -0.0,
    1e-9,
    1e9,
    1e12,
    1e300,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    float("nan"),
    float("inf"),
    float("-inf"),
    0.1,
)
ESCAPES = (
    "../outside/secret.wav",
    "../../outside/secret.wav",
    "../../outside/made",
    "{root}/outside/secret.wav",
    "{root}/outside",
    "audio/../../../outside/secret.wav",
)


def strange(rng: random.Random, root: Path | None) -> Any:
    """Return a value of any JSON type that a program may not expect; without `root` none that leads out of the folder."""
    return rng.choice(
        [
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(WORDS),
            lambda: rng.choice(ESCAPES).format(root=root) if root else rng.choice(WORDS),
            lambda: rng.choice([None, True, False, [], {}, [[]], [None] * 3, {"a": {"b": []}}, ["x", [0, 1]], [1, 2], [0.1, 1e400]]),
        ]
    )()


def other_value(rng: random.Random, value: Any, root: Path | None) -> Any:
    """Return `value`, made of dictionaries and lists, with one value in it replaced, left out, renamed or doubled."""
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        inner = stack.pop()
        for key in list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            stack.append(inner[key])
    if not places or rng.random() < 0.02:
        return strange(rng, root)
    container, key = rng.choice(places)
    act = rng.random()
    if act < 0.7:
        old = container[key]
        near = isinstance(old, (int, float)) and not isinstance(old, bool) and rng.random() < 0.5
        container[key] = rng.choice(NUMBERS) if near else strange(rng, root)
    elif act < 0.85:
        del container[key]
    elif isinstance(container, dict):
        container[rng.choice(WORDS)] = container.pop(key)
    else:
        container.insert(key, container[key])
    return value


def broken_bytes(rng: random.Random, content: bytes, root: Path | None) -> bytes:
    """Return `content` with a few bytes changed, cut, doubled or put in."""
    changed = bytearray(content)
    near_start = rng.random() < 0.5
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(max(1, min(len(changed), 128 if near_start else len(changed))))
        act = rng.randrange(6)
        if act == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif act == 1:
            del changed[at : at + rng.choice((1, 2, 4, 100, len(changed)))]
        elif act == 2:
            changed[at:at] = changed[max(0, at - 40) : at] * 2
        elif act == 3:
            changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\x80\0\0\0"))
        elif act == 4:
            changed[at:at] = rng.choice(
                (b"\xef\xbb\xbf", b"\xff", b"\r\n", b"\0", b"\n\n", b"{", b"[" * 2000, b"\xed\xa0\x80", b'"', b"9" * 500)
            )
        else:
            changed[at : at + rng.randrange(30)] = json.dumps(strange(rng, root)).encode(errors="replace")
    return bytes(changed)


def broken_text(rng: random.Random, path: Path, content: bytes, root: Path | None) -> bytes:
    """Return JSON, JSON lines, YAML or a table with one value replaced: well-formed, and wrong."""
    if path.suffix == ".gz":
        return gzip.compress(broken_text(rng, path.with_suffix(""), gzip.decompress(content), root), mtime=0)
    if path.suffix == ".yaml":
        return yaml.safe_dump(other_value(rng, yaml.safe_load(content), root), allow_unicode=True).encode(errors="surrogatepass")
    if path.suffix == ".json":
        return json.dumps(other_value(rng, json.loads(content), root)).encode(errors="surrogatepass")
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    if path.suffix == ".jsonl":
        lines[at] = json.dumps(other_value(rng, json.loads(lines[at]), root))
    else:
        cells = lines[at].split("\t" if "\t" in lines[at] else " ")
        cells[rng.randrange(len(cells))] = str(strange(rng, root))
        lines[at] = ("\t" if "\t" in lines[at] else " ").join(cells)
    return "\n".join(lines).encode(errors="surrogatepass") + b"\n"


def broken_tensors(rng: random.Random, content: bytes, root: Path | None) -> bytes:
    """Return a safetensors file with another header, its length right or not, or with other numbers."""
    (length,) = struct.unpack("<Q", content[:8])
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.2:
        at = rng.randrange(max(1, len(numbers) - 4))
        return (
            content[: 8 + length] + numbers[:at] + rng.choice((b"\xff\xff\xff\xff", b"\0\0\xc0\x7f", b"\0\0\x80\x7f")) + numbers[at + 4 :]
        )
    text = json.dumps(other_value(rng, header, root)).encode(errors="replace")
    text += b" " * (-len(text) % 8)
    said = rng.choice((0, 2**63, len(text) - 8, 10**9)) if rng.random() < 0.1 else len(text)
    return struct.pack("<Q", said) + text + numbers


def damage(rng: random.Random, path: Path, root: Path) -> str:
    """Damage the file at `path`, and return how."""
    act = rng.random()
    content = path.read_bytes()
    away = None if path.name in CHOSEN else root
    is_text = path.suffix in (".json", ".jsonl", ".yaml", ".gz", ".tsv", ".txt", ".scp", "")
    if act < 0.12:
        path.unlink()
        how = rng.choice(("removed", "a folder", "a link outside", "a link to nothing", "a link to itself", "unreadable", "empty"))
        if how == "a folder":
            path.mkdir()
        elif how.startswith("a link"):
            inside = {"a link outside": root / "outside" / f"secret{path.suffix}", "a link to itself": path}
            path.symlink_to(inside.get(how, root / "nothing"))
        elif how != "removed":
            path.write_bytes(b"" if how == "empty" else content)
            path.chmod(0 if how == "unreadable" else 0o644)
        return how
    if path.suffix == ".safetensors" and act < 0.7:
        with contextlib.suppress(Exception):  # what is damaged already may not be read any more
            path.write_bytes(broken_tensors(rng, content, root))
            return "another header"
    if is_text and act < 0.7:
        with contextlib.suppress(Exception):
            path.write_bytes(broken_text(rng, path, content, away))
            return "another value"
    path.write_bytes(broken_bytes(rng, content, away))
    return "other bytes"

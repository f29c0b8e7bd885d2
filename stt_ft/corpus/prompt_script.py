"""Scripts for a recording session: YAML files of prompts, read and made; and the prompts from which a dataset was recorded.

language: en
consent: Your voice is recorded …                (may be left out: what speakers agree to in the studio)
prompts:
  - {id: order_01, kind: number, say: order number 1296803}
  - {id: pause_01, kind: number, say: 415 … 555 … 0199, direction: pause about a second at every …}
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from stt_ft.audio.levels import take_warnings
from stt_ft.core.errors import DatasetError, TextError
from stt_ft.dataset.manifest import Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.text.digit_words import ENGLISH_DIGITS, FRENCH_DIGITS
from stt_ft.text.prompts import PromptLine
from stt_ft.text.redrawing import holds_number
from stt_ft.text.spoken_forms import LANGUAGES, spoken_words

_CARRIERS = {
    "en": ("order number", "my order number is", "location code", "the location code is", "my phone number is", "account number", "it is"),
    "fr": (
        "commande numéro",
        "mon numéro de commande est",
        "code de lieu",
        "le code est",
        "mon numéro de téléphone est",
        "compte",
        "c'est le",
    ),
}
_LENGTHS = (4, 5, 6, 6, 7, 7, 7, 8, 9, 10)
_KEYS = frozenset({"id", "kind", "say", "direction"})


@dataclass(frozen=True, kw_only=True)
class PromptScript:
    """The prompts of a session, in order; `consent` is what speakers agree to in the studio, before they begin."""

    language: str
    prompts: tuple[PromptLine, ...]
    consent: str = ""

    def numbered(self, start_at: int = 1) -> list[tuple[int, PromptLine]]:
        """Return (number, prompt) from number `start_at` on; raises `DatasetError` when there is no such number."""
        if not 1 <= start_at <= len(self.prompts):
            raise DatasetError(f"--start_at {start_at}: the script has prompts 1 to {len(self.prompts)}")
        return list(enumerate(self.prompts, start=1))[start_at - 1 :]

    def faults(self, prompt: PromptLine, samples: np.ndarray, sample_rate_hz: int) -> list[str]:
        """Return the faults of a take of `prompt`, mono samples in [-1, 1]: how loud it is, where it was cut, and how long it lasts."""
        try:
            num_words = len(spoken_words(prompt.say, language=self.language))
        except TextError:  # it cannot be read aloud by rule
            num_words = len(prompt.say.split())
        return take_warnings(samples, sample_rate_hz, num_words=num_words)


def load_prompt_script(path: Path) -> PromptScript:
    """Read a script; raises `DatasetError` naming the file and the prompt when it is malformed."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such prompt script; some are in recordings/scripts/") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DatasetError(f"{path}: not a prompt script: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(value, dict) or not isinstance(value.get("prompts"), list) or not value["prompts"]:
        raise DatasetError(f"{path}: expected `language: …` and `prompts: [{{id: …, say: …}}, …]`")
    prompts = tuple(_prompt(entry, f"{path}, prompt {number}") for number, entry in enumerate(value["prompts"], start=1))
    ids = [prompt.prompt_id for prompt in prompts]
    twice = sorted({prompt_id for prompt_id in ids if ids.count(prompt_id) > 1})
    if twice:
        raise DatasetError(f"{path}: the id {twice[0]} stands here twice")
    consent = value.get("consent", "")
    if not isinstance(consent, str):
        raise DatasetError(f"{path}: consent must be a text, got {str(consent)[:80]}")
    return PromptScript(language=str(value.get("language", "en")), prompts=prompts, consent=consent.strip())


def prompts_of_dataset(data: Dataset) -> PromptScript:
    """Return the texts that the recordings in train dictate as prompts, each once: scripts, or transcripts where there are none.

    Raises:
        DatasetError: no recording in train holds a number.
    """
    texts: dict[str, PromptLine] = {}
    for clip, found in data.known_sidecars(clip for clip in data.clips("train") if not clip.is_synthetic):
        sidecar = found or Sidecar()
        script = sidecar.script or clip.extra.get("script")
        text = script if isinstance(script, str) else " ".join(word.text for word in sidecar.written or sidecar.alignments)
        if holds_number(text):
            name = str(clip.extra.get("prompt_id") or PurePosixPath(clip.path).stem)
            texts.setdefault(text, PromptLine(prompt_id=name, say=text, kind=str(clip.extra.get("kind", "number"))))
    if not texts:
        raise DatasetError(f"{data.manifest_path('train')}: no recording here dictates a number; annotate them, or give a prompt script")
    return PromptScript(language=data.language(choices=LANGUAGES), prompts=tuple(texts.values()))


def make_digits_script(*, count: int, seed: int, language: str = "en") -> str:
    """Return the YAML of a new script of dictated numbers.

    Every digit occurs equally often, in every place of the number about equally often; a tenth of the numbers begin with zero, a third hold
    a repeated digit, and a fifth are spelled out with "oh" and "double" (English) so that they are said that way.
    """
    if count < 1:
        raise DatasetError(f"a script needs at least one prompt, got --count {count}")
    if language not in _CARRIERS:
        raise DatasetError(f"no prompts in language {language!r}; languages are {', '.join(_CARRIERS)}")
    rng = random.Random(seed)
    bag: list[str] = []
    prompts, used = [], set()
    while len(prompts) < count:
        digits = _draw(rng, bag, rng.choice(_LENGTHS))
        if digits in used:
            continue
        used.add(digits)
        number = _as_said(rng, digits, language) if rng.random() < 0.2 else digits
        prompts.append({"id": f"digits_{len(prompts) + 1:03d}", "kind": "number", "say": f"{rng.choice(_CARRIERS[language])} {number}"})
    return yaml.safe_dump({"language": language, "prompts": prompts}, sort_keys=False, allow_unicode=True, width=140)


def _prompt(entry: Any, where: str) -> PromptLine:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) and entry[key].strip() for key in ("id", "say")):
        raise DatasetError(f"{where}: expected {{id: …, say: …}} with texts (put numbers in quotes), got {str(entry)[:80]}")
    unknown = sorted(set(map(str, entry)) - _KEYS)
    if unknown:
        raise DatasetError(f"{where}: unknown key {unknown[0]}; keys are {', '.join(sorted(_KEYS))}")
    if not all(part.isalnum() or part in "_-" for part in entry["id"]):
        raise DatasetError(f"{where}: the id {entry['id']!r} becomes a file name and may hold letters, digits, - and _ only")
    return PromptLine(
        prompt_id=entry["id"], say=entry["say"].strip(), kind=str(entry.get("kind", "number")), direction=str(entry.get("direction", ""))
    )


def _draw(rng: random.Random, bag: list[str], length: int) -> str:
    """Draw a number from a bag that is filled with all ten digits again whenever it is empty, so that none is rarer than another."""
    digits: list[str] = []
    leads_with_zero, repeats = rng.random() < 0.1, rng.random() < 1 / 3
    repeat_at = rng.randrange(1, length) if repeats else -1
    for index in range(length):
        if not bag:
            bag += rng.sample("0123456789", 10)
        if index == 0 and leads_with_zero:
            digits.append("0")
        elif index == repeat_at:
            digits.append(digits[-1])
        else:
            digits.append(bag.pop())
    return "".join(digits)


def _as_said(rng: random.Random, digits: str, language: str) -> str:
    """Spell digits out as a speaker may: "oh" for zero, "double" for a repeated digit; French speakers say each."""
    if language != "en":
        return " ".join(FRENCH_DIGITS[int(digit)] for digit in digits)
    words, index = [], 0
    zero = rng.choice(("oh", "zero"))
    while index < len(digits):
        name = zero if digits[index] == "0" else ENGLISH_DIGITS[int(digits[index])]
        doubled = digits[index : index + 2] == digits[index] * 2
        words += ["double", name] if doubled else [name]
        index += 2 if doubled else 1
    return " ".join(words)

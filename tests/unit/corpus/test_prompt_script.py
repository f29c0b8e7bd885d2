"""Prompt scripts: those that ship can be read and said, new ones are balanced, and malformed ones are named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import stt_ft
from stt_ft.core.errors import DatasetError
from stt_ft.corpus.prompt_script import load_prompt_script, make_digits_script
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.spoken_forms import spoken_words

SHIPPED = sorted((Path(stt_ft.__file__).parents[1] / "recordings" / "scripts").glob("*.yaml"))


def made(tmp_path: Path, **options: object) -> list[str]:
    path = tmp_path / "made.yaml"
    path.write_text(make_digits_script(**{"count": 400, "seed": 1, **options}), encoding="utf-8")  # type: ignore[arg-type]
    return [prompt.say for prompt in load_prompt_script(path).prompts]


def test_scripts_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= {"digits_en", "digits_fr", "pauses_en", "sentences_en"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_prompt_can_be_said(path: Path) -> None:
    script = load_prompt_script(path)
    for prompt in script.prompts:
        assert spoken_words(prompt.say, language=script.language)


def test_the_english_set_is_that_of_the_first_attempt() -> None:
    script = load_prompt_script(next(path for path in SHIPPED if path.stem == "digits_en"))
    assert Counter(prompt.prompt_id.split("_")[0] for prompt in script.prompts) == {"order": 15, "location": 15, "phone": 10, "mixed": 10}
    lengths = {prompt.prompt_id: len(digits_of_words(spoken_words(prompt.say))) for prompt in script.prompts}
    assert all(lengths[f"order_{number:02d}"] == 7 and lengths[f"location_{number:02d}"] == 6 for number in range(1, 16))


def test_new_scripts_are_balanced_and_never_repeat_a_number(tmp_path: Path) -> None:
    prompts = made(tmp_path)
    numbers = [digits_of_words(prompt.split()) for prompt in prompts]
    assert len(set(numbers)) == len(numbers) == 400
    counts = Counter("".join(numbers))
    assert max(counts.values()) < 1.25 * min(counts.values())
    assert 0.08 < sum(number[0] == "0" for number in numbers) / 400 < 0.3
    assert any("oh" in prompt.split() for prompt in prompts)
    assert any("double" in prompt.split() for prompt in prompts)


def test_the_seed_decides(tmp_path: Path) -> None:
    assert made(tmp_path, count=20) == made(tmp_path, count=20)
    assert made(tmp_path, count=20) != made(tmp_path, count=20, seed=2)
    assert all(
        "numéro" in prompt or "code" in prompt or "compte" in prompt or "c'est" in prompt for prompt in made(tmp_path, language="fr")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts: [{id: a, say: 5}]", "put numbers in quotes"),
        ("prompts: [{id: a/b, say: x}]", "becomes a file name"),
        ("prompts: [{id: a, say: x}, {id: a, say: y}]", "the id a stands here twice"),
        ("prompts: [{id: a, say: x, said: y}]", "unknown key said"),
        ("prompts: []", "expected `language"),
        ("just text", "expected `language"),
        ("a: [", "not a prompt script"),
    ],
)
def test_malformed_scripts_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(DatasetError, match=message) as refused:
        load_prompt_script(tmp_path / "bad.yaml")
    assert "bad.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_script_tells_where_some_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="recordings/scripts"):
        load_prompt_script(tmp_path / "missing.yaml")

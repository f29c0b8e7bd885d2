"""A command line handed to Fire: what is meant is passed on, what cannot be meant is refused with the nearest name."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.cli import UsageError, call

TAKEN: dict[str, Any] = {}
"""What the last function was called with."""


def encode(
    dataset: str,
    *,
    base: str = "tiny",
    batch_size: int = 16,
    gain_db: float = 0.0,
    limit: int | None = None,
    splits: list[str] | None = None,
    style: Literal["digits", "auto"] = "digits",
    rate: Literal[24000, 16000] = 24000,
    dry_run: bool = False,
    resume: bool = True,
) -> None:
    TAKEN.update(locals())


def record(*, script: str, out: str, device: int | None = None) -> None:
    TAKEN.update(locals())


def transcribe(model_dir: str, *audio: str, pauses: bool = False) -> None:
    TAKEN.update(locals())


def synthesize(source: str | None = None, *, out: str) -> None:
    TAKEN.update(locals())


def train(config: str, *, device: str = "auto", **overrides: Any) -> None:
    TAKEN.update(locals())


KEYS = ("optim.lr", "augment.speeds", "seed")
DEFAULTS = {
    "base": "tiny",
    "batch_size": 16,
    "gain_db": 0.0,
    "limit": None,
    "splits": None,
    "style": "digits",
    "rate": 24000,
    "dry_run": False,
    "resume": True,
}


def arguments(function: Any, words: list[str]) -> dict[str, Any]:
    """Return what Fire calls `function` with."""
    TAKEN.clear()
    call(function, words, command=function.__name__, recipe_keys=KEYS if function is train else ())
    assert TAKEN, "it was not called"
    return dict(TAKEN)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("x", {}),
        ("--dataset x", {}),
        ("x --base 0123", {"base": "0123"}),
        ("x --base=1e5", {"base": "1e5"}),
        ("x --base=--odd", {"base": "--odd"}),
        ("x --base -", {"base": "-"}),
        ("--batch_size 8 x", {"batch_size": 8}),
        ("--batch-size=8 x", {"batch_size": 8}),
        ("x --gain_db -3", {"gain_db": -3.0}),
        ("x --gain_db -.5", {"gain_db": -0.5}),
        ("x --gain_db=2e-1", {"gain_db": 0.2}),
        ("x --limit none", {"limit": None}),
        ("x --limit 3", {"limit": 3}),
        ("x --splits train,dev", {"splits": ["train", "dev"]}),
        ("x --splits [train,01]", {"splits": ["train", "01"]}),
        ("x --splits=", {"splits": []}),
        ("x --rate 16000", {"rate": 16000}),
        ("x --style auto", {"style": "auto"}),
        ("--dry_run x", {"dry_run": True}),
        ("--dry-run x", {"dry_run": True}),
        ("--dry_run true x", {"dry_run": True}),
        ("--dry_run x --resume", {"dry_run": True, "resume": True}),
        ("x --dry_run=False", {"dry_run": False}),
        ("x --no-resume", {"resume": False}),
        ("x --noresume", {"resume": False}),
        ("x --no_dry_run", {"dry_run": False}),
    ],
)
def test_what_is_meant_is_passed_on(line: str, meant: dict[str, Any]):
    assert arguments(encode, line.split()) == {"dataset": "x", **DEFAULTS, **meant}


@pytest.mark.parametrize(
    ("function", "line", "complaint"),
    [
        (encode, "", "DATASET is missing"),
        (encode, "x y", "unexpected 'y'; it takes DATASET"),
        (encode, "x --batch_sise 3", "no such flag: --batch_sise; did you mean --batch_size?"),
        (encode, "x --zzz", "no such flag: --zzz; expected one of --dataset, --base"),
        (encode, "x -b 3", "no such flag: -b"),
        (encode, "x -base 3", "no such flag: -base; did you mean --base?"),
        (encode, "x --no-base", "no such flag: --no-base; did you mean --base?"),
        (encode, "x --base", "--base needs a value"),
        (encode, "x --base --dry_run", "--base needs a value"),
        (encode, "x --batch_size eight", "--batch_size: expected a whole number, got the text 'eight'"),
        (encode, "x --batch_size 8.5", "--batch_size: expected a whole number, got 8.5"),
        (encode, "x --batch_size true", "--batch_size: expected a whole number, got true"),
        (encode, "x --gain_db nan", "--gain_db: expected a number"),
        (encode, "x --style digit", "--style: expected one of digits, auto, got the text 'digit'"),
        (encode, "x --dry_run=perhaps", "--dry_run: expected true or false, got the text 'perhaps'"),
        (encode, "x --no-resume=1", "--no-resume takes no value"),
        (encode, "x --base a --base b", "--base is given twice"),
        (encode, "x --splits train --splits dev", "--splits is given twice"),
        (encode, "x --rate 8000", "--rate: expected one of 24000, 16000, got 8000"),
        (encode, "x -", "unexpected '-'; it takes DATASET"),
        (encode, "x -- y", "no such flag: --"),
        (encode, "x --dry_run --dry-run", "--dry-run is given twice"),
        (encode, "x --dataset y", "unexpected 'x'; it takes DATASET"),
        (record, "--out y", "--script is missing"),
        (record, "", "--script and --out are missing"),
        (record, "words --script s --out y", "unexpected 'words'; it takes flags only"),
        (transcribe, "", "MODEL_DIR is missing"),
        (train, "c --optim.lrr 3", "no such flag: --optim.lrr; did you mean --optim.lr?"),
        (train, "c --optim.lr", "--optim.lr needs a value"),
        (train, "c --optim.lr 1 --optim.lr 1", "--optim.lr is given twice"),
        (train, "c --overrides x", "no such flag: --overrides"),
        (train, "c --loss.word_weight 2", "no such flag: --loss.word_weight (always 1"),
        (train, "c --evaluation.listen false", "no such flag: --evaluation.listen (the section is called validation now)"),
        (encode, "x --optim.lr 3", "no such flag: --optim.lr"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(function: Any, line: str, complaint: str):
    TAKEN.clear()
    with pytest.raises(UsageError) as error:
        arguments(function, line.split())
    assert not TAKEN
    assert str(error.value).startswith(f"{function.__name__}: {complaint}")
    assert str(error.value).endswith(f"(see stt-ft {function.__name__} --help)")
    assert "\n" not in str(error.value)


def test_further_words_go_to_the_parameter_that_takes_them():
    taken = arguments(transcribe, ["model", "a.wav", "02.wav", "--pauses"])
    assert taken == {"model_dir": "model", "audio": ("a.wav", "02.wav"), "pauses": True}
    assert arguments(transcribe, ["model"])["audio"] == ()  # whether no words will do is the command's affair
    assert arguments(transcribe, ["a.wav", "--model_dir", "model"]) == {"model_dir": "model", "audio": ("a.wav",), "pauses": False}
    assert arguments(synthesize, ["--out", "y"]) == {"source": None, "out": "y"}


def test_keys_of_a_recipe_are_handed_on_as_they_were_typed():
    given = arguments(train, ["c.yaml", "--optim.lr", "1e-4", "--seed=007", "--device", "cpu", "--augment.speeds", "0.9,1.1"])
    assert given == {"config": "c.yaml", "device": "cpu", "overrides": {"optim.lr": "1e-4", "seed": "007", "augment.speeds": "0.9,1.1"}}
    assert arguments(train, ["c.yaml"])["overrides"] == {}


@given(st.text(min_size=1).filter(lambda text: text.lower() not in ("none", "null", "~")))
@settings(max_examples=200, deadline=None)
def test_any_text_stays_as_it_was_typed(text: str):
    assert arguments(encode, ["x", f"--base={text}"])["base"] == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers())
@settings(max_examples=200, deadline=None)
def test_any_number_is_read_exactly(gain_db: float, batch_size: int):
    given = arguments(encode, ["x", "--gain_db", repr(gain_db), "--batch_size", repr(batch_size)])
    assert (given["gain_db"], given["batch_size"]) == (gain_db, batch_size)


@given(
    st.lists(
        st.sampled_from(
            ["x", "--base", "--base=", "--dry_run", "--no-resume", "--", "-", "--splits", "a,b", "-3", "--limit", "3", "=", "--=x", "---"]
        )
    )
)
@settings(max_examples=300, deadline=None)
def test_any_line_is_called_or_refused(words: list[str]):
    message = ""
    try:
        arguments(encode, words)
    except UsageError as error:
        message = str(error)
    assert "\n" not in message

"""Configuration read from YAML and overrides: types, typos, traps of YAML, and all mistakes in one error."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stt_ft.core.config import Config, Limits, describe, dump_config, load_config, to_dict
from stt_ft.core.errors import ConfigError

on_disk = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How weights move."""

    lr: Annotated[float, Limits(gt=0)] = 1e-3
    """Learning rate,
    per step."""

    betas: tuple[float, ...] = (0.9, 0.95)
    """Averaging."""

    max_norm: float | None = 1.0
    """Limit."""

    def __post_init__(self) -> None:
        messages = ["betas must not be empty"] if not self.betas else []
        messages += [f"max_norm must be positive, got {self.max_norm}"] if self.max_norm is not None and self.max_norm <= 0 else []
        if messages:
            raise ValueError(*messages)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """All."""

    dataset: str
    """Where the clips are."""

    steps: int = 10
    """How many."""

    verbose: bool = False
    """Say more."""

    targets: Literal["binary", "count", "off"] = "count"
    """What is learnt."""

    splits: list[str] = field(default_factory=lambda: ["train"])
    """Which."""

    weights: dict[str, float] = field(default_factory=dict)
    """How much of each."""

    out: Path | None = None
    """Where to."""

    optim: Optim = Optim()

    formerly: ClassVar[dict[str, str]] = {"eval": "the section is called optim now", "optim.momentum": "always 0.9"}


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, **overrides: Any) -> Settings:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(Settings, path, {key.replace("__", "."): value for key, value in overrides.items()})

    return read


def mistakes_of(error: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    """Return the mistakes that the message lists, without file name and count."""
    head, *rest = str(error.value).split("\n  ")
    return rest or [head.split("recipe.yaml: ", 1)[1]]


def test_defaults_stand_where_the_file_is_silent(read):
    assert read("dataset: clips") == Settings(dataset="clips")
    assert read("dataset: clips\noptim:\nweights: {}") == Settings(dataset="clips")


def test_every_type_is_read(read):
    given = read(
        "dataset: clips\nsteps: 1e3\nverbose: true\ntargets: binary\nsplits: [a, b]\nweights: {x: 1}\nout: o\n"
        "optim: {lr: 1, betas: [0, 0.5], max_norm: null}"
    )
    optim = Optim(lr=1.0, betas=(0.0, 0.5), max_norm=None)
    wanted = Settings(
        dataset="clips", steps=1000, verbose=True, targets="binary", splits=["a", "b"], weights={"x": 1.0}, out=Path("o"), optim=optim
    )
    assert given == wanted
    assert isinstance(given.optim.lr, float)
    assert isinstance(given.optim.betas, tuple)


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("optim: {lr: 2e-5}", "lr", 2e-5),
        ("optim: {lr: 1.e-3}", "lr", 1e-3),
        ("optim: {lr: .5}", "lr", 0.5),
        ("optim: {lr: 1_000}", "lr", 1000.0),
    ],
)
def test_numbers_that_yaml_1_1_takes_for_texts_are_numbers(read, text: str, attribute: str, value: float):
    assert getattr(read(f"dataset: x\n{text}").optim, attribute) == value


def test_words_that_yaml_1_1_takes_for_switches_are_words(read):
    assert read("dataset: no\ntargets: off").targets == "off"
    assert read("dataset: no").dataset == "no"
    assert read("dataset: 0123").dataset == "0123"
    assert read("dataset: 2024-01-01").dataset == "2024-01-01"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("dataset: 3", "dataset: must be a text, got 3 (put it in quotes)"),
        ("dataset: x\nsteps: 1.5", "steps: must be a whole number, got 1.5"),
        ("dataset: x\nsteps: true", "steps: must be a whole number, got true"),
        ("dataset: x\nsteps: '3'", "steps: must be a whole number, got the text '3'"),
        ("dataset: x\nverbose: 1", "verbose: must be true or false, got 1"),
        ("dataset: x\nverbose: yes", "verbose: must be true or false, got the text 'yes'"),
        ("dataset: x\ntargets: of", "targets: must be 'binary', 'count' or 'off', got the text 'of'"),
        ("dataset: x\nsplits: train", "splits: must be a list, got the text 'train'"),
        ("dataset: x\nweights: [1]", "weights: must be keys and values, got [1]"),
        ("dataset: x\noptim: fast", "optim: must be keys and values, got the text 'fast'"),
        ("dataset: x\noptim: {lr: .nan}", "optim.lr: must be a finite number, got nan"),
        ("dataset: x\noptim: {lr: .inf}", "optim.lr: must be a finite number, got inf"),
        ("dataset: x\noptim: {lr: 1e999}", "optim.lr: must be a finite number, got inf"),
        ("dataset: x\noptim: {lr: null}", "optim.lr: must be a number, got none"),
        ("dataset: x\noptim: {lr: 0}", "optim.lr: must be greater than 0, got 0"),
        ("dataset: x\noptim: {lr: 0x10}", "optim.lr: must be a number, got the text '0x10'"),
        ("dataset: x\noptim: {betas: [0.1, a]}", "optim.betas: must be a number, got the text 'a'"),
        ("dataset: x\noptim: {betas: []}", "optim.betas must not be empty"),
        ("dataset: x\noptim: {momentum: 1}", "optim.momentum: no such key any more (always 0.9)"),
        ("dataset: x\neval: {steps: 1}", "eval: no such key any more (the section is called optim now)"),
        ("dataset: x\noptim: {rl: 1}", "optim.rl: no such key; expected one of optim.lr, optim.betas, optim.max_norm"),
        ("dataset: x\nstep: 1", "step: no such key; did you mean steps?"),
        ("steps: 1", "dataset: missing"),
        ("dataset: x\n3: 4\n", "3: no such key; expected one of dataset, steps, verbose, targets, splits, weights, out, optim"),
    ],
)
def test_one_mistake_is_one_line_that_names_file_and_key(read, text: str, mistake: str):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert mistakes_of(error) == [mistake]
    assert "recipe.yaml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_listed_together(read):
    with pytest.raises(ConfigError) as error:
        read("steps: many\noptim: {lr: -1, beta: 3, max_norm: -2}\nverbos: true", optim__lrr="3", out__x="1", targets="offf")
    assert str(error.value).split("\n")[0].endswith("recipe.yaml: 8 mistakes")
    assert set(mistakes_of(error)) == {
        "dataset: missing",
        "steps: must be a whole number, got the text 'many'",
        "verbos: no such key; did you mean verbose?",
        "optim.beta: no such key; did you mean optim.betas?",
        "optim.lr: must be greater than 0, got -1",
        "--optim.lrr: no such key; did you mean optim.lr?",
        "--targets: must be 'binary', 'count' or 'off', got the text 'offf'",
        "out: must be a text, got {'x': 1}",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: [1", "line 1: not YAML"),
        (b"a: 1\nb: 2\na: 3", "line 3: not YAML: the key 'a' is given twice"),
        (b"- a\n- b", "expected keys and values, got list"),
        (b"just words", "expected keys and values, got str"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: !!python/object/apply:os.system [echo]", "line 1: not YAML"),
        (b"[" * 5000, "not YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, content: bytes, complaint: str):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_config(Settings, path)
    assert str(error.value).startswith(str(path))
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(Settings, tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(Settings, tmp_path)


def test_overrides_win_and_are_read_by_the_type_of_their_field(read):
    given = read(
        "dataset: x\nsteps: 3\noptim: {lr: 1}",
        optim__lr="1e-4",
        optim__betas="0.5,0.6",
        optim__max_norm="none",
        splits="[01,b]",
        dataset="0123",
    )
    assert given == Settings(dataset="0123", steps=3, splits=["01", "b"], optim=Optim(lr=1e-4, betas=(0.5, 0.6), max_norm=None))


def test_an_override_makes_the_section_that_the_file_does_not_have(read):
    assert read("dataset: x", optim__lr=0.5, verbose="true", out="none") == Settings(dataset="x", verbose=True, optim=Optim(lr=0.5))


def test_an_override_below_a_value_is_refused(read):
    with pytest.raises(ConfigError, match=r"--steps\.x: steps is 3, which has no keys"):
        read("dataset: x\nsteps: 3", steps__x="1")


@given(
    lr=st.floats(min_value=1e-12, max_value=1e12),
    steps=st.integers(-(10**12), 10**12),
    dataset=st.text(max_size=20),
    max_norm=st.none() | st.floats(min_value=1e-6, max_value=1e6),
    splits=st.lists(st.text(max_size=5), max_size=3),
)
@on_disk
def test_what_is_dumped_is_read_back_equal(tmp_path: Path, lr: float, steps: int, dataset: str, max_norm: float | None, splits: list[str]):
    config = Settings(dataset=dataset, steps=steps, splits=splits, optim=Optim(lr=lr, max_norm=max_norm))
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(Settings, path) == config
    assert to_dict(config) == yaml.safe_load(yaml.safe_dump(to_dict(config)))


@pytest.mark.parametrize(
    "text", ["1e5", "1.5", "007", "0x1F", "off", "true", "null", "~", "", "2024-01-01", "1:30", "=", "- a", "a: b", "\x85", " x "]
)
def test_a_text_that_looks_like_something_else_stays_a_text(tmp_path: Path, text: str):
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_config(Settings(dataset=text)), encoding="utf-8")
    assert load_config(Settings, path).dataset == text
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["dataset"] == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans())
@on_disk
def test_typed_overrides_mean_the_same_as_values(tmp_path: Path, lr: float, steps: int, verbose: bool):
    assume(lr > 0)
    path = tmp_path / "recipe.yaml"
    path.write_text("dataset: x")
    overrides = {"optim.lr": lr, "steps": steps, "verbose": verbose}
    assert load_config(Settings, path, {key: str(value) for key, value in overrides.items()}) == load_config(Settings, path, overrides)


@given(st.sampled_from(["dataset", "steps", "verbose", "optim.max_norm", "optim.betas"]), st.data())
@on_disk
def test_a_typo_anywhere_is_refused_with_the_name_that_was_meant(tmp_path: Path, key: str, data: st.DataObject):
    section, dot, name = key.rpartition(".")
    position = data.draw(st.integers(min_value=0, max_value=len(name) - 1))
    typo = name[:position] + data.draw(st.sampled_from(["", "x", name[position] * 2])) + name[position + 1 :]
    assume(typo != name)
    path = tmp_path / "recipe.yaml"
    path.write_text("dataset: x")
    with pytest.raises(ConfigError) as error:
        load_config(Settings, path, {f"{section}{dot}{typo}": "1"})
    assert str(error.value) == f"{path}: --{section}{dot}{typo}: no such key; did you mean {key}?"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Settings)]) | st.text(max_size=4), json_values))
@on_disk
def test_any_values_give_a_configuration_or_a_config_error(tmp_path: Path, values: dict[str, Any]):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    try:
        config = load_config(Settings, path)
    except ConfigError:
        return
    assert isinstance(config.steps, int)
    assert math.isfinite(config.optim.lr)


def test_describe_tells_key_type_default_and_documentation():
    described = {doc.key: (doc.type_name, doc.default, doc.doc) for doc in describe(Settings)}
    assert described["dataset"] == ("a text", None, "Where the clips are.")
    assert described["optim.lr"] == ("a number", "0.001", "Learning rate, per step.")
    assert described["optim.max_norm"] == ("a number or none", "1.0", "Limit.")
    assert described["targets"] == ("one of binary, count, off", "count", "What is learnt.")
    assert "optim" not in described


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "shared.yaml"
    path.write_text("steps: 3\nsplits: [a, b]\noptim:\n  lr: 0.5\n  betas: [0.1, 0.2]\n", encoding="utf-8")
    return path


def _inheriting(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"inherit: shared.yaml\ndataset: x\n{text}", encoding="utf-8")
    return path


def test_a_file_takes_over_what_it_inherits_and_its_own_keys_win(tmp_path: Path, shared: Path):
    path = _inheriting(tmp_path, "steps: 4\noptim:\n  lr: 0.25\n")
    inherited = load_config(Settings, path, {"splits": "[c]"})
    assert inherited == Settings(dataset="x", steps=4, splits=["c"], optim=Optim(lr=0.25, betas=(0.1, 0.2)))


def test_what_was_inherited_is_dumped_in_full(tmp_path: Path, shared: Path):
    config = load_config(Settings, _inheriting(tmp_path, ""))
    resolved = tmp_path / "elsewhere.yaml"
    resolved.write_text(dump_config(config), encoding="utf-8")
    shared.unlink()
    assert load_config(Settings, resolved) == config


def test_an_empty_section_is_as_inherited(tmp_path: Path, shared: Path):
    assert load_config(Settings, _inheriting(tmp_path, "optim:\n")).optim == Optim(lr=0.5, betas=(0.1, 0.2))


def test_a_mistake_is_told_with_the_file_it_stands_in(tmp_path: Path, shared: Path):
    shared.write_text("stepz: 3\noptim: {lr: -1, betas: 7}\n", encoding="utf-8")
    path = _inheriting(tmp_path, "verboze: true\noptim:\n  betas: 8\n")
    with pytest.raises(ConfigError) as error:
        load_config(Settings, path)
    first, *mistakes = str(error.value).splitlines()
    assert first == f"{path}: 4 mistakes"
    told = {mistake.split()[0].rstrip(":"): mistake.endswith(f"(in {shared})") for mistake in mistakes}
    assert told == {"stepz": True, "verboze": False, "optim.betas": False, "optim.lr": True}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "inherit: {shared}: no such file"),
        ("inherit: recipe.yaml", "inherit: {shared} itself inherits; a file that is inherited from stands alone"),
        ("steps: 1\nsteps: 2", "inherit: {shared}, line 2: not YAML: the key 'steps' is given twice"),
    ],
)
def test_what_cannot_be_inherited_is_one_line(tmp_path: Path, shared: Path, content: str | None, complaint: str):
    shared.unlink() if content is None else shared.write_text(content, encoding="utf-8")
    path = _inheriting(tmp_path, "")
    with pytest.raises(ConfigError) as error:
        load_config(Settings, path)
    assert str(error.value) == f"{path}: {complaint.format(shared=shared)}"


def test_a_file_that_inherits_from_itself_or_from_no_name_is_refused(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("inherit: recipe.yaml\ndataset: x", encoding="utf-8")
    with pytest.raises(ConfigError, match="itself inherits"):
        load_config(Settings, path)
    path.write_text("inherit: [a, b]\ndataset: x", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected the name of a file"):
        load_config(Settings, path)


def test_threads_read_their_first_configs_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    """Two at once make CPython 3.11 fail: "AST constructor recursion depth mismatch"."""
    import pydantic

    from stt_ft.core import config

    inside: list[int] = []

    def building(cls: type) -> str:
        inside.append(threading.get_ident())
        time.sleep(0.05)
        assert inside.pop() == threading.get_ident()
        return cls.__name__

    monkeypatch.setattr(pydantic, "TypeAdapter", building)
    classes = [type(f"Section{number}", (Config,), {}) for number in range(4)]
    built: list[str] = []
    threads = [threading.Thread(target=lambda cls=cls: built.append(config._adapter(cls))) for cls in classes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(built) == [cls.__name__ for cls in classes]

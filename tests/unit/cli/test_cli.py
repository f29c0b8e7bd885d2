"""The command line as a person meets it: help, one-line refusals with exit 2 and nothing written, errors and interruptions."""

from __future__ import annotations

import functools
import inspect
import os
import resource
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stt_ft
from stt_ft import cli
from stt_ft.core.errors import CheckFailed, DatasetError
from stt_ft.stages import COMMANDS, stage

DESIGNED = (  # noqa: SIM905
    "demo init record studio ingest annotate convert check split pack archive synthesize encode train merge export push transcribe "
    "evaluate gate run doctor"
).split()


@pytest.fixture
def with_stage(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """Put a function in the place of a stage."""

    def put(name: str, function: Callable[..., Any]) -> None:
        path = f"stt_ft.stages.{COMMANDS[name].module}"
        module = types.ModuleType(path)
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, path, module)

    return put


def run(*argv: str, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    return subprocess.run([sys.executable, "-m", "stt_ft", *argv], capture_output=True, text=True, cwd=cwd, env=environment, **options)


def test_every_command_of_the_design_is_there():
    assert sorted(COMMANDS) == sorted(DESIGNED)


@pytest.mark.parametrize("name", DESIGNED)
def test_a_command_can_be_imported_and_documents_every_parameter(name: str):
    function = stage(name)
    summary, _, docs = cli._docstring(function)
    assert summary
    assert [p.name for p in cli.parameters_of(function) if not docs.get(p.name)] == []
    assert ("overrides" in inspect.signature(function).parameters) == COMMANDS[name].takes_recipe


@pytest.mark.parametrize("name", DESIGNED)
def test_the_help_of_a_command_shows_its_parameters_and_an_example(name: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(cli.label_of(p) in out for p in cli.parameters_of(stage(name)))
    assert COMMANDS[name].example in out
    assert max(len(line) for line in out.splitlines()) <= 120


@pytest.mark.parametrize("name", DESIGNED)
def test_the_example_of_a_command_is_understood(name: str):
    _, command, *rest = COMMANDS[name].example.split()
    assert command == name
    keys = [doc.key for doc in cli._recipe_docs(COMMANDS[name])]
    taken: dict[str, Any] = {}

    @functools.wraps(stage(name))
    def takes(*words: Any, **flags: Any) -> None:
        taken.update({"words": words, **flags})

    cli.call(takes, rest, command=name, recipe_keys=keys)
    assert taken


@pytest.mark.parametrize("name", DESIGNED)
def test_every_command_refuses_a_flag_that_does_not_exist(name: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([name, "--no-such-flag"]) == 2
    assert capsys.readouterr().err.startswith(f"stt-ft: {name}: no such flag: --no-such-flag")


IMPORTS = """
import sys
from stt_ft.cli import main
for command in sys.argv[1:]:
    main([command, "--help"] if command != "overview" else ["--help"])
    loaded = sorted({"torch", "moshi", "whisper", "matplotlib"} & set(sys.modules))
    if loaded:
        sys.exit(f"stt-ft {command} --help imports {loaded}")
"""


def test_no_help_imports_torch():
    answer = subprocess.run([sys.executable, "-c", IMPORTS, "overview", *DESIGNED], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert all(f"\n  {name} " in answer.stdout for name in DESIGNED)


def test_help_answers_in_half_a_second():
    """Of processor time, which hardly depends on what else the machine does; alone, the clock on the wall says the same."""
    durations_s = []
    for _ in range(5):
        begin_s = _children_s()
        assert run("--help").returncode == 0
        durations_s.append(_children_s() - begin_s)
    assert min(durations_s) < 0.5


def _children_s() -> float:
    """Return the seconds of processor time that processes started from here have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "which command?"),
        (["trian", "x"], "no such command: trian; did you mean train?"),
        (["--bogus"], "--bogus: a command comes first"),
        (["help", "nothing"], "no such command: nothing"),
        (["doctor", "--jsn"], "doctor: no such flag: --jsn; did you mean --json?"),
        (["doctor", "please"], "doctor: unexpected 'please'; it takes flags only"),
        (["train"], "train: CONFIG is missing"),
        (["train", "c.yaml", "--optim.lrr", "1"], "train: no such flag: --optim.lrr; did you mean --optim.lr?"),
        (["train", "nothing.yaml"], "nothing.yaml: no such file"),
    ],
)
def test_a_mistake_is_one_line_exit_2_and_writes_nothing(argv: list[str], complaint: str, tmp_path: Path):
    answer = run(*argv, cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"stt-ft: {complaint}")
    assert answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_refused_line_runs_nothing(with_stage, capsys: pytest.CaptureFixture[str]):
    calls = []

    def check(dataset: str) -> None:
        calls.append(dataset)

    with_stage("check", check)
    assert cli.main(["check", "x", "--typo"]) == 2
    assert cli.main(["check", "x", "y"]) == 2
    assert cli.main(["check"]) == 2
    assert calls == []
    assert cli.main(["check", "0123"]) == 0
    assert calls == ["0123"]


@pytest.mark.parametrize(("error", "code"), [(DatasetError("clips/train.jsonl, line 3: bad"), 2), (CheckFailed("2 problems"), 1)])
def test_an_error_of_the_user_is_its_message_alone(with_stage, capsys: pytest.CaptureFixture[str], error: Exception, code: int):
    def check(dataset: str) -> None:
        raise error

    with_stage("check", check)
    assert cli.main(["check", "x"]) == code
    assert capsys.readouterr().err == f"stt-ft: {error}\n"


def test_an_error_of_the_program_keeps_its_traceback(with_stage):
    def check(dataset: str) -> None:
        raise ZeroDivisionError("a bug")

    with_stage("check", check)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["check", "x"])


def test_version_and_help_in_their_spellings(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"stt-ft {stt_ft.__version__}\n"
    for spelling in (["--help"], ["-h"], ["help"]):
        assert cli.main(spelling) == 0
        assert capsys.readouterr().out == cli.overview() + "\n"
    assert cli.main(["help", "doctor"]) == 0
    by_word = capsys.readouterr().out
    assert cli.main(["doctor", "--json", "-h"]) == 0
    assert capsys.readouterr().out == by_word


INTERRUPTED = """
import sys, time, types
module = types.ModuleType("stt_ft.stages.dataset")
def check(dataset: str) -> None:
    print("begun", flush=True)
    time.sleep(600)
module.check = check
sys.modules["stt_ft.stages.dataset"] = module
from stt_ft.cli import main
sys.exit(main(["check", "x"]))
"""


def test_an_interruption_is_one_line_and_130():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has shells ignore the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == "stt-ft: interrupted; the same command takes up the work again"


def test_a_reader_that_goes_away_leaves_no_traceback():
    command = f"{sys.executable} -m stt_ft doctor | true; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert answer.stderr == ""
    assert answer.returncode in (0, 141)


def test_a_store_that_goes_away_in_the_middle_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    gone = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})

    def without_network(_: list[str]) -> None:
        raise gone('Could not connect to the endpoint URL: "http://store/calls"')

    monkeypatch.setattr(cli, "_run", without_network)
    assert cli.main(["check", "s3://calls/orders"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("stt-ft: the store cannot be asked: Could not connect")
    assert told.count("\n") == 1

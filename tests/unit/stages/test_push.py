"""`stt-ft push` against a stub of the hub's HTTP interface: what arrives is what was to be sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from random_models import make_adapter, make_random_base
from sample_frames import make_frames, report_on

from stt_ft.core.errors import CheckFailed, CheckpointError, DatasetError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.evaluation.agents import agent_systems
from stt_ft.evaluation.report import MeasuredSplit, write_report
from stt_ft.export.formats import write_format
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.stages.handover import push

REPO = "someone/stt-1b-orders"


class Hub:
    """What the stub was asked and given."""

    def __init__(self) -> None:
        self.refusal: tuple[int, str] | None = None
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.address = ""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(404, {"error": "not here"})

        def do_PUT(self) -> None:
            hub.large[self.path.rsplit("/", 1)[1]] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if hub.refusal is not None:
                self.answer(hub.refusal[0], {"error": hub.refusal[1]})
            elif self.path == "/api/repos/create":
                hub.created.append({**json.loads(body), "authorization": self.headers["Authorization"]})
                self.answer(200, {"url": f"{hub.address}/{REPO}"})
            elif self.path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                modes = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"} for f in files]
                self.answer(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
            elif self.path.endswith("/info/lfs/objects/batch"):
                wanted = json.loads(body)["objects"]
                actions = [{**w, "actions": {"upload": {"href": f"{hub.address}/lfs/{w['oid']}", "header": {}}}} for w in wanted]
                self.answer(200, {"transfer": "basic", "objects": actions})
            elif "/commit/" in self.path:
                self.commit(body)
            else:
                self.answer(404, {"error": self.path})

        def commit(self, body: bytes) -> None:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    hub.files[line["value"]["path"]] = hub.large[line["value"]["oid"]]
            self.answer(200, {"success": True, "commitOid": "abc", "commitUrl": f"{hub.address}/{REPO}/commit/abc", "hookOutput": ""})

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, with a token that it takes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import reset_sessions

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # What HF_ENDPOINT says to a process that starts with it.
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    reset_sessions()  # one that an earlier test opened stays offline
    yield hub
    reset_sessions()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    directory = tmp_path_factory.mktemp("models")
    base = make_random_base(directory / "base")
    adapter = make_adapter(base, directory / "adapter" / "lora.safetensors")
    merge_adapter(base, [Adapter.open(adapter)], directory / "merged")
    return open_model(directory / "merged")


@pytest.fixture
def orders(tmp_path: Path) -> Dataset:
    data = Dataset(tmp_path / "orders")
    data.directory.mkdir()
    data.write_info({"language": "fr"})
    clips = [Clip(path=f"audio/{n}.wav", duration_s=1800.0, extra={"speaker": "Ann Example", "script": "order 55"}) for n in range(3)]
    data.write_clips("train", clips)
    return data


def test_every_file_and_the_card_arrive(hub, merged):
    push(str(merged.directory), REPO)
    assert {name for name in hub.files if name != "README.md"} == {path.name for path in merged.directory.iterdir()}
    assert all(hub.files[path.name] == path.read_bytes() for path in merged.directory.iterdir())
    assert ModelCard(hub.files["README.md"].decode()).data.license == "cc-by-4.0"
    (created,) = hub.created
    assert created["name"] == "stt-1b-orders"
    assert created["private"] is True
    assert created["authorization"] == "Bearer hf_of_this_test"


def test_a_dry_run_shows_the_card_and_asks_the_hub_nothing(hub, merged, orders, capsys):
    push(str(merged.directory), REPO, dataset=str(orders.directory), licence="apache-2.0", dry_run=True)
    card, talk = capsys.readouterr()
    assert hub.created == []
    assert hub.files == {}
    assert "license: apache-2.0" in card
    assert "| train | 3 | 1.50 | 1 |" in card
    assert "Ann Example" not in card
    assert "order 55" not in card
    assert str(merged.lm_header().metadata["base_sha256"])[:16] in card
    assert "nothing uploaded" in talk


def test_the_cards_front_matter_is_yaml_that_the_hub_reads(merged, orders, capsys):
    push(str(merged.directory), REPO, base="kyutai/stt-1b-en_fr-candle", dataset=str(orders.directory), dry_run=True)
    data = ModelCard(capsys.readouterr().out).data
    assert data.base_model == "kyutai/stt-1b-en_fr-candle"
    assert data.language == ["fr"]
    assert data.pipeline_tag == "automatic-speech-recognition"


def test_the_hubs_refusal_is_one_line(hub, merged):
    hub.refusal = (403, "you may not write here")
    with pytest.raises(CheckpointError, match=r"someone/stt-1b-orders: not uploaded: .*") as refusal:
        push(str(merged.directory), REPO)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("repo", ["orders", "a/b/c", "https://huggingface.co/a/b", ""])
def test_what_is_no_repository_is_refused(merged, repo):
    with pytest.raises(CheckpointError, match="OWNER/NAME"):
        push(str(merged.directory), repo, dry_run=True)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        push(str(tmp_path), REPO, dry_run=True)


def test_a_report_that_is_not_there_is_said(merged, tmp_path):
    with pytest.raises(DatasetError, match=r"report\.json: no such file"):
        push(str(merged.directory), REPO, report=str(tmp_path), dry_run=True)


def told_of(model: ModelDir) -> dict[str, Any]:
    """What `evaluate` writes of the weights that it measured."""
    return {"provenance": {"inputs": {"tuned": model.sha256(model.lm_weights)}}}


@pytest.fixture
def measured(tmp_path, merged):
    """An evaluation whose model passes a gate of its own, "passes.yaml", and fails the other."""
    frames = make_frames()
    told = {
        "systems": agent_systems(frames, "tuned", "dev"),
        "dataset": MeasuredSplit(name="/home/ann/orders", split="heldout"),
        **told_of(merged),
    }
    write_report(tmp_path, report_on(frames, **told))
    (tmp_path / "passes.yaml").write_text("checks:\n  numbers.false_cut_offs: {max: 1.0}\n")
    (tmp_path / "breaks.yaml").write_text("checks:\n  numbers.false_cut_offs: {min: 1.0}\n")
    return tmp_path


def test_a_model_whose_report_breaks_the_gate_stays_here(hub, merged, measured):
    with pytest.raises(
        CheckFailed, match=r"not uploaded, 1 limits .*numbers.false_cut_offs: .*; --gate none uploads it nevertheless"
    ) as one:
        push(str(merged.directory), REPO, report=str(measured), gate=str(measured / "breaks.yaml"))
    assert "\n" not in str(one.value)
    assert (hub.created, hub.files) == ([], {})
    for gate in ("none", str(measured / "passes.yaml")):
        hub.files.clear()
        push(str(merged.directory), REPO, report=str(measured), gate=gate)
        assert "README.md" in hub.files


def test_the_shipped_gate_is_asked_unless_told_otherwise(merged, measured):
    write_report(measured, report_on(make_frames(), baseline=None, **told_of(merged)))
    with pytest.raises(CheckFailed, match=r"has no baseline.*--gate none uploads it nevertheless"):
        push(str(merged.directory), REPO, report=str(measured), dry_run=True)


def test_the_card_has_a_model_index_that_the_hub_reads(merged, measured, capsys):
    push(str(merged.directory), REPO, report=str(measured), gate="none", dry_run=True)
    card = ModelCard(capsys.readouterr().out)
    data = card.data.to_dict()
    _, read = model_index_to_eval_results(data["model-index"])
    results = {(one.dataset_config, one.metric_type): one for one in read}
    report = json.loads((measured / "report.json").read_text())
    cut_offs = report["figures"]["tuned"]["numbers"]["false_cut_offs"]
    one = results["numbers", "false_cut_offs"]
    assert (one.metric_value, one.dataset_name, one.dataset_split) == (pytest.approx(cut_offs["value"], abs=1e-5), "orders", "heldout")
    assert one.metric_args is not None
    assert one.metric_args["interval_95"] == pytest.approx([cut_offs["low"], cut_offs["high"]], abs=1e-5)
    assert ("ordinary", "wer") in results
    assert data["model-index"][0]["name"] == "stt-1b-orders"
    assert "/home/ann" not in str(card)
    assert "## Settings for agents" in card.text
    assert "GradiumSTTService.Settings(eot_horizon_s=2, eot_threshold=" in card.text


def test_a_report_of_other_weights_is_refused(hub, merged, measured, tmp_path):
    other = make_random_base(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match=r"measured other weights \(\w{12}…\) than model\.safetensors in .*; evaluate the one") as one:
        push(str(other.directory), REPO, report=str(measured), gate="none")
    assert "\n" not in str(one.value)
    write_report(measured, report_on(make_frames()))
    with pytest.raises(CheckpointError, match="does not say which weights it measured"):
        push(str(merged.directory), REPO, report=str(measured), gate="none")
    assert (hub.created, hub.files) == ([], {})


@pytest.mark.parametrize("format", ["candle", "mlx", "gguf"])
def test_an_export_of_the_measured_weights_goes_with_their_report(merged, measured, tmp_path, format, capsys):
    if format == "gguf":
        pytest.importorskip("gguf")
    write_format(format, merged, tmp_path / "export")
    push(str(tmp_path / "export"), REPO, report=str(measured), gate="none", dry_run=True)
    assert "nothing uploaded" in capsys.readouterr().err
    write_report(measured, report_on(make_frames(), provenance={"inputs": {"tuned": "0" * 64}}))
    with pytest.raises(CheckpointError, match="measured other weights"):
        push(str(tmp_path / "export"), REPO, report=str(measured), gate="none", dry_run=True)

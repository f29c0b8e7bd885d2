"""Who may ask the studio for what: without the link nothing, and nothing that is too large or too much."""

from __future__ import annotations

import contextlib
import http.client
import resource
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from running_studio import RunningStudio, running_studio

from stt_ft.studio import guard
from stt_ft.studio.guard import Keys

SCRIPT = "language: en\nprompts:\n  - {id: p1, say: order number 415}\n  - {id: p2, say: order number 555}\n"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "prompts.yaml").write_text(SCRIPT)
    with running_studio(directory / "orders", script=directory / "prompts.yaml") as running:
        yield running


def get(studio: RunningStudio, path: str, **headers: str) -> requests.Response:
    return requests.get(studio.origin + path, headers=headers, timeout=10)


def test_the_link_opens_the_page_and_leaves_a_cookie_that_scripts_cannot_read(studio: RunningStudio) -> None:
    answer = requests.get(studio.link(), timeout=10)
    assert answer.status_code == 200
    assert 'content="0;url=/desk/"' in answer.text
    cookie = answer.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/desk/"))
    page = get(studio, "/desk/", Cookie=studio.cookies())
    assert 'role="tablist"' in page.text


@pytest.mark.parametrize(
    "path",
    ["/", "/desk/", "/desk/?token=", "/desk/?token=wrong", "/desk/static/studio.js", "/desk/api/speakers", "/nothing", "/desk/api/nothing"],
)
def test_without_the_token_nothing_is_said(studio: RunningStudio, path: str) -> None:
    answer = get(studio, path)
    assert answer.status_code == 403
    assert "link" in answer.json()["error"]


def test_a_token_opens_its_place_alone(studio: RunningStudio) -> None:
    assert studio.ask("GET", "api/speakers").status_code == 200
    for place, other in (("desk", "speaker/anna"), ("speaker/anna", "desk"), ("speaker/anna", "speaker/bo")):
        assert get(studio, f"/{place}/", Cookie=studio.cookies(other)).status_code == 403
    assert studio.ask("GET", "api/speakers", place="speaker/anna").status_code == 404


def test_a_token_in_the_address_counts_at_the_door_alone(studio: RunningStudio) -> None:
    token = studio.studio.keys.token("desk")
    assert get(studio, f"/desk/api/speakers?token={token}").status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost"])
def test_another_origin_is_refused(studio: RunningStudio, origin: str) -> None:
    assert studio.ask("GET", "api/speakers", headers={"Origin": origin}).status_code == 403
    assert studio.ask("POST", "api/speakers", {"name": "eve"}, headers={"Origin": origin}).status_code == 403


def test_what_changes_something_must_say_where_it_comes_from(studio: RunningStudio) -> None:
    headers = {"Cookie": studio.cookies(), "Content-Type": "application/json"}
    answer = requests.post(f"{studio.origin}/desk/api/speakers", data='{"name": "eve"}', headers=headers, timeout=10)
    assert answer.status_code == 403
    assert [row["name"] for row in studio.ask("GET", "api/speakers").json()["speakers"] if row["name"] == "eve"] == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "", "[::1", "a" * 4000])
def test_another_host_is_refused(studio: RunningStudio, host: str) -> None:
    """A page of evil.example whose name has been made to mean 127.0.0.1 (DNS rebinding)."""
    assert get(studio, "/desk/", Host=host.format(port=studio.port), Cookie=studio.cookies()).status_code in (400, 421)


def test_numbers_and_localhost_are_this_machine(studio: RunningStudio) -> None:
    for host in (f"127.0.0.1:{studio.port}", f"localhost:{studio.port}", f"[::1]:{studio.port}", f"LOCALHOST:{studio.port}"):
        assert get(studio, "/desk/", Host=host, Cookie=studio.cookies()).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/desk/static/../../secret",
        "/desk/../secret",
        "/desk/static/%2e%2e%2fsecret",
        "/desk/static/..%2f..%2fdataset.yaml",
        "//desk/",
        "/desk/static//etc/passwd",
    ],
)
def test_no_address_leads_out(studio: RunningStudio, path: str) -> None:
    connection = http.client.HTTPConnection("localhost", studio.port, timeout=10)
    connection.request("GET", path, headers={"Cookie": studio.cookies()})
    answer = connection.getresponse()
    assert answer.status in (403, 404)
    assert b"error" in answer.read()


def test_pages_may_run_and_ask_nothing_but_ours(studio: RunningStudio) -> None:
    for answer in (studio.ask("GET", ""), get(studio, "/"), studio.ask("GET", "api/speakers")):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "<script>" not in studio.ask("GET", "").text
    assert " style=" not in studio.ask("GET", "").text


@pytest.mark.parametrize("known", [True, False])
def test_a_body_that_claims_a_gigabyte_is_refused_unread(studio: RunningStudio, known: bool) -> None:
    connection = http.client.HTTPConnection("localhost", studio.port, timeout=10)
    connection.putrequest("POST", "/desk/api/speakers")
    headers = {"Content-Type": "application/json", "Content-Length": str(10**9), "Origin": studio.origin}
    for name, value in {**headers, **({"Cookie": studio.cookies()} if known else {})}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == (413 if known else 403)
    assert studio.ask("GET", "api/speakers").ok


@pytest.mark.parametrize("known", [True, False])
def test_a_gigabyte_in_chunks_is_refused(studio: RunningStudio, known: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection = socket.create_connection(("localhost", studio.port), timeout=20)
    cookie = f"Cookie: {studio.cookies()}\r\n" if known else ""
    head = f"POST /desk/api/speakers HTTP/1.1\r\nHost: localhost:{studio.port}\r\nOrigin: {studio.origin}\r\n{cookie}"
    connection.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    chunk, num_sent = b"100000\r\n" + b" " * 0x100000 + b"\r\n", 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while num_sent < 1000:
            connection.sendall(chunk)
            num_sent += 1
    assert num_sent < 900
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert studio.ask("GET", "api/speakers").ok


def test_a_thousand_sockets_shut_nobody_out(studio: RunningStudio) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    sockets = []
    try:
        for _ in range(1000):
            sockets.append(socket.create_connection(("localhost", studio.port), timeout=10))
        assert studio.ask("GET", "api/speakers").ok
        sockets[0].settimeout(guard.STRANGER_S / 4)
        with contextlib.suppress(ConnectionResetError):
            assert sockets[0].recv(1) == b""  # the oldest gave way, at once
    finally:
        for each in sockets:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_never_says_a_word_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STRANGER_S", 0.2)
    with running_studio(tmp_path) as running:
        silent = socket.create_connection(("localhost", running.port), timeout=10)
        half = socket.create_connection(("localhost", running.port), timeout=10)
        half.sendall(b"GET /desk/ HTTP/1.1\r\nHost: localh")
        for connection in (silent, half):
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert running.ask("GET", "api/speakers").ok


def test_links_work_again_after_a_restart_and_are_void_without_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = Keys.of(path)
    assert Keys.of(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shutil.copy2(path, tmp_path / "copied")
    assert not Keys.of(tmp_path / "copied").fits("desk", first.token("desk"))
    path.unlink()
    assert not Keys.of(path).fits("desk", first.token("desk"))
    path.write_text("")
    assert len(Keys.of(path).secret) == 32

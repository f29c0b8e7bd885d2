"""The studio's Record in a browser whose microphone is a WAV: what is kept is what was said, whatever happens on the way."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_studio import RunningStudio, running_studio

from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ
from stt_ft.dataset.manifest import Dataset
from stt_ft.studio import recording
from stt_ft.studio.guard import Keys
from stt_ft.studio.speakers import invite

pytestmark = pytest.mark.browser

NUM_PROMPTS = 10
SPACE, ENTER = " ", "\ue007"
SPOKEN_S = 85.0  # longer than any page is open: the browser begins with each page anew, and stumbles where it begins again by itself


def prompts(language: str = "en", num: int = NUM_PROMPTS) -> str:
    lines = [f'  - {{id: p{number:02d}, say: "order number {number} … 415"}}' for number in range(1, num + 1)]
    return "\n".join([f"language: {language}", "prompts:", *lines]) + "\n"


class Spoken:
    """Something that is nowhere like itself, loud and quiet by turns as speech is: no two places of it can be taken for each other."""

    def __init__(self) -> None:
        rng, num = np.random.default_rng(17), round(SPOKEN_S * SAMPLE_RATE_HZ)
        spectrum = np.fft.rfft(rng.standard_normal(num))
        spectrum[np.fft.rfftfreq(num, 1 / SAMPLE_RATE_HZ) > 8000] = 0
        noise = np.fft.irfft(spectrum, num)
        seconds = np.arange(0, SPOKEN_S + 1, 0.25)
        loudness = np.interp(np.arange(num) / SAMPLE_RATE_HZ, seconds, rng.uniform(0.02, 1, len(seconds)))
        self.samples = (0.35 * noise / np.abs(noise).max() * loudness).astype(np.float32)
        self._num = 1 << num.bit_length()
        self._spectrum = np.fft.rfft(self.samples, self._num)

    def likeness(self, take: np.ndarray) -> float:
        """Return how like a take is to a part of this: of all its half seconds, the one that is least like the place where, by where the
        take begins, it must come from. A sample that is lost or doubled moves all that follows.
        """
        piece, edge = SAMPLE_RATE_HZ // 2, 200
        first = take[:piece]
        products = np.fft.irfft(self._spectrum * np.conj(np.fft.rfft(first, self._num)), self._num)[: len(self.samples) - len(take)]
        at = int(np.argmax(products))
        place = self.samples[at : at + piece][edge:-edge]
        shift = max(np.arange(-1, 1.01, 0.05), key=lambda by: alike(moved(first, by)[edge:-edge], place))
        begins = range(0, len(take) - piece + 1, piece)
        pieces = [(moved(take[begin : begin + piece], shift), self.samples[at + begin : at + begin + piece]) for begin in begins]
        return min(alike(part[edge:-edge], place[edge:-edge]) for part, place in pieces)


@pytest.fixture(scope="session")
def spoken() -> Spoken:
    return Spoken()


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory, spoken: Spoken) -> Path:
    path = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    write_wav(path, spoken.samples)
    return path


@pytest.fixture(scope="session")
def browsers(microphone: Path) -> Iterator[Callable[[], Any]]:
    """Return a function that opens a browser that hears `microphone`, again and again."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromedriver = shutil.which("chromedriver")
    if chromedriver is None or subprocess.run([chromedriver, "--version"], capture_output=True).returncode:
        pytest.skip("needs a chromedriver that runs (Ubuntu's asks for a snap)")
    opened = []

    def open_browser() -> Any:
        options = webdriver.ChromeOptions()
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"),
            *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}"),
            "--autoplay-policy=no-user-gesture-required",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        opened.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver)))
        return opened[-1]

    yield open_browser
    for browser in opened:
        browser.quit()


@pytest.fixture(scope="session")
def browser(browsers: Callable[[], Any]) -> Any:
    return browsers()


class Speaker:
    """Reads prompts with the keyboard alone."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def phase(self) -> str:
        return self.page.run("return document.querySelector('#panel-record')?.dataset.phase ?? ''")

    def wait_for(self, phase: str) -> None:
        self.page.wait_until(lambda: self.phase() == phase, 30)

    def begin(self, link: str, *, phase: str = "ready") -> None:
        """Open a link, agree where that is asked, and see the first prompt."""
        self.page.driver.get(link)
        self.page.wait_until(lambda: self.page.run("return document.querySelector('#panel-record button.main') !== null"))
        self.page.run("""
            window.pressed = [];
            addEventListener('keydown', event => { if (event.key === ' ') window.pressed.push(performance.now()); }, true);
        """)
        if self.page.run("return document.querySelector('.agreement') !== null"):
            self.page.press("\ue004", "\ue004", "\ue004", "\ue004")  # Tab over three fields to the button
        self.page.press(ENTER)
        self.wait_for(phase)

    def record(self, duration_s: float) -> float:
        """Record for about so long; return for how long in seconds by the browser's clock."""
        self.page.press(SPACE)
        self.wait_for("recording")
        time.sleep(duration_s)
        self.page.press(SPACE)
        self.wait_for("review")
        first, last = self.page.run("return window.pressed.slice(-2)")
        return (last - first) / 1000

    def keep(self) -> None:
        self.page.press(ENTER)
        self.page.wait_until(lambda: self.phase() in ("ready", "done"), 30)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def moved(samples: np.ndarray, by_samples: float) -> np.ndarray:
    """Return sound later by a part of a sample; what comes round at the edges is of no use."""
    turns = np.fft.rfftfreq(len(samples)) * by_samples
    return np.fft.irfft(np.fft.rfft(samples) * np.exp(-2j * np.pi * turns), len(samples))


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[RunningStudio]:
    (tmp_path / "prompts.yaml").write_text(prompts())
    with running_studio(tmp_path / "orders", script=tmp_path / "prompts.yaml") as running:
        yield running


@pytest.fixture
def speaker(browser: Any, opened_page: type, tmp_path: Path) -> Speaker:
    return Speaker(opened_page(driver=browser, path=tmp_path))


def invited(studio: RunningStudio, name: str) -> str:
    return studio.origin + studio.ask("POST", "api/speakers", {"name": name}).json()["link"]


@pytest.mark.slow
def test_ten_prompts_by_keyboard_alone(studio: RunningStudio, speaker: Speaker, spoken: Spoken) -> None:
    speaker.begin(invited(studio, "Anna"))
    speaker.page.driver.get_log("browser")
    durations_s = []
    for _ in range(NUM_PROMPTS):
        durations_s.append(speaker.record(0.7))
        speaker.keep()
    assert speaker.phase() == "done"
    clips = studio.studio.data.clips("train")
    assert [clip.path for clip in clips] == [f"audio/anna_p{number:02d}.wav" for number in range(1, NUM_PROMPTS + 1)]
    for clip, duration_s in zip(clips, durations_s, strict=True):
        take = read_audio(studio.studio.data.audio_path(clip))
        assert clip.duration_s == pytest.approx(duration_s, abs=FRAME_S)
        assert spoken.likeness(take) > 0.99
    assert speaker.page.driver.get_log("browser") == []
    assert speaker.page.nameless_controls() == []


class Wire:
    """What lies between browser and studio, and can be cut."""

    def __init__(self, port: int) -> None:
        self._target, self._is_whole, self._ends = port, True, list[socket.socket]()
        self._listener = socket.create_server(("localhost", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._is_whole:
                    near.close()
                    continue
                far = socket.create_connection(("localhost", self._target))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self._is_whole = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_whole = True


def test_a_connection_that_is_cut_loses_nothing(studio: RunningStudio, speaker: Speaker, spoken: Spoken) -> None:
    wire = Wire(studio.port)
    speaker.begin(invited(studio, "Anna").replace(str(studio.port), str(wire.port)))
    speaker.page.press(SPACE)
    time.sleep(0.6)
    wire.cut()
    speaker.page.wait_until(lambda: "connection is lost" in speaker.page.find("[role=tabpanel] .chip.alarm").text)
    time.sleep(0.6)
    wire.mend()
    time.sleep(0.3)
    speaker.page.press(SPACE)
    speaker.wait_for("review")
    first, last = speaker.page.run("return window.pressed.slice(-2)")
    wire.cut()
    speaker.page.press(ENTER)
    speaker.page.wait_until(lambda: "does not answer" in speaker.page.find(".messages").text)
    assert studio.studio.data.clips() == []
    wire.mend()
    speaker.wait_for("ready")
    [clip] = studio.studio.data.clips("train")
    assert clip.duration_s == pytest.approx((last - first) / 1000, abs=FRAME_S)
    assert spoken.likeness(read_audio(studio.studio.data.audio_path(clip))) > 0.99


@contextlib.contextmanager
def studio_process(dataset: Path, script: Path, port: int) -> Iterator[str]:
    """Run the command; yields the desk's link. It is killed when the block ends."""
    words = ["studio", str(dataset), "--script", str(script), "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "stt_ft", *words], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "open http" in line, line
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_server_that_is_killed_in_mid_take_loses_nothing(speaker: Speaker, spoken: Spoken, tmp_path: Path) -> None:
    dataset, script = tmp_path / "orders", tmp_path / "prompts.yaml"
    script.write_text(prompts())
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    with studio_process(dataset, script, port):
        link = f"http://localhost:{port}" + Keys.of(dataset / ".studio" / "secret").link("speaker/anna")
        invite(Dataset(dataset), "Anna")
        speaker.begin(link)
        speaker.page.press(SPACE)
        time.sleep(0.6)
    with studio_process(dataset, script, port):
        speaker.page.wait_until(lambda: not speaker.page.find("[role=tabpanel] .chip.alarm").is_displayed())
        speaker.page.press(SPACE)
        speaker.wait_for("review")
        first, last = speaker.page.run("return window.pressed.slice(-2)")
        speaker.keep()
    [clip] = Dataset(dataset).clips("train")
    assert clip.duration_s == pytest.approx((last - first) / 1000, abs=FRAME_S)
    assert spoken.likeness(read_audio(Dataset(dataset).audio_path(clip))) > 0.99


def test_a_take_whose_page_was_closed_is_there_again(studio: RunningStudio, speaker: Speaker, spoken: Spoken) -> None:
    speaker.begin(invited(studio, "Anna"))
    speaker.page.press(SPACE)
    time.sleep(0.9)
    speaker.page.run("window.onbeforeunload = null")
    speaker.page.driver.get("about:blank")
    speaker.begin(studio.link("speaker/anna"), phase="review")
    assert "left before this take" in speaker.page.find(".messages").text
    speaker.keep()
    [clip] = studio.studio.data.clips("train")
    assert clip.duration_s == pytest.approx(0.9, abs=0.5)
    assert spoken.likeness(read_audio(studio.studio.data.audio_path(clip))) > 0.99


def test_two_speakers_at_once(studio: RunningStudio, speaker: Speaker, browsers: Callable[[], Any], spoken: Spoken) -> None:
    both = [speaker, Speaker(type(speaker.page)(driver=browsers(), path=speaker.page.path))]
    for each, name in zip(both, ("Anna", "Bo"), strict=True):
        each.begin(invited(studio, name))
    for _ in range(2):
        for each in both:
            each.page.press(SPACE)
        time.sleep(0.8)
        for each in both:
            each.page.press(SPACE)
        for each in both:
            each.wait_for("review")
            each.keep()
    clips = studio.studio.data.clips("train")
    assert sorted(clip.path for clip in clips) == [f"audio/{who}_p{number:02d}.wav" for who in ("anna", "bo") for number in (1, 2)]
    assert all(spoken.likeness(read_audio(studio.studio.data.audio_path(clip))) > 0.99 for clip in clips)
    done = {row["name"]: row["done"] for row in studio.ask("GET", "api/speakers").json()["speakers"]}
    assert done == {"Anna": 2, "Bo": 2}


@pytest.mark.slow
def test_a_minute_lacks_no_sample(studio: RunningStudio, speaker: Speaker, spoken: Spoken) -> None:
    speaker.begin(invited(studio, "Anna"))
    duration_s = speaker.record(60)
    speaker.keep()
    [clip] = studio.studio.data.clips("train")
    assert clip.duration_s == pytest.approx(duration_s, abs=FRAME_S)
    assert spoken.likeness(read_audio(studio.studio.data.audio_path(clip))) > 0.99


def test_a_take_through_an_audio_graph_is_whole_too(studio: RunningStudio, speaker: Speaker, spoken: Spoken) -> None:
    """Firefox and Safari give a page no track to read. On a busy machine the graph puts silence in: one take in three is to be without."""
    speaker.page.driver.get(invited(studio, "Anna"))
    hidden = speaker.page.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.MediaStreamTrackProcessor"}
    )
    try:
        speaker.begin(studio.link("speaker/anna"))
        assert speaker.page.run("return window.MediaStreamTrackProcessor === undefined")
        found = []
        while len(found) < 3 and max(found, default=0) <= 0.99:
            duration_s = speaker.record(0.7)
            speaker.keep()
            clip = studio.studio.data.clips("train")[-1]
            assert clip.duration_s == pytest.approx(duration_s, abs=FRAME_S)
            found.append(spoken.likeness(read_audio(studio.studio.data.audio_path(clip))))
        assert max(found) > 0.99
    finally:
        speaker.page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", hidden)


def test_nobody_is_kept_out(studio: RunningStudio, speaker: Speaker) -> None:
    """What axe finds on each page of a take, by day and by night, on a telephone."""
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    driver, found = speaker.page.driver, []

    def look(where: str) -> None:
        for theme in ("light", "dark"):
            speaker.page.run("document.documentElement.dataset.theme = arguments[0]", theme)
            faults = axe.run(driver)["violations"]
            found.extend((where, theme, fault["id"], [node["html"][:90] for node in fault["nodes"]]) for fault in faults)
        assert speaker.page.run("return document.documentElement.scrollWidth <= innerWidth"), where

    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
    try:
        link = invited(studio, "Anna")
        driver.get(studio.link())
        speaker.page.wait_until(lambda: driver.find_elements("css selector", ".speakers li"))
        look("desk")
        driver.get(link)
        speaker.page.wait_until(lambda: driver.find_elements("css selector", ".agreement"))
        look("consent")
        speaker.begin(link)
        look("ready")
        speaker.record(0.4)
        look("review")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert found == []


def test_keys_take_back_skip_and_repeat(studio: RunningStudio, speaker: Speaker) -> None:
    speaker.begin(invited(studio, "Anna"))

    def shown() -> str:
        return speaker.page.find(".prompt-name").text.split(" · ")[1]

    speaker.record(0.3)
    speaker.page.press("r")
    speaker.wait_for("ready")
    speaker.page.wait_until(lambda: not list((studio.studio.data.directory / ".studio" / "takes").iterdir()))
    assert shown() == "p01"
    speaker.page.press("s")
    assert shown() == "p02"
    speaker.record(0.3)
    speaker.keep()
    assert shown() == "p03"
    speaker.page.press("b")
    assert shown() == "p02"
    assert "read already" in speaker.page.find(".prompt-name").text
    speaker.page.press("p")
    speaker.page.wait_until(lambda: speaker.page.run("return document.querySelector('audio').currentTime > 0"))
    first = studio.studio.data.clips("train")[0].duration_s
    speaker.record(0.6)
    speaker.keep()
    [clip] = studio.studio.data.clips("train")
    assert clip.duration_s > first
    assert speaker.page.run("return [...document.querySelectorAll('.pause')].map(sign => sign.textContent)") == ["pause"]
    assert speaker.page.find(".say").get_attribute("lang") == "en"
    speaker.page.driver.get(studio.link("speaker/anna"))  # the page opens again where this speaker stopped
    speaker.page.wait_until(lambda: speaker.page.driver.find_elements("css selector", "#panel-record button.main"))
    assert "9 of 10 prompts are left" in speaker.page.find("#panel-record").text
    speaker.page.press(ENTER)
    speaker.wait_for("ready")
    assert shown() == "p01"


@pytest.mark.parametrize(("limits", "shown"), [((0.01, 0.001), "Too loud"), ((0.999, 0.9), "Too quiet"), ((0.999, 0.001), "Good")])
def test_the_meter_says_how_loud_it_is(
    studio: RunningStudio, speaker: Speaker, monkeypatch: pytest.MonkeyPatch, limits: tuple[float, float], shown: str
) -> None:
    monkeypatch.setattr(recording, "CLIPPED_LEVEL", limits[0])
    monkeypatch.setattr(recording, "QUIET_PEAK", limits[1])
    speaker.begin(invited(studio, "Anna"))
    speaker.page.press(SPACE)
    speaker.page.wait_until(lambda: shown in speaker.page.find("#loudness").text, 10)
    assert -60 < int(speaker.page.find("[role=meter]").get_attribute("aria-valuenow")) < 0
    speaker.page.press(SPACE)
    speaker.wait_for("review")

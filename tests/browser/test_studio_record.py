"""The studio's Record in a browser whose microphone is a WAV: what is kept is what was said, whatever happens on the way."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_studio import RunningStudio, running_studio

from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ

pytestmark = pytest.mark.browser

NUM_PROMPTS = 10
SPACE, ENTER = " ", "\ue007"
LOOP_S = 19.0


def prompts(language: str = "en", num: int = NUM_PROMPTS) -> str:
    lines = [f'  - {{id: p{number:02d}, say: "order number {number} … 415"}}' for number in range(1, num + 1)]
    return "\n".join([f"language: {language}", "prompts:", *lines]) + "\n"


@pytest.fixture(scope="session")
def spoken() -> np.ndarray:
    """Something that is nowhere like itself, loud and quiet by turns as speech is: no two places of it can be taken for each other."""
    rng = np.random.default_rng(17)
    num = round(LOOP_S * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(num))
    spectrum[np.fft.rfftfreq(num, 1 / SAMPLE_RATE_HZ) > 8000] = 0
    noise = np.fft.irfft(spectrum, num)
    loudness = np.interp(np.arange(num) / SAMPLE_RATE_HZ, np.arange(0, LOOP_S + 1, 0.25), rng.uniform(0.02, 1, int(4 * (LOOP_S + 1))))
    return (0.35 * noise / np.abs(noise).max() * loudness).astype(np.float32)


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory, spoken: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    write_wav(path, spoken)
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

    def begin(self, link: str) -> None:
        """Open a link, agree, and see the first prompt."""
        self.page.driver.get(link)
        self.page.wait_until(lambda: self.page.run("return document.querySelector('#panel-record button.main') !== null"))
        self.page.run("""
            window.pressed = [];
            addEventListener('keydown', event => { if (event.key === ' ') window.pressed.push(performance.now()); }, true);
        """)
        if self.page.run("return document.querySelector('.agreement') !== null"):
            self.page.press("\ue004", "\ue004", "\ue004", "\ue004")  # Tab over three fields to the button
        self.page.press(ENTER)
        self.wait_for("ready")

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


def likeness(spoken: np.ndarray, take: np.ndarray) -> float:
    """Return how like a take is to `spoken`, played in a loop: of all its half seconds, the one that is least like the place where, by
    where the take begins, it must come from. A sample that is lost or doubled moves all that follows.
    """
    piece, edge = SAMPLE_RATE_HZ // 2, 200
    loop = np.concatenate([spoken] * (2 + len(take) // len(spoken)))
    first = take[:piece]
    num = 1 << (len(spoken) + 2 * piece).bit_length()
    products = np.fft.irfft(np.fft.rfft(loop[: len(spoken) + piece], num) * np.conj(np.fft.rfft(first, num)), num)[: len(spoken)]
    at = int(np.argmax(products))
    shift = max(np.arange(-1, 1.01, 0.05), key=lambda by: alike(moved(first, by)[edge:-edge], loop[at : at + piece][edge:-edge]))
    begins = range(0, len(take) - piece + 1, piece)
    pieces = [(moved(take[begin : begin + piece], shift), loop[at + begin : at + begin + piece]) for begin in begins]
    return min(alike(part[edge:-edge], place[edge:-edge]) for part, place in pieces)


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


def test_ten_prompts_by_keyboard_alone(studio: RunningStudio, speaker: Speaker, spoken: np.ndarray) -> None:
    speaker.begin(invited(studio, "Anna"))
    speaker.page.driver.get_log("browser")
    durations_s = []
    for _ in range(NUM_PROMPTS):
        durations_s.append(speaker.record(1.2))
        speaker.keep()
    assert speaker.phase() == "done"
    clips = studio.studio.data.clips("train")
    assert [clip.path for clip in clips] == [f"audio/anna_p{number:02d}.wav" for number in range(1, NUM_PROMPTS + 1)]
    for clip, duration_s in zip(clips, durations_s, strict=True):
        take = read_audio(studio.studio.data.audio_path(clip))
        assert clip.duration_s == pytest.approx(duration_s, abs=FRAME_S)
        assert likeness(spoken, take) > 0.99
    assert speaker.page.driver.get_log("browser") == []
    assert speaker.page.nameless_controls() == []

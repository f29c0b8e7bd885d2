"""The studio's Try out in a browser whose microphone is a WAV: it hears, shows and plays what two models make of it, by keyboard alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_studio import running_studio

from stt_ft.audio.files import write_wav
from stt_ft.dataset.manifest import Clip, Dataset

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def speaking(tmp_path: Path) -> Iterator[Any]:
    """A browser with 60 s of noise bursts for a microphone."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromedriver = shutil.which("chromedriver")
    if chromedriver is None or subprocess.run([chromedriver, "--version"], capture_output=True).returncode:
        pytest.skip("needs a chromedriver that runs (Ubuntu's asks for a snap)")
    rng = np.random.default_rng(8)
    write_wav(tmp_path / "spoken.wav", rng.standard_normal(60 * 24_000) * np.repeat(rng.uniform(0, 0.3, 600), 2400))
    options = webdriver.ChromeOptions()
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000"),
        *(
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={tmp_path}/spoken.wav",
        ),
        "--autoplay-policy=no-user-gesture-required",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield browser
    browser.quit()


def test_two_models_hear_the_microphone_side_by_side(speaking: Any, opened_page: type, tmp_path: Path) -> None:
    data = Dataset(tmp_path / "orders")
    write_wav(data.directory / "a.wav", np.zeros(2400))
    data.write_clips("train", [Clip(path="a.wav", duration_s=0.1)])
    page = opened_page(driver=speaking, path=tmp_path)
    button = "return document.querySelector('#panel-try button.main')?.textContent ?? ''"
    with running_studio(data.directory, model="tiny", against="tiny") as studio:
        speaking.get(studio.link())
        page.wait_until(lambda: page.run("return document.querySelector('[role=tab][aria-selected=true]') !== null"))
        page.run("document.getElementById('tab-try').click(); document.activeElement.blur()")
        page.wait_until(lambda: page.run(button).startswith("Speak"))
        page.press(" ")
        page.wait_until(lambda: page.run(button).startswith("Stop"))
        heard = "return [...document.querySelectorAll('.models .value')].map(value => value.textContent)"
        page.wait_until(lambda: page.run("return document.querySelector('.stream .clip').clip.models.model.pause[0]?.length > 30"))
        assert len(page.run(heard)) == 8
        assert "–" not in page.run(heard)
        page.press(" ")
        page.wait_until(lambda: page.run(button).startswith("Speak"))
        clip = page.run("const {clip} = document.querySelector('.stream .clip'); return {models: clip.models, duration: clip.duration}")
        model, against = clip["models"]["model"], clip["models"]["against"]
        assert model == against
        assert model["words"]
        assert len(model["pause"][0]) >= clip["duration"] / 0.08
        page.find(".stream .play").click()
        timeline = page.find(".stream .timeline")
        page.wait_until(lambda: float(timeline.get_attribute("aria-valuenow")) > 0.2)
        assert page.nameless_controls() == []
    assert [line for line in speaking.get_log("browser") if line["level"] == "SEVERE"] == []

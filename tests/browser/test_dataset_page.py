"""The page of a dataset in a browser: what `check` found is what it shows, and everything is reached by mouse and by keys."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stt_ft.audio.files import write_wav
from stt_ft.core.engine import Engine
from stt_ft.corpus.inspecting import inspect
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.pages.dataset_page import write_dataset_page

pytestmark = pytest.mark.browser

NUM_CLIPS = 80


def word(text: str, start_s: float) -> Word:
    return Word(text=text, start_s=start_s, end_s=start_s + 0.3)


@pytest.fixture(scope="session")
def dataset_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty clips: one without sound, one that still holds digits, one whose last word stands behind the sound; the rest are good."""
    directory = tmp_path_factory.mktemp("dataset_page")
    data = Dataset(directory / "orders")
    rng = np.random.default_rng(3)
    clips = []
    for index in range(NUM_CLIPS):
        clip = Clip(path=f"audio/take_{index:03d}.wav", duration_s=1.5, extra={"speaker": f"voice{index % 4}", "kind": "number"})
        words = (word("order", 0.1), word("four", 0.5), word("one", 0.8), word("five", 1.1))
        written = (words[0], Word(text="415", start_s=0.5, end_s=1.4))
        write_wav(data.audio_path(clip), rng.standard_normal(36_000) * 0.1)
        data.write_sidecar(clip, Sidecar(alignments=words, written=written, extra={"confidence": [0.9, 0.2 + index / 200]}))
        clips.append(clip)
    data.audio_path(clips[50]).unlink()
    data.write_sidecar(clips[60], Sidecar(alignments=(word("order", 0.1), Word(text="415", start_s=0.5, end_s=1.4))))
    data.write_sidecar(clips[70], Sidecar(alignments=(word("order", 0.1), word("late", 2.2))))
    data.write_clips("train", clips)
    write_dataset_page(directory / "page.html", data, inspect(data, engine=Engine(workers=1)), stream_checked=False)
    return directory / "page.html"


@pytest.fixture
def page(driver: Any, dataset_page: Path, opened_page: type) -> Any:
    driver.get(dataset_page.as_uri())
    return opened_page(driver=driver, path=dataset_page)


def shown(page: Any) -> list[str]:
    return page.run("return [...document.querySelectorAll('#list .clip')].map(card => card.dataset.clip)")


def test_opens_without_a_word_in_the_console(page: Any) -> None:
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    time.sleep(0.3)
    assert page.driver.get_log("browser") == []


def test_what_was_found_is_told_and_counted(page: Any) -> None:
    assert "3 problems in 3 of 80 clips" in page.find("h1").text
    counts = page.run(
        "return Object.fromEntries([...document.querySelectorAll('[data-count]')].map(e => [e.dataset.count, e.textContent]))"
    )
    assert counts == {"audio": "1", "digits_left": "1", "word_times": "1"}
    assert "--base" in page.find(".detail").text


def test_the_gravest_clips_come_first_and_then_those_least_sure(page: Any) -> None:
    assert shown(page)[:5] == [f"audio/take_{index:03d}.wav" for index in (50, 60, 70, 0, 1)]
    page.run("const order = document.getElementById('order'); order.value = 'By name'; order.dispatchEvent(new Event('change'))")
    assert shown(page)[:2] == ["audio/take_000.wav", "audio/take_001.wav"]


def test_cards_are_made_as_the_end_of_the_list_comes_near(page: Any) -> None:
    assert len(shown(page)) < NUM_CLIPS
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_until(lambda: len(shown(page)) == NUM_CLIPS)
    drawn = page.run("return [...document.querySelectorAll('#list .clip')].map(card => card.canvas.width > 0 && card.visible === true)")
    assert sum(drawn) < NUM_CLIPS / 2


def test_filters_and_search_choose_clips(page: Any) -> None:
    page.find("[data-filter='With problems']").click()
    assert len(shown(page)) == 3
    page.find("[data-kind=digits_left]").click()
    assert shown(page) == ["audio/take_060.wav"]
    assert page.find("[data-filter='Digits left']").is_displayed()
    page.find("[data-filter=All]").click()
    assert not page.find("[data-filter='Digits left']").is_displayed()
    page.find("#search").send_keys("late")
    assert shown(page) == ["audio/take_070.wav"]
    assert page.find("#count").text == "1 of 80"


def test_a_word_at_fault_is_red_where_it_stands(page: Any) -> None:
    page.find("#search").send_keys("take_070")
    columns, width, view_end = page.run("""
        const card = document.querySelector('#list .clip'), canvas = card.canvas, scale = window.devicePixelRatio;
        const row = canvas.getContext('2d').getImageData(0, Math.round(64 * scale), canvas.width, 1).data;
        const red = [];
        for (let x = 0; x < canvas.width; x++) {
            const [r, g, b, a] = row.slice(4 * x, 4 * x + 4);
            if (a > 200 && r > 150 && g < 110 && b < 150) red.push(x / scale);
        }
        return [red, canvas.clientWidth, card.clip.viewEnd];
    """)
    start_x, right = 74, 12
    assert columns
    assert min(columns) == pytest.approx(start_x + (width - start_x - right) * 2.2 / view_end, abs=2)


def test_sound_plays_and_a_clip_without_sound_says_so(page: Any) -> None:
    mute, good = page.driver.find_elements("css selector", "#list .play")[0], page.driver.find_elements("css selector", "#list .play")[3]
    assert not mute.is_enabled()
    assert mute.get_attribute("aria-label") == "No sound"
    good.click()
    timeline = page.driver.find_elements("css selector", "#list .timeline")[3]
    page.wait_until(lambda: float(timeline.get_attribute("aria-valuenow")) > 0.2)


def test_keyboard_alone_reaches_everything(page: Any) -> None:
    page.press("j")
    assert page.run("return document.activeElement.closest('.clip').dataset.clip") == "audio/take_050.wav"
    page.press("j", "j", "j")
    assert page.run("return document.activeElement.closest('.clip').dataset.clip") == "audio/take_000.wav"
    page.press("\ue014", "\ue014")  # right arrow, twice
    assert page.run("return document.activeElement.getAttribute('aria-valuenow')") == "0.50"
    page.press("/")
    assert page.run("return document.activeElement.id") == "search"
    assert page.nameless_controls() == []


def test_dark_and_light_are_a_switch(page: Any) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    before = page.run(background)
    page.find("#theme").click()
    assert page.run(background) != before


def test_page_says_what_the_dataset_says(page: Any) -> None:
    clips = json.loads(page.run("return document.getElementById('data').textContent"))["clips"]
    assert clips[1]["words"][1] == ["four", 0.5, 0.8]
    assert clips[1]["numbers"] == [[1, 4]]
    assert clips[1]["unsure"] == ["415", 0.205]

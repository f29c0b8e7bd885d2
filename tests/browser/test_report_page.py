import json
import time

import pytest
from sample_frames import make_frames

from stt_ft.evaluation.figures import FIGURES
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.verdict import show_value, verdict_of
from stt_ft.pages.report_page import write_report_page

pytestmark = pytest.mark.browser


def test_opens_without_a_word_in_the_console(page):
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    time.sleep(0.3)
    assert page.driver.get_log("browser") == []


def test_drawn_figures_are_those_of_the_report(page):
    drawn = page.run(
        "return Object.fromEntries([...document.querySelectorAll('[data-figure]')].map(e => [e.dataset.figure, e.textContent]))"
    )
    assert len(drawn) == 22
    for name, text in drawn.items():
        model, slice_name, figure = name.split(".")
        assert text == show_value(page.report.figures[model][slice_name][figure].value, FIGURES[figure].unit)
    assert verdict_of(page.report).claim in page.run("return document.querySelector('h1').textContent")


def test_cut_off_is_drawn_where_the_report_puts_it(page):
    """The flag's pole is red at the very pixel of the cut-off, and nowhere else on its row."""
    columns, at, width, start_x = page.run("""
        const card = document.querySelector('#closeup .clip'), canvas = card.canvas, scale = window.devicePixelRatio;
        const row = canvas.getContext('2d').getImageData(0, Math.round(18 * scale), canvas.width, 1).data, red = [];
        for (let x = 0; x < canvas.width; x++)
            if (row[4*x+3] > 100 && row[4*x] > 150 && row[4*x+1] < 110 && row[4*x+2] < 150) red.push(x / scale);
        return [red, card.clip.models.base.cutOff / card.clip.viewEnd, canvas.clientWidth, 74];
    """)
    expected = start_x + at * (width - start_x - 12)
    assert columns
    assert all(abs(column - expected) <= 2 for column in columns)


def test_only_clips_in_view_are_drawn(page):
    page.run("document.getElementById('clips').scrollIntoView()")
    page.wait_until(lambda: page.run("return document.querySelector('#list .clip').visible === true"))
    drawn = page.run("return [...document.querySelectorAll('#list .clip')].map(card => card.canvas.width > 0 && card.visible === true)")
    assert len(drawn) == 23
    assert drawn[0]
    assert not drawn[-1]
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_until(lambda: page.run("return [...document.querySelectorAll('#list .clip')].at(-1).visible === true"))


def test_filters_and_search_choose_clips(page):
    def shown():
        return page.run("return [...document.querySelectorAll('#list .clip')].map(card => card.dataset.clip)")

    page.driver.find_element("css selector", "[data-filter=Ordinary]").click()
    assert len(shown()) == 5
    assert all("sentence" in name for name in shown())
    page.driver.find_element("css selector", "[data-filter=Hesitant]").click()
    assert len(shown()) == 8
    assert all("hesitant" in name for name in shown())
    assert page.driver.find_elements("css selector", "[data-filter=People]") == []  # no such clips, no such button
    page.driver.find_element("css selector", "[data-filter=Ordinary]").click()
    page.driver.find_element("css selector", "#search").send_keys("call me back")
    assert 0 < len(shown()) < 5
    assert page.run("return document.getElementById('count').textContent") == f"{len(shown())} of 23"


def test_of_more_clips_than_cards_the_buttons_count_all(driver, opened_page, written_page, tmp_path, monkeypatch):
    report, path = written_page
    frames = make_frames(10, 5, num_hesitant=8)
    monkeypatch.setattr("stt_ft.pages.offline_page.MAX_CARDS", 9)
    write_report_page(tmp_path / "few.html", report, Scores.of(frames), dataset=path.parent / "dataset")
    driver.get((tmp_path / "few.html").as_uri())
    few = opened_page(driver=driver, path=tmp_path / "few.html", report=report)
    assert few.find("#count").text == "showing 9 of 23"
    assert few.find("[data-filter=Ordinary]").text == "Ordinary5"
    few.find("[data-filter=Ordinary]").click()
    num_ordinary = len(few.driver.find_elements("css selector", "#list .clip"))
    assert 0 < num_ordinary < 5
    assert few.find("#count").text == f"showing {num_ordinary} of 5"
    few.find("#search").send_keys("no such word")
    assert few.find("#count").text == "0 of the 9 cards"
    assert "23 clips are in the figures" in few.find("#chosen").text


def test_sound_plays_and_the_playhead_follows(page):
    page.driver.find_element("css selector", "#closeup .play").click()
    timeline = page.driver.find_element("css selector", "#closeup .timeline")
    page.wait_until(lambda: float(timeline.get_attribute("aria-valuenow")) > 0.2)
    assert page.run("return document.querySelector('#closeup .play').getAttribute('aria-label')") == "Pause"
    shift = page.run("return new DOMMatrix(getComputedStyle(document.querySelector('#closeup .playhead')).transform).m41")
    assert shift > 74
    page.driver.find_element("css selector", "#closeup .play").click()


def test_keyboard_alone_reaches_everything(page):
    page.press("j")
    assert page.run("return document.activeElement.getAttribute('role')") == "slider"
    first = page.run("return document.activeElement.closest('.clip').dataset.clip")
    page.press("\ue014", "\ue014")  # right arrow, twice
    assert page.run("return document.activeElement.getAttribute('aria-valuenow')") == "0.50"
    page.press("j", "j")
    assert page.run("return document.activeElement.closest('.clip').dataset.clip") != first
    page.press("/")
    assert page.run("return document.activeElement.id") == "search"


def test_a_narrow_window_scrolls_tables_and_not_the_page(page):
    page.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.run("return document.documentElement.scrollWidth") <= 420
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_and_light_are_a_switch(page):
    background = "return getComputedStyle(document.body).backgroundColor"
    before = page.run(background)
    page.driver.find_element("css selector", "#theme").click()
    assert page.run(background) != before
    page.driver.find_element("css selector", "#theme").click()
    assert page.run(background) == before


def test_every_control_has_a_name(page):
    assert page.nameless_controls() == []


def test_page_says_the_same_data_as_the_report(page):
    data = json.loads(page.run("return document.getElementById('data').textContent"))
    cut_off = [clip["models"]["base"]["cutOff"] is not None for clip in data["clips"] if "numbers" in clip["slices"]]
    assert sum(cut_off) / len(cut_off) == pytest.approx(page.report.figures["base"]["numbers"]["false_cut_offs"].value)

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
from sample_frames import make_dataset, make_frames, report_on

from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AudioError
from stt_ft.evaluation.figures import FIGURES
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import MeasuredSplit
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.verdict import show_value, verdict_of
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.pages.offline_page import in_turn
from stt_ft.pages.report_page import write_report_page
from stt_ft.text.digit_words import ENGLISH_DIGITS


@pytest.fixture(scope="module")
def report():
    return report_on(make_frames(), dataset=MeasuredSplit(name="numbers <b>", split="heldout"), provenance={"stage": "evaluate"})


@pytest.fixture(scope="module")
def html(tmp_path_factory, dataset, report):
    path = tmp_path_factory.mktemp("page") / "out" / "report.html"
    write_report_page(path, report, Scores.of(make_frames()), dataset=dataset.directory)
    return path.read_text(encoding="utf-8")


def payload(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_page_loads_nothing(html):
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", html)
    assert not re.search(r"https?://(?!www\.w3\.org/)", html)
    assert "@import" not in html


def test_drawn_figures_are_those_of_the_report(html, report):
    drawn = dict(re.findall(r'data-figure="([^"]+)">([^<]+)<', html))
    assert len(drawn) == 18
    for name, text in drawn.items():
        model, slice_name, figure = name.split(".")
        assert text == show_value(report.figures[model][slice_name][figure].value, FIGURES[figure].unit)
    assert verdict_of(report).claim in html


def test_names_from_the_dataset_cannot_break_the_page(tmp_path, frames, dataset, report):
    evil = "</script><script>alert(1)</script>"
    renamed = [ClipFrames.from_json({**one.to_json(), "speaker": evil}) for one in frames]
    write_report_page(tmp_path / "report.html", report, Scores.of(renamed), dataset=dataset.directory)
    html = (tmp_path / "report.html").read_text()
    assert evil not in html
    assert "numbers <b>" not in html
    assert payload(html)["clips"][0]["speaker"] == evil


def test_clips_are_sorted_by_what_changed(frames, dataset, report, tmp_path):
    worse = [one for one in frames if one.model == "tuned" and one.kind == "ordinary"][2]
    worse.pause[13:16] = 0.9
    write_report_page(tmp_path / "report.html", report, Scores.of(frames), dataset=dataset.directory)
    clips = payload((tmp_path / "report.html").read_text())["clips"]
    assert [clips[0]["clip"], clips[0]["change"]] == [worse.clip, "newly cut off"]
    assert clips[1]["change"] == "no longer cut off"
    assert clips[-1]["change"] == "as before"


def test_marks_are_the_verdicts_of_the_frames(html, frames):
    by_name = {(one.model, one.clip): one for one in frames}
    for clip in payload(html)["clips"]:
        for model, drawn in clip["models"].items():
            one = by_name[model, clip["clip"]]
            known_s = (np.arange(len(one.pause)) + 1) * 0.08
            end_s = one.speech_end_s - 0.1
            early = [s for s, p in zip(known_s[12:], one.pause[12:, 2], strict=True) if p > 0.6 and s < end_s - 1e-9]
            assert drawn["cutOff"] == (pytest.approx(early[0]) if early else None)
            assert np.abs(np.array(drawn["pause"]).T - one.pause).max() <= 0.0005 + 1e-9


def test_words_in_glyphs_are_right_when_the_digits_are(html):
    for clip in payload(html)["clips"]:
        if clip["kind"] == "number":
            said = "".join(str(ENGLISH_DIGITS.index(word)) for word, *_ in clip["reference"][2:])
            text, _, is_right = clip["models"]["base"]["words"][-1]
            assert is_right == (text == said)


def test_sound_is_carried_without_delay(html, dataset):
    clips = payload(html)["clips"]
    sources = re.findall(r'<script type="text/plain" id="audio-\d+">data:audio/mpeg;base64,([^<]+)</script>', html)
    assert len(sources) == len(clips)
    decoded, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sources[0])), dtype="float32")
    original = read_audio(dataset.directory / clips[0]["clip"])
    assert (rate_hz, len(decoded)) == (24_000, len(original))
    lags = range(-240, 241, 24)
    middle = original[2400:-2400]
    best = max(lags, key=lambda lag: float(np.dot(middle, decoded[2400 + lag : len(original) - 2400 + lag])))
    assert abs(best) <= 24  # a millisecond


def test_sound_beyond_the_limit_is_linked(tmp_path, frames, dataset, report):
    write_report_page(tmp_path / "out" / "report.html", report, Scores.of(frames), dataset=dataset.directory)
    sources = re.findall(r'id="audio-\d+">([^<]+)<', (tmp_path / "out" / "report.html").read_text())
    assert len(sources) == len(frames) // 2
    assert all((tmp_path / "out" / source).is_file() for source in sources)


def test_a_clip_without_sound_is_named(tmp_path, frames, report):
    dataset = make_dataset(tmp_path / "dataset", frames)
    (dataset.directory / frames[0].clip).unlink()
    with pytest.raises(AudioError, match=frames[0].clip):
        write_report_page(tmp_path / "report.html", report, Scores.of(frames), dataset=dataset.directory)


def test_one_model_alone_has_a_page_too(tmp_path, frames, dataset):
    report = report_on(frames, baseline=None)
    write_report_page(tmp_path / "report.html", report, Scores.of(frames), dataset=dataset.directory)
    html = (tmp_path / "report.html").read_text()
    assert "False cut-offs inside numbers 0.0 %." in html
    assert '<th scope="col">change</th>' not in html


def test_every_slice_is_on_the_page_and_no_slice_without_clips(tmp_path, mixed_frames, html):
    mixed = report_on(mixed_frames)
    data = make_dataset(tmp_path / "mixed", mixed_frames)
    write_report_page(tmp_path / "mixed.html", mixed, Scores.of(mixed_frames), dataset=data.directory)
    page = (tmp_path / "mixed.html").read_text(encoding="utf-8")
    drawn = dict(re.findall(r'data-figure="([^"]+)">([^<]+)<', page))
    assert {name.split(".")[1] for name in drawn} == {"numbers", "hesitant", "people", "ordinary"}
    for title in ("Hesitant numbers", "Numbers in people&#39;s voices"):
        assert page.count(title) >= 5  # figures, curve, heads, digits, all figures
        assert title not in html
    slices = [clip["slices"] for clip in payload(page)["clips"]]
    assert sorted(map(tuple, slices)) == sorted(
        [("numbers", "all")] * 12 + [("hesitant", "all")] * 9 + [("people", "all")] * 8 + [("ordinary", "all")] * 9
    )


def test_the_page_says_the_rule_and_what_its_intervals_resample(tmp_path, html, frames, dataset):
    assert "(kyutai: head 2 above 0.6 for 1 frame)" in html
    assert "Intervals resample clips: fewer than 5 speakers known. A difference of fewer than 8 clips is too few to say." in html
    rule = EndpointRule.named("unmute")
    report = report_on(frames, baseline=None, rule=rule)
    write_report_page(tmp_path / "r.html", report, Scores.of(frames, rule), dataset=dataset.directory)
    told = "(unmute: head 2, averaged with a half-life of 0.01 s above 0.6 for 1 frame once a word is written)"
    assert told in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_difference_of_too_few_clips_is_not_drawn_as_a_change(tmp_path, frames, dataset):
    few = [one for one in frames if one.kind == "number" or one.clip <= "audio/sentence_016.wav"]  # five sentences
    write_report_page(tmp_path / "r.html", report_on(few), Scores.of(few), dataset=dataset.directory)
    changes = re.findall(r'<td class="change ([^"]+)">([^<]+)</td>', (tmp_path / "r.html").read_text(encoding="utf-8"))
    assert changes.count(("too-few", "too few")) == 4


def test_of_many_clips_those_that_matter_have_a_card_and_all_are_counted(tmp_path, frames, dataset, report, monkeypatch, html):
    every = payload(html)
    assert 'id="chosen"' not in html
    monkeypatch.setattr("stt_ft.pages.offline_page.MAX_CARDS", 6)
    worse = next(one for one in frames if one.model == "tuned" and one.kind == "ordinary")
    worse.pause[13:16] = 0.9
    write_report_page(tmp_path / "few.html", report, Scores.of(frames), dataset=dataset.directory)
    page = (tmp_path / "few.html").read_text(encoding="utf-8")
    cards = payload(page)["clips"]
    assert len(cards) == len(re.findall(r'id="audio-\d+"', page)) == 6
    assert cards[0]["clip"] == worse.clip
    assert {"newly cut off", *(card["change"] for card in every["clips"])} - {"as before"} <= {card["change"] for card in cards}
    assert payload(page)["totals"] == {**every["totals"], "Worse": every["totals"]["Worse"] + 1, "Cut off": every["totals"]["Cut off"] + 1}
    assert payload(page)["totals"]["All"] == 21
    assert "All 21 clips are in the figures and in the numbers on these buttons; 6 have a card: in turn a clip that is " in page


def test_cards_end_where_the_page_is_full(tmp_path, frames, dataset, report, monkeypatch):
    monkeypatch.setattr("stt_ft.pages.report_clips.MAX_DATA_BYTES", 20_000)
    write_report_page(tmp_path / "full.html", report, Scores.of(frames), dataset=dataset.directory)
    cards = payload((tmp_path / "full.html").read_text(encoding="utf-8"))["clips"]
    assert 1 <= len(cards) < 21
    assert len(json.dumps(cards)) < 21_000


def test_items_are_taken_from_each_ranking_in_turn_and_none_twice():
    assert list(in_turn([[1, 2, 3], [], [2, 4], [3, 1, 5]])) == [1, 2, 3, 4, 5]

"""What the page tells of a running server, of long calls, and of further draws."""

import re
from dataclasses import replace

import numpy as np
from sample_frames import placed_in_calls

from stt_ft.evaluation.build import build_calls, build_report
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.served import EXPECTED, SERVER, served_of
from stt_ft.evaluation.server import AsrServer
from stt_ft.pages.report_page import write_report_page


def drawn(tmp_path, frames, dataset, **parts):
    """Return the page of the tuned model's frames."""
    scores = Scores.of(frames)
    write_report_page(tmp_path / "report.html", build_report(scores, model="tuned", **parts), scores, dataset=dataset.directory)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def cells_of(html, title):
    """Return the texts of the rows of the table that follows `title`."""
    body = html[html.index(title) :].split("</table>")[0]
    return [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)][1:]


def test_a_clip_that_parts_is_told_by_its_time_and_the_words_between_those_that_are_the_same(tmp_path, frames, dataset):
    tuned = [replace(one, late_s=(0.1,) * len(one.pause)) for one in frames if one.model == "tuned"]
    theirs = [replace(one, model=SERVER) for one in tuned]
    words = theirs[0].words
    theirs[0] = replace(theirs[0], words=(words[0], replace(words[1], text="other"), *words[2:]))
    theirs[1] = replace(theirs[1], words=(replace(theirs[1].words[0], start_s=0.01), *theirs[1].words[1:]))
    theirs[2] = replace(theirs[2], pause=theirs[2].pause + np.where(np.arange(len(theirs[2].pause)) == 9, 0.25, 0.0)[:, None])
    all_scores = Scores.of([*theirs, *(replace(one, model=EXPECTED) for one in tuned)])
    served = served_of(all_scores, AsrServer(url="ws://127.0.0.1:1", num_streams=2, real_time=False))
    assert [(one.clip, one.first_frame, one.told, one.expected) for one in served.partings] == [
        (tuned[0].clip, None, "other", words[1].text),
        (tuned[1].clip, None, "", ""),
        (tuned[2].clip, 9, None, None),
    ]
    html = drawn(tmp_path, tuned, dataset, served=served)
    assert [" ".join(row[1:]) for row in cells_of(html, "The clips that part")] == [
        f"– 0 other {words[1].text}",
        "– 0 the same words, at other times",
        "0.80 0.25 the same words",
    ]


def test_calls_are_told_by_their_whole_and_second_half_and_the_minutes_below(tmp_path, frames, dataset):
    tuned = [one for one in frames if one.model == "tuned"]
    for seconds, minutes in ((60, 0), (180, 3)):
        calls = build_calls(Scores.of(tuned), placed_in_calls(tuned * 3, seconds), seconds)
        html = drawn(tmp_path, tuned, dataset, calls=calls)
        assert len(cells_of(html, "In long calls")) == 2 * len(calls.parts["tuned"])
        assert ("Minute by minute" in html) == (minutes > 0)
        one = calls.barge_ins["tuned"]
        assert f"tuned: {one.num_spoken_over} of {one.num_turns} turns begin while the agent speaks" in html
        if minutes:
            assert len(cells_of(html, "Minute by minute")) == sum(len(parts) - 2 for parts in calls.parts["tuned"].values())


def test_the_spread_between_draws_is_told_once_above_and_by_slice_below(tmp_path, frames, dataset):
    """In the second draw two of the 12 numbers lose their last digit, and in the third nothing is written."""
    tuned = [one for one in frames if one.model == "tuned"]
    numbers = [one.clip for one in tuned if one.kind == "number"][-2:]
    second = [replace(one, draw=1, words=one.words[:-1] if one.clip in numbers else one.words) for one in tuned]
    heard = [*tuned, *second, *(replace(one, draw=2, words=()) for one in tuned)]
    exact = build_report(Scores.of(tuned), model="tuned").figures["tuned"]["numbers"]["digit_strings_exact"].value
    assert build_report(Scores.of(tuned), model="tuned").draws is None
    draws = build_report(Scores.of(heard[: 2 * len(tuned)]), model="tuned").draws
    spread = draws.spreads["tuned"]["numbers"]["digit_strings_exact"]
    assert (draws.num, spread.highest, round(12 * (spread.highest - spread.lowest))) == (2, exact, 2)
    html = drawn(tmp_path, heard, dataset)
    shown = f"0.0 to {100 * exact:.1f} %"
    assert "of the first of 3 draws" in html
    assert f"digit strings exact {shown}" in html
    rows = re.findall(r"<tr>(.*?)</tr>", html[html.index("Between draws of the tokens") :].split("</table>")[0], re.DOTALL)
    wrong = 1 / sum(len(one.reference) for one in tuned if one.kind == "number")  # one word, in the first draw
    cells = ["Dictated numbers", "tuned", "0.0 %", shown, "–", f"{100 * wrong:.1f} to 100.0 %"]
    assert re.findall(r">([^<>]+)</t[hd]>", rows[1]) == cells

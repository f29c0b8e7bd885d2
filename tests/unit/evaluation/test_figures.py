"""Figures against a recomputation from frames.jsonl that shares no code with them."""

import dataclasses
import difflib
import json
import math

import numpy as np
import pytest
from edit_distance import levenshtein
from sample_frames import report_on

from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.figures import FIGURES, HEADLINES
from stt_ft.evaluation.frames import read_frames, write_frames
from stt_ft.evaluation.report import Measurement, Resampled
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.model.words import HeardWord
from stt_ft.text.written_style import WrittenStyle

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = dict(zip(DIGIT_WORDS, "0123456789", strict=True))


def stranger_figures(path, model, kind):
    """The figures of one model and kind, by someone who has frames.jsonl and docs/evaluate.md only."""
    lines = [line for line in map(json.loads, path.read_text().splitlines()) if line["model"] == model and line["kind"] == kind]
    cut_offs, inside, latencies, exact, as_words, delays, errors, num_words = [], [], [], [], [], [], 0, 0
    for line in lines:
        known_s = (np.arange(len(line["pause"])) + 1) * line["frame_s"]
        passes = (np.array(line["pause"])[:, 2] > 0.6) & (np.arange(len(known_s)) >= 12)
        passes &= known_s >= line["reference"][0][1] - 1e-9
        over_s = line["speech_end_s"] - 0.1
        early, after = known_s[passes & (known_s < over_s - 1e-9)], known_s[passes & (known_s >= over_s - 1e-9)]
        cut_offs.append(len(early) > 0)
        inside.append(len(early) > 0 and early[0] >= line["reference"][-1][1] - 1e-9)
        latencies.append(max(0.0, after[0] - line["speech_end_s"]) if len(after) else math.inf)
        said, heard = [word[0] for word in line["reference"]], [word[0] for word in line["words"]]
        exact.append(digits_of(said) == digits_of(heard))
        as_words.append(any(word in DIGITS for word in heard) and not any(word.isdigit() for word in heard))
        delays += word_delays(line)
        errors += levenshtein(said, heard)
        num_words += len(said)
    return {
        "false_cut_offs": np.mean(cut_offs),
        "cut_offs_inside_last_word": np.mean(inside),
        "latency_p50_s": np.median(latencies),
        "latency_p95_s": np.quantile(latencies, 0.95),
        "digit_strings_exact": np.mean(exact),
        "written_as_words": np.mean(as_words),
        "word_error_rate": errors / num_words,
        "word_delay_mean_s": np.mean(delays),
        **{f"word_delay_p{percent}_s": np.quantile(delays, percent / 100) for percent in (50, 90, 95)},
    }


def word_delays(line):
    """From the end of a word's sound to when it stood there, digits of a number in glyphs one by one."""
    heard = [(unit, word[3]) for word in line["words"] for unit in (word[0] if word[0].isdigit() else [DIGITS.get(word[0], word[0])])]
    said = [(DIGITS.get(word[0], word[0]), word[2]) for word in line["reference"]]
    aligned = difflib.SequenceMatcher(None, [unit for unit, _ in said], [unit for unit, _ in heard], autojunk=False)
    return [heard[b.b + at][1] - said[b.a + at][1] for b in aligned.get_matching_blocks() for at in range(b.size)]


def digits_of(words):
    return "".join(DIGITS.get(word, word if word.isdigit() else "") for word in words)


@pytest.fixture
def written(tmp_path, frames):
    write_frames(tmp_path / "frames.jsonl", frames)
    return tmp_path / "frames.jsonl"


@pytest.fixture
def report(written):
    return report_on(read_frames(written))


@pytest.mark.parametrize(("slice_name", "kind"), [("numbers", "number"), ("ordinary", "ordinary")])
@pytest.mark.parametrize("model", ["base", "tuned"])
def test_figures_are_what_a_stranger_computes_from_the_frames(written, report, model, slice_name, kind):
    for name, value in stranger_figures(written, model, kind).items():
        if slice_name in FIGURES[name].slices:
            assert report.figures[model][slice_name][name].value == pytest.approx(value, abs=1e-9), name


def test_the_sample_is_one_on_which_the_models_differ(report):
    numbers = {model: slices["numbers"] for model, slices in report.figures.items()}
    assert numbers["base"]["false_cut_offs"].value > 0.5
    assert numbers["tuned"]["false_cut_offs"].value == 0.0
    assert (numbers["base"]["written_as_words"].value, numbers["tuned"]["written_as_words"].value) == (0.0, 1.0)


def test_every_figure_lies_in_its_interval_and_differences_are_the_models(report):
    for model, slices in report.figures.items():
        for slice_name, figures in slices.items():
            for name, one in figures.items():
                assert one.low - 1e-9 <= one.value <= one.high + 1e-9, (model, slice_name, name)
    for slice_name, differences in report.differences.items():
        for name, one in differences.items():
            ours, theirs = (report.figures[model][slice_name][name].value for model in ("tuned", "base"))
            assert one.value == pytest.approx(ours - theirs)


def test_report_is_json_without_nan_and_every_headline_is_there(report):
    json.dumps(report.to_json(), allow_nan=False)
    for row in HEADLINES:
        if row.slice_name in report.figures["tuned"] and not FIGURES[row.figure].needs_reply:
            assert row.figure in report.figures["tuned"][row.slice_name]
            assert row.figure in report.differences[row.slice_name]
    assert {row.slice_name for row in HEADLINES} - set(report.figures["tuned"]) == {"hesitant", "people"}


def test_a_model_that_never_ends_a_turn_has_no_latency(frames):
    silent = [one for one in frames if one.model == "tuned"]
    for one in silent:
        one.pause[:] = 0.0
    figures = report_on(silent, baseline=None).figures["tuned"]["numbers"]
    assert figures["missed_ends"].value == 1.0
    assert figures["latency_p50_s"] == Measurement(value=None, low=None, high=None, num_clips=figures["missed_ends"].num_clips)


def test_ordinary_clips_alone_give_no_figures_of_numbers(frames):
    report = report_on([one for one in frames if one.kind == "ordinary"])
    assert report.num_clips["numbers"] == 0
    assert set(report.figures["tuned"]) == {"ordinary", "all"}


def test_models_measured_on_other_clips_are_refused(frames):
    with pytest.raises(ValueError, match="not measured on the same clips"):
        report_on(frames[1:])


def test_a_number_in_one_lump_is_late_digit_by_digit(report, frames):
    """The first of its digits waits longest, and the word delay says so: the lump is not passed over for being in glyphs."""
    numbers = {model: slices["numbers"] for model, slices in report.figures.items()}
    lumps = [one for one in frames if one.model == "base" and one.kind == "number"]
    first_digit_s = np.mean([one.words[-1].appeared_s - one.reference[2].end_s for one in lumps])
    assert numbers["base"]["word_delay_p95_s"].value > first_digit_s - 0.5 > 1.0
    assert numbers["tuned"]["word_delay_p95_s"].high < 0.7
    assert report.differences["numbers"]["word_delay_p90_s"].high < -0.5


def test_digit_errors_of_the_base_are_its_swapped_ends(report, frames):
    errors = report.digit_errors["base"]["numbers"]
    numbers = [one for one in frames if one.model == "base" and one.kind == "number"]
    wrong = [one for one in numbers if digits_of(one.reference_texts) != digits_of(one.word_texts)]
    assert errors.swapped == len(wrong) > 0
    assert errors.num_digits == sum(len(digits_of(one.reference_texts)) for one in numbers)
    assert sum(errors.errors_by_tenth_of_number) == 2 * len(wrong) == sum(errors.errors_by_tenth_of_number[7:])
    assert errors.numbers_with_leading_zeros == sum(digits_of(one.reference_texts).startswith("0") for one in numbers)


def test_difflib_agrees_on_which_words_were_taken_for_others(report, frames):
    replaced = {}
    for one in frames:
        said, heard = one.reference_texts, one.word_texts
        for tag, i, j, k, m in difflib.SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
            if one.model == "tuned" and tag == "replace":
                assert (j - i, m - k) == (1, 1)
                replaced[said[i], heard[k]] = replaced.get((said[i], heard[k]), 0) + 1
    assert {(said, heard): count for said, heard, count in report.substitutions["tuned"]} == replaced


def test_capitals_commas_and_stops_change_no_figure_but_those_of_how_it_is_written(report, frames):
    """The tuned model's words written as sentences, a stop after the second word of every other one too early."""
    style = WrittenStyle(capital=True, commas=True, stop=True)
    written = []
    for index, one in enumerate(frames):
        if one.model == "tuned":
            texts = style.write(one.word_texts, [text in DIGITS for text in one.word_texts])
            if index % 4 == 1:
                texts[1] = texts[1].rstrip(",") + "."
            words = tuple(dataclasses.replace(word, text=text) for word, text in zip(one.words, texts, strict=True))
            one = dataclasses.replace(one, words=words)
        written.append(one)
    marked = report_on(written).figures["tuned"]
    for slice_name, plain in report.figures["tuned"].items():
        changed = {name for name, one in marked[slice_name].items() if one != plain[name]}
        cues = {"comma_inside", "stop_at_end"} if slice_name == "numbers" else set()
        assert changed == {"sentence_style", "early_full_stops", "word_error_rate_raw", *cues}
    assert [marked["numbers"][name].value for name in ("comma_inside", "stop_at_end")] == [1.0, 1.0]
    assert [report.figures["tuned"]["numbers"][name].value for name in ("comma_inside", "stop_at_end")] == [0.0, 0.0]
    tuned = [one for one in written if one.model == "tuned"]
    early = [any(w.text.endswith(".") and w.appeared_s < one.reference[-1].end_s for w in one.words) for one in tuned]
    assert marked["all"]["early_full_stops"].value == pytest.approx(np.mean(early))
    assert 0 < np.mean(early) < 1
    assert marked["all"]["sentence_style"].value == 1.0
    assert report.figures["tuned"]["all"]["sentence_style"].value == 0.0
    assert report.figures["base"]["all"]["early_full_stops"].value == 0.0


def test_hesitant_numbers_and_peoples_are_slices_of_their_own(tmp_path, mixed_frames):
    write_frames(tmp_path / "frames.jsonl", mixed_frames)
    got = report_on(read_frames(tmp_path / "frames.jsonl"))
    assert got.num_clips == {"numbers": 12, "hesitant": 9, "people": 8, "ordinary": 9, "all": 38}
    alone = report_on([one for one in mixed_frames if one.manner == "hesitant"])
    assert got.figures["base"]["hesitant"] == alone.figures["base"]["hesitant"]
    assert alone.num_clips["hesitant"] == 9
    assert set(got.figures["tuned"]["people"]) == set(got.figures["tuned"]["numbers"]) == set(got.figures["tuned"]["hesitant"])
    people = [one for one in mixed_frames if one.voices == "people" and one.model == "base"]
    exact = np.mean([digits_of(one.reference_texts) == digits_of(one.word_texts) for one in people])
    assert got.figures["base"]["people"]["digit_strings_exact"].value == pytest.approx(exact)
    assert set(got.digit_errors["base"]) == {"numbers", "hesitant", "people"}
    assert {group.slice for group in got.groups} >= {"numbers", "hesitant", "people", "ordinary"}


def test_the_report_says_what_its_intervals_resample(frames):
    four_voices = report_on(frames)
    assert four_voices.intervals["numbers"] == Resampled(by="clip", num_speakers=None)
    clips = list(dict.fromkeys(one.clip for one in frames))
    for one in frames:
        object.__setattr__(one, "speaker", f"voice {clips.index(one.clip) % 6}")
    by_speaker = report_on(frames)
    assert by_speaker.intervals["numbers"] == Resampled(by="speaker", num_speakers=6)


@pytest.mark.parametrize(
    ("said", "heard", "num_agreeing"),
    [
        ("code seven eighty eight", "code 788", 4),
        ("code double five oh", "code 550", 4),
        ("code zéro six douze", "code 0612", 5),
        ("code a one b two c three", "code A1B2C3", 4),
        ("code seven eight", "code seven eight", 3),
        ("at half past ten", "at half past ten", 4),
    ],
)
def test_a_number_agrees_digit_by_digit_however_it_is_said_or_written(frames, said, heard, num_agreeing):
    """Every digit of a lump has appeared when the lump has; what was said before it waited for longer."""
    words = tuple(Word(text=text, start_s=at, end_s=at + 0.5) for at, text in enumerate(said.split()))
    texts = heard.split()
    appeared = tuple(HeardWord(text=text, start_s=at, end_s=at + 0.5, appeared_s=9.0) for at, text in enumerate(texts))
    score = ClipScore(frames=dataclasses.replace(frames[0], reference=words, words=appeared), rule=EndpointRule())
    assert len(score.word_delays_s) == num_agreeing
    assert score.word_delays_s[-1] == pytest.approx(9.0 - words[-1].end_s)
    assert list(score.word_delays_s) == sorted(score.word_delays_s, reverse=True)

"""What an agent has in hand when it answers: the flush on a real model, and the figures of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stt_ft.audio.files import read_audio
from stt_ft.core.serving import KYUTAI, SERVINGS
from stt_ft.dataset.manifest import Dataset
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.frames import ClipFrames, Reply, read_frames
from stt_ft.evaluation.hearing import Evaluation
from stt_ft.evaluation.replies import Agent, sent_words
from stt_ft.evaluation.report import read_report
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.model.transcriber import Transcriber
from stt_ft.model.words import HeardWord
from stt_ft.stages.evaluate import evaluate
from stt_ft.stages.words import annotate, convert

UNMUTE, UNMUTES_RULE = SERVINGS["unmute"], EndpointRule.named("unmute")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two numbers and two sentences by voices that the tiny model has never heard."""
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("pocketsphinx")
    from stt_ft.simulation.casting import HELDOUT_CAST
    from stt_ft.simulation.takes import TakePlan, write_takes

    data = Dataset(tmp_path_factory.mktemp("heldout"))
    plans = [TakePlan(split="heldout", kind=kind, count=2, cast=HELDOUT_CAST) for kind in ("number", "ordinary")]
    data.write_clips("heldout", [clip for plan in plans for clip in write_takes(data, plan, seed=7, used_digits=set())])
    annotate(data.directory, aligner="sphinx")
    convert(data.directory)
    return data


def test_the_agent_has_the_words_that_a_live_listener_wrote_when_silence_followed_the_turns_end(tmp_path, data):
    """The reply to every clip against the same model run live, frame by frame: the caller up to the end of the turn, then the flush."""
    served = replace(UNMUTE, temperature=0.0)
    evaluation = replace(Evaluation.open("tiny", str(data.directory), device="cpu", silero=False), serving=served)
    transcriber, agent, by_answer = Transcriber.open("tiny", serving=served), Agent(serving=served, rule=UNMUTES_RULE), {}
    for one in evaluation.listen("heldout", UNMUTES_RULE, tmp_path / "frames.jsonl"):
        row = agent.answer_row(one)
        assert row is not None
        sound = read_audio(data.directory / one.clip)
        sound = np.pad(sound, (0, 5 * 24_000))[: (row + 1) * 1920]
        with transcriber.live() as listener:
            told = [listener.hear(frame) for frame in np.pad(sound, (0, 7 * 1920)).reshape(-1, 1920)]
        assert one.reply is not None
        assert one.reply.wait_s == 0.125
        assert [word.text for frame in told for word in frame.words] == [word.text for word in one.reply.words]
        by_answer[one.clip] = len(one.reply.words)
    assert sum(by_answer.values()) > 8


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, data):
    """The directory of an evaluation as Unmute serves, each clip heard in three draws."""
    out = tmp_path_factory.mktemp("drawn")
    evaluate("tiny", data.directory, out=out, serving="unmute", set_on=None, silero=False, device="cpu")
    return out


def test_the_plain_rule_stands_beside_that_of_the_serving(drawn):
    report = read_report(drawn)
    assert report.rule == UNMUTES_RULE
    assert {"reply_p50_s", "words_lost", "numbers_right_at_reply"} <= report.figures["model"]["numbers"].keys()
    assert report.systems["model_plain"].rule == EndpointRule()
    assert all(one.reply is not None for one in read_frames(drawn / "frames.jsonl"))


def test_figures_are_of_the_first_draw_and_their_spread_of_all(tmp_path, drawn, data):
    report, frames = read_report(drawn), read_frames(drawn / "frames.jsonl")
    assert (report.num_clips["all"], report.draws.num, len(frames)) == (4, 3, 12)
    by_draw = [[ClipScore(frames=one, rule=UNMUTES_RULE) for one in frames if one.draw == draw] for draw in (None, 1, 2)]
    assert len({tuple(score.frames.text_tokens for score in scores) for scores in by_draw}) == 3
    errors = [sum(s.words.num_errors for s in scores) / sum(s.words.num_reference for s in scores) for scores in by_draw]
    spread = report.draws.spreads["model"]["all"]["word_error_rate"]
    assert (spread.lowest, spread.highest) == (pytest.approx(min(errors)), pytest.approx(max(errors)))
    assert report.figures["model"]["all"]["word_error_rate"].value == pytest.approx(errors[0])
    right = [np.mean([s.is_right_at_reply for s in scores if s.frames.kind == "number"]) for scores in by_draw]
    spread = report.draws.spreads["model"]["numbers"]["numbers_right_at_reply"]
    assert (spread.lowest, spread.highest) == (min(right), max(right))
    once = Evaluation.open("tiny", str(data.directory), device="cpu", silero=False, smart_turn="none", serving="unmute", draws=1)
    heard = once.listen("heldout", UNMUTES_RULE, tmp_path / "once.jsonl")
    assert [(one.text_tokens, one.reply) for one in heard] == [(one.text_tokens, one.reply) for one in frames[:4]]


def test_the_lines_of_a_call_hold_every_row_of_it(tmp_path, data):
    evaluation = Evaluation.open("tiny", str(data.directory), device="cpu", silero=False, smart_turn="none")
    frames = evaluation.listen_to_calls("heldout", 24.0, tmp_path / "frames.calls.jsonl")
    stop = 0
    for one in frames:
        start = round(one.call_s * 12.5)
        assert start == (0 if one.call_s == 0 else stop + (0 if one.silence is None else len(one.silence)))
        stop = start + len(one.pause)
    assert any(one.silence is not None for one in frames)


def test_without_a_flush_there_is_no_reply(tmp_path, data):
    evaluate("tiny", data.directory, out=tmp_path, serving="kyutai", set_on=None, silero=False, device="cpu")
    assert all(one.reply is None for one in read_frames(tmp_path / "frames.jsonl"))
    assert "words_lost" not in read_report(tmp_path).figures["model"]["all"]
    assert read_report(tmp_path).draws is None


@pytest.mark.slow
def test_fewer_codebooks_are_heard_than_the_model_has(tmp_path, data):
    evaluation = Evaluation.open("tiny", str(data.directory), device="cpu", silero=False, serving="unmute")
    few = replace(evaluation, serving=replace(UNMUTE, temperature=0.0)).listen("heldout", EndpointRule(), tmp_path / "few.jsonl")
    whole = replace(evaluation, serving=KYUTAI).listen("heldout", EndpointRule(), tmp_path / "all.jsonl")
    assert not np.allclose(few[0].pause, whole[0].pause, atol=1e-3)
    again = evaluation.listen("heldout", EndpointRule(), tmp_path / "drawn.jsonl")
    assert [one.text_tokens for one in again] == [
        one.text_tokens for one in evaluation.listen("heldout", EndpointRule(), tmp_path / "2.jsonl")
    ]


def test_the_server_has_sent_only_the_words_that_a_padding_follows(tiny_model):
    tokens = [*tiny_model.tokens_of("one"), 3, *tiny_model.tokens_of("two")]
    assert [word.text for word in sent_words(tiny_model, np.array([3, 0, *tokens]))] == ["one"]
    assert [word.text for word in sent_words(tiny_model, np.array([3, 0, *tokens, 3]))] == ["one", "two"]
    assert sent_words(tiny_model, np.array([], dtype=np.int32)) == []


def heard(*texts: str) -> tuple[HeardWord, ...]:
    return tuple(HeardWord(text=text, start_s=at, end_s=at + 0.3, appeared_s=at + 0.6) for at, text in enumerate(texts))


def score(level: list[float], reply: tuple[HeardWord, ...]) -> ClipScore:
    """Three digits, over after 2.3 s (frame 28), all of them written in time."""
    reference = tuple(Word(text=text, start_s=at, end_s=at + 0.3) for at, text in enumerate(("one", "two", "three")))
    frames = ClipFrames(
        model="tuned", clip="a.wav", kind="number", text_tokens=(), words=heard("one", "two", "three"),
        pause=np.repeat(np.array(level)[:, None], 4, axis=1), reference=reference, duration_s=3.0, reply=Reply(words=reply, wait_s=0.125),
    )  # fmt: skip
    return ClipScore(frames=ClipFrames.from_json(frames.to_json()), rule=EndpointRule())


def test_lost_words_and_right_numbers_are_those_at_the_reply():
    at_the_end, early = [0.0] * 30 + [0.9] * 10, [0.0] * 20 + [0.9] * 20
    whole, short = score(at_the_end, heard("one", "two", "three")), score(at_the_end, heard("one", "two"))
    assert (whole.is_right_at_reply, whole.lost_words.num_errors) == (True, 0)
    assert (short.is_right_at_reply, short.lost_words.num_errors, short.lost_words.num_reference) == (False, 1, 3)
    assert short.reply_s == pytest.approx(31 * 0.08 - 2.3 + 0.125)
    assert not score(early, heard("one", "two", "three")).is_right_at_reply
    assert not score([0.0] * 40, ()).is_ended_well

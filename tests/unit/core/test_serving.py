"""How a model is served: names, and moshi-server's own files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stt_ft.core.errors import ConfigError
from stt_ft.core.serving import KYUTAI, SERVINGS, Serving

# The keys that matter here of services/moshi-server/configs/stt.toml of kyutai-labs/unmute at 84aa28d.
UNMUTES_FILE = """\
static_dir = "./static/"
authorized_ids = ["public_token"]
[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
asr_delay_in_tokens = 6
temperature = 0.25
[modules.asr.model]
audio_vocab_size = 2049
audio_codebooks = 20
"""


def of_file(directory: Path, text: str) -> Serving:
    path = directory / "stt.toml"
    path.write_text(text, encoding="utf-8")
    return Serving.named(str(path))


def test_unmutes_own_file_is_the_serving_of_that_name_but_for_the_agent(tmp_path):
    served, unmute = of_file(tmp_path, UNMUTES_FILE), SERVINGS["unmute"]
    assert (served.num_codebooks(32), served.temperature) == (unmute.num_codebooks(32), unmute.temperature) == (20, 0.25)
    assert (served.rule, served.flush_s) == ("kyutai", 0.0)
    with_agent = of_file(tmp_path, UNMUTES_FILE + '[client]\nrule = "unmute"\nflush_s = 0.5\n')
    assert with_agent == dataclasses.replace(unmute, of_codebooks=None)


def test_a_model_with_fewer_codebooks_hears_the_same_share():
    assert [SERVINGS["unmute"].num_codebooks(n_q) for n_q in (32, 16, 8, 1)] == [20, 10, 5, 1]
    assert [KYUTAI.num_codebooks(n_q) for n_q in (32, 16)] == [32, 16]


def test_the_codebooks_that_are_left_out_are_heard_as_nothing():
    codes = np.arange(32, dtype=np.int16).reshape(16, 2)
    heard = SERVINGS["unmute"].heard(codes)
    assert np.array_equal(heard[:10], codes[:10])
    assert (heard[10:] == -1).all()
    assert (codes >= 0).all()
    assert KYUTAI.heard(codes) is codes


def test_the_flush_of_unmute_is_seven_frames_and_an_eighth_of_a_second():
    """It answers once more than 0.5 s of the silence has been processed (`stt.current_time > self.stt_end_of_flush_time`)."""
    assert SERVINGS["unmute"].num_flush_frames == 7
    assert SERVINGS["unmute"].flush_wait_s == 0.125


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("modules = 3", "lacks a module of type BatchedAsr"),
        (UNMUTES_FILE.replace("BatchedAsr", "Tts"), "lacks a module of type BatchedAsr"),
        (UNMUTES_FILE.replace("0.25", "-1.0"), "temperature"),
        (UNMUTES_FILE.replace("codebooks = 20", 'codebooks = "many"'), "codebooks"),
        (UNMUTES_FILE + "[client]\nwait = 3\n", r"\[client\] may hold rule"),
        ("not toml", "stt.toml: "),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason) as refused:
        of_file(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_a_name_that_is_neither_and_a_model_that_is_too_small_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--serving moshi: no such file; give kyutai, unmute, or"):
        Serving.named("moshi")
    with pytest.raises(ConfigError, match="reads 20 codebooks, and the model has 16"):
        of_file(tmp_path, UNMUTES_FILE).heard(np.zeros((16, 2), np.int16))

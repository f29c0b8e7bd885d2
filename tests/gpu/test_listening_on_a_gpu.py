"""Listening on a GPU, compiled and replayed as a CUDA graph, writes what a CPU writes."""

from __future__ import annotations

import pytest

from stt_ft.audio.files import read_audio
from stt_ft.dataset.manifest import Dataset
from stt_ft.model.codes import MimiCodec
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def codes(tiny_model, tmp_path_factory):
    """Codes of a few clips by voices that the tiny model has never heard, of several lengths."""
    pytest.importorskip("espeakng_loader")
    from stt_ft.simulation.casting import HELDOUT_CAST
    from stt_ft.simulation.takes import TakePlan, write_takes

    data = Dataset(tmp_path_factory.mktemp("heldout"))
    plan = TakePlan(split="heldout", kind="number", count=6, cast=HELDOUT_CAST)
    clips = list(write_takes(data, plan, seed=5, used_digits=set()))
    return MimiCodec.load(tiny_model).encode([read_audio(data.audio_path(clip)) for clip in clips])


def test_a_gpu_writes_what_a_cpu_writes(tiny_model, codes, device):
    """In float32: nearly all tokens, and pause probabilities to what two kernels of float32 may differ by."""
    on_gpu, on_cpu = (stream_codes(load_lm(tiny_model, device=where), codes, batch_size=4) for where in (device, "cpu"))
    same = [float((ours.text_tokens == theirs.text_tokens).mean()) for ours, theirs in zip(on_gpu, on_cpu, strict=True)]
    assert sum(same) / len(same) > 0.98
    assert any((stream.text_tokens != tiny_model.padding_id).any() for stream in on_cpu)
    for ours, theirs, share in zip(on_gpu, on_cpu, same, strict=True):
        if share == 1.0:
            assert abs(ours.pause_probs - theirs.pause_probs).max() < 0.02


def test_a_gpu_hears_the_same_twice(tiny_model, codes, device):
    """A graph that was captured for one set of clips leaves nothing in the next."""
    lm = load_lm(tiny_model, device=device)
    first, _, again = (stream_codes(lm, heard, batch_size=4) for heard in (codes, codes[:3], codes))
    assert all((one.text_tokens == other.text_tokens).all() for one, other in zip(first, again, strict=True))

"""Where half precision pays: by a processor that is told to be an older one, and by GPUs of two generations."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from stt_ft.model import device as device_module
from stt_ft.model.device import has_bfloat16, inference_dtype


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="tells a processor of this kind to be an older one")
def test_a_processor_with_avx2_alone_is_slow_in_bfloat16():
    older = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    script = "from stt_ft.model.device import bfloat16_speed; print(bfloat16_speed())"
    done = subprocess.run([sys.executable, "-c", script], env=older, capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 0.3


@pytest.mark.parametrize("speed", [0.01, 3.0])
def test_a_cpu_computes_in_float32_whatever_it_can(monkeypatch, speed):
    monkeypatch.setattr(device_module, "bfloat16_speed", lambda: speed)
    assert has_bfloat16(torch.device("cpu")) == (speed > 1)
    assert inference_dtype(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(("generation", "dtype"), [(7, torch.float32), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_a_gpu_computes_in_bfloat16_from_ampere_on(monkeypatch, generation, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=generation))
    assert inference_dtype(torch.device("cuda", 0)) == dtype

"""What pages are made of, made once; only the page of the fixture `html` of a test file carries its sound, for making MP3 takes longest."""

import pytest
from sample_frames import frames, make_dataset, make_frames, mixed_frames, report

__all__ = ["frames", "mixed_frames", "report"]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("pages") / "dataset", make_frames())


@pytest.fixture(autouse=True)
def _sound_is_linked(monkeypatch):
    monkeypatch.setattr("stt_ft.pages.offline_page.EMBED_LIMIT_BYTES", 0)

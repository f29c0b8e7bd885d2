"""Splits: groups stay together, shares are met kind by kind, and the seed decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.corpus.splitting import assign, groups_of
from stt_ft.dataset.manifest import Clip

SHARES = {"train": 0.7, "dev": 0.1, "heldout": 0.2}


def grouped(made: list[Clip], keys: Callable[[Clip], list[str]]) -> list[list[Clip]]:
    return groups_of(made, map(keys, made))


def clips(*keys: tuple[str, str]) -> list[Clip]:
    return [
        Clip(path=f"{index}.wav", duration_s=1.0, extra={"speaker": speaker, "kind": kind}) for index, (speaker, kind) in enumerate(keys)
    ]


def kind_of(clip: Clip) -> str:
    return str(clip.extra["kind"])


def test_groups_join_through_shared_keys() -> None:
    made = clips(("a", "n"), ("b", "n"), ("c", "n"), ("d", "n"))
    keys = {"0.wav": ["x"], "1.wav": ["x", "y"], "2.wav": ["y"], "3.wav": []}
    assert [[clip.path for clip in group] for group in grouped(made, lambda clip: keys[clip.path])] == [
        ["0.wav", "1.wav", "2.wav"],
        ["3.wav"],
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["number", "ordinary"])), min_size=1, max_size=60), st.integers(0, 5)
)
def test_no_group_is_parted_and_the_seed_decides(keys: list[tuple[str, str]], seed: int) -> None:
    groups = grouped(clips(*keys), lambda clip: [clip.extra["speaker"]])
    chosen = assign(groups, SHARES, kind_of=kind_of, seed=seed)
    assert len(chosen) == len({speaker for speaker, _ in keys})
    assert chosen == assign(groups, SHARES, kind_of=kind_of, seed=seed)
    assert set(chosen) <= set(SHARES)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=9), st.integers(0, 5))
def test_no_split_stays_empty_where_there_are_groups_enough(sizes: list[int], seed: int) -> None:
    groups = grouped(clips(*[(f"s{at}", "n") for at, size in enumerate(sizes) for _ in range(size)]), lambda clip: [clip.extra["speaker"]])
    assert set(assign(groups, SHARES, kind_of=kind_of, seed=seed)) == set(SHARES)


def test_each_split_holds_its_share_of_each_kind() -> None:
    groups = grouped(clips(*[(f"s{index}", "number" if index % 4 else "ordinary") for index in range(200)]), lambda clip: [clip.path])
    chosen = assign(groups, SHARES, kind_of=kind_of, seed=1)
    counts = Counter((split, kind_of(group[0])) for split, group in zip(chosen, groups, strict=True))
    assert counts == {
        ("train", "number"): 105, ("dev", "number"): 15, ("heldout", "number"): 30,
        ("train", "ordinary"): 35, ("dev", "ordinary"): 5, ("heldout", "ordinary"): 10,
    }  # fmt: skip


def test_another_seed_gives_another_split() -> None:
    groups = grouped(clips(*[(f"s{index}", "n") for index in range(40)]), lambda clip: [clip.path])
    assert assign(groups, SHARES, kind_of=kind_of, seed=1) != assign(groups, SHARES, kind_of=kind_of, seed=2)


def test_the_same_clips_and_seed_are_dealt_out_as_ever() -> None:
    """A split that came out otherwise would put clips that a model has learned into what it is measured on."""
    made = clips(*[(f"s{index * index % 37}", "number" if index % 3 else "ordinary") for index in range(400)])
    groups = grouped(made, lambda clip: [clip.extra["speaker"]])
    told = "".join(split[0] for split in assign(groups, SHARES, kind_of=kind_of, seed=5))
    assert told == "thhdthdhttttttttttt"

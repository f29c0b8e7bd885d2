"""What a turn loses in a long call, and to what: the same takes alone, and glued into calls in several ways.

    python tools/bench/calls.py demo/model tiny          a quarter of an hour on a core; the dev cast speaks, nothing held out is heard

    alone     each take as a stream of its own
    codes     calls of the codes that the takes have alone: the model follows a turn with a turn, the codec does not
    room      calls of sound, as `evaluate --calls` makes them: the room goes on in the silences and fades into the next
    step      the room of a take goes on until the next begins, whose room is louder or softer at once
    digital   digital silence between the takes

Then: how many codes of a take stay what they are alone, when the codec has heard something before. The tables go to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stt_ft.audio.files import read_audio
from stt_ft.core.atomic import write_text
from stt_ft.core.serving import KYUTAI
from stt_ft.core.timing import SAMPLES_PER_FRAME, num_frames_covering, samples_to_s
from stt_ft.dataset.manifest import Dataset
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.figures import FIGURES, resampling_of
from stt_ft.evaluation.hearing import reference_words
from stt_ft.evaluation.model_frames import frames_in_call
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.intervals import estimate
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.simulation.calls import Call, room, there_and_back
from stt_ft.simulation.casting import DEV_CAST
from stt_ft.simulation.takes import TakePlan, write_plan

RESULTS = Path(__file__).parent / "results"
SEED = 77
CLIPS_A_CALL = 12
SILENCE_FRAMES = (38, 77)
PHANTOM_S = 0.15
"""A first word that begins so long before the first that was said is one that nobody said."""

PLANS = (("number", 80, 6), ("ordinary", 40, 3))


def record(directory: Path) -> Dataset:
    """Let the dev cast speak numbers and sentences, in words and with their true times."""
    data, used = Dataset(directory), set()
    plans = [TakePlan(split="dev", kind=kind, count=count, cast=DEV_CAST, min_digits=least) for kind, count, least in PLANS]
    clips = []
    for clip in (clip for plan in plans for clip in write_plan(data, plan, seed=SEED, used_digits=used, with_times=True)):
        sidecar = data.read_sidecar(clip)
        script = " ".join(word.text for word in sidecar.alignments)
        clips.append(replace(clip, extra={**clip.extra, "script": script}))
        data.write_sidecar(clips[-1], replace(sidecar, script=script))
    data.write_clips("dev", clips)
    data.write_info({"name": "calls", "language": "en", "sample_rate_hz": 24_000})
    return data


def stepped(call: Call, sounds: Sequence[np.ndarray], rooms: Sequence[np.ndarray]) -> np.ndarray:
    """The call's sound with each room held until the next clip begins."""
    joined = call.sound(lambda clip: (sounds[clip], rooms[clip][:0]))
    for clip, start, stop in zip(call.clips, call.starts, (*call.starts[1:], call.num_frames), strict=True):
        first, last = start * SAMPLES_PER_FRAME + len(sounds[clip]), stop * SAMPLES_PER_FRAME
        joined[first:last] = there_and_back(rooms[clip], last - first)
    return joined


def of_codes(call: Call, alone: Sequence[np.ndarray], num_tail: int) -> np.ndarray:
    """The codes of a call from those of its clips alone [n_q, T]: each with its tail, whose last frame is repeated until the next."""
    stops = (*call.starts[1:], call.num_frames + num_tail)
    spans = zip(call.clips, call.starts, stops, strict=True)
    return np.concatenate(
        [alone[clip][:, np.minimum(np.arange(stop - start), alone[clip].shape[1] - 1)] for clip, start, stop in spans], axis=1
    )


def figure(name: str, scores: Sequence[ClipScore]) -> str:
    whole = estimate(FIGURES[name].of(scores), resampling_of(scores), is_share=True)
    return f"{100 * whole.value:.1f} % ({100 * whole.low:.0f} to {100 * whole.high:.0f})"


def is_phantom(score: ClipScore) -> bool:
    said, heard = score.frames.reference, score.frames.words
    return bool(heard) and heard[0].start_s < said[0].start_s - PHANTOM_S and heard[0].text.lower() != said[0].text.lower()


def drift(codec: MimiCodec, sounds: Sequence[np.ndarray], rooms: Sequence[np.ndarray], alone: Sequence[np.ndarray]) -> list[str]:
    """Rows of the share of codes, of the first codebook and of all, that are those of the take alone, after several leads."""

    def zeros(seconds: float) -> np.ndarray:
        return np.zeros(num_frames_covering(seconds) * SAMPLES_PER_FRAME, np.float32)

    def other(index: int) -> np.ndarray:
        sound = sounds[(index + 1) % len(sounds)]
        return sound[: len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]

    leads: dict[str, Callable[[int], np.ndarray]] = {
        "its room, 1 s": lambda index: there_and_back(rooms[index], len(zeros(1))),
        "its room, 4 s": lambda index: there_and_back(rooms[index], len(zeros(4))),
        "its room, 16 s": lambda index: there_and_back(rooms[index], len(zeros(16))),
        "digital silence, 1 s": lambda index: zeros(1),
        "digital silence, 4 s": lambda index: zeros(4),
        "another take, its room, 4 s": lambda index: np.concatenate([other(index), there_and_back(rooms[index], len(zeros(4)))]),
    }
    rows = []
    for name, lead in leads.items():
        same = []
        for index, sound in enumerate(sounds):
            before, length = lead(index), num_frames_covering(samples_to_s(len(sound)))
            first = len(before) // SAMPLES_PER_FRAME
            codes = codec.encode([np.concatenate([before, sound])])[0][:, first : first + length] == alone[index][:, :length]
            same.append((codes[0].mean(), codes.mean()))
        shares = np.mean(same, axis=0)
        rows.append(f"| {name} | {100 * shares[0]:.0f} % | {100 * shares[1]:.0f} % |")
    return rows


def main() -> None:
    """Record, glue, listen and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model directories of one codec, or tiny")
    parser.add_argument("--num_calls", type=int, default=4, help=f"calls of {CLIPS_A_CALL} clips, at most 10")
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = record(Path(folder) / "takes")
        clips = data.measured_clips("dev")
        chosen = np.random.default_rng(5).permutation(len(clips))[: CLIPS_A_CALL * arguments.num_calls]
        clips = [clips[index] for index in chosen]
        references: list[tuple[Word, ...]] = reference_words(data, clips, "dev")
        sounds = [read_audio(data.audio_path(clip)) for clip in clips]
    rooms = [room(sound, words) for sound, words in zip(sounds, references, strict=True)]
    lengths = [num_frames_covering(samples_to_s(len(sound))) for sound in sounds]
    rng, calls = np.random.default_rng(SEED), []
    for first in range(0, len(clips), CLIPS_A_CALL):
        indices = tuple(range(first, first + CLIPS_A_CALL))
        gaps = [0, *rng.integers(*SILENCE_FRAMES, size=CLIPS_A_CALL - 1)]
        stops = np.cumsum([gap + lengths[index] for gap, index in zip(gaps, indices, strict=True)])
        starts = tuple(int(stop) - lengths[index] for stop, index in zip(stops, indices, strict=True))
        calls.append(Call(clips=indices, starts=starts, num_frames=int(stops[-1])))
    single = [Call(clips=(index,), starts=(0,), num_frames=length) for index, length in enumerate(lengths)]
    first_model = open_model(arguments.models[0])
    codec = MimiCodec.load(first_model)
    alone = codec.encode(sounds)
    ways = {
        "alone": (single, alone),
        "codes": (calls, [of_codes(call, alone, first_model.num_tail_frames()) for call in calls]),
        "room": (calls, codec.encode([call.sound(lambda clip: (sounds[clip], rooms[clip])) for call in calls])),
        "step": (calls, codec.encode([stepped(call, sounds, rooms) for call in calls])),
        "digital": (calls, codec.encode([call.sound(lambda clip: (sounds[clip], rooms[clip][:0])) for call in calls])),
    }
    lines = ["| model | takes | digits exact | sentences, word errors | a first word nobody said |", "|---|---|---|---|---|"]
    for name in arguments.models:
        model = open_model(name)
        lm = load_lm(model, device=torch.device("cpu"), dtype=torch.float32)
        heard = [(way, call, codes) for way, (of_way, all_codes) in ways.items() for call, codes in zip(of_way, all_codes, strict=True)]
        streams = stream_codes(lm, [KYUTAI.heard(codes) for _, _, codes in heard])
        for way in ways:
            scores = [
                ClipScore(frames=one, rule=EndpointRule())
                for (of_way, call, _), stream in zip(heard, streams, strict=True)
                if of_way == way
                for one in frames_in_call(name, model, call, stream, clips, references, lengths)
            ]
            parts = {kind: [score for score in scores if score.frames.kind == kind] for kind in ("number", "ordinary")}
            digits, errors = figure("digit_strings_exact", parts["number"]), figure("word_error_rate", parts["ordinary"])
            phantoms = sum(map(is_phantom, scores))
            lines.append(f"| {Path(name).name} | {way} | {digits} | {errors} | {phantoms} of {len(scores)} |")
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    command = f"python tools/bench/calls.py {' '.join(arguments.models)} --num_calls {arguments.num_calls}"
    page = ["# Turns in a call, and alone", "", f"`{command}`, {today}.", "95 % intervals by speaker and clip.", "", *lines, ""]
    page += ["Codes that are those of the take alone, when the codec has heard before it:", ""]
    page += ["| before | first codebook | all |", "|---|---|---|", *drift(codec, sounds[:8], rooms[:8], alone[:8])]
    path = arguments.out or RESULTS / f"{today}-calls.md"
    write_text(path, "\n".join(page) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()

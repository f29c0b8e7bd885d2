"""`stt-ft synthesize`: numbers spoken by a synthesiser, to be learned beside recordings: more voices than fifty takes have.

    stt-ft synthesize recordings/scripts/digits_en.yaml --out datasets/synthetic --count 1000
    stt-ft synthesize datasets/orders --out datasets/synthetic --count 1000 --synthesizer piper --voice voices/en_US-ryan-high.onnx
    stt-ft synthesize datasets/orders --out datasets/synthetic --count 1000 --synthesizer command --command 'say.sh {text} {wav}'

Every clip dictates another number than its prompt and than every other clip, and comes with the times of its words. It is marked as
synthetic, stands in train, and is refused in dev and heldout. `train --synthetic.dataset datasets/synthetic` learns it beside recordings.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stt_ft.core.atomic import sole_writer
from stt_ft.core.engine import LOCAL, Engine, spread
from stt_ft.core.errors import ConfigError
from stt_ft.core.progress import say, track
from stt_ft.core.storage import place
from stt_ft.dataset.manifest import Clip, Dataset

if TYPE_CHECKING:
    from stt_ft.simulation.engines import SpeechEngine
    from stt_ft.simulation.synthetic import Made, Session

_SAVE_EVERY_S, _MOST_SAVING = 5.0, 0.05
"""Seconds between writes of the manifest, or more where these would take more than this share of the time; clips that a kill takes from it
are made again, the same."""


@spread
def synthesize(
    source: str | None = None,
    *,
    out: str,
    count: int = 1000,
    synthesizer: Literal["espeak", "piper", "command"] = "espeak",
    voice: list[str] | None = None,
    command: str | None = None,
    time_limit: float = 60.0,
    channels: list[str] | None = None,
    apart_from: list[str] | None = None,
    aligner: Literal["sphinx", "whisper"] = "sphinx",
    model: str = "large-v3",
    device: str = "auto",
    seed: int = 0,
    dry_run: bool = False,
    engine: Engine = LOCAL,
) -> None:
    """Speak the prompts of a script, or the numbers of a dataset's recordings, with other digits each time, in many voices and speeds.

    Half of the clips are dictated in one flow, half with the pauses of someone who looks the number up. Killed, the same command goes on
    where it was and makes the same clips; a larger --count adds to them. The clips need no annotate and no convert; encode is next.

    Args:
        source: a prompt script (recordings/scripts/, or one of record --make_script), or a dataset, whose recordings are said anew.
        out: dataset directory; it may be the recordings' own, or one that other engines or seeds have spoken into.
        count: clips in all; the prompts are taken in turns.
        synthesizer: espeak (comes with the extra synth: 153 voices, exact word times), piper (extra piper; needs --voice) or command.
        voice: piper's voice files NAME.onnx, each beside its NAME.onnx.json, several parted by commas; for command a name to note.
        command: a program and its arguments, run without a shell: {text} and {wav} stand for what to say and where to leave the sound, and
            where it takes them {speed} for how fast (1.0 as it is) and {seed} for a number, as in 'prog --text {text} --out {wav}'.
        time_limit: seconds after which --command is stopped.
        channels: channels of a clip: a telephone line (phone), noise by its level below the speech (20dB), such as phone,20dB; a clip
            without a channel is as likely as one through each of these.
        apart_from: datasets whose dev and heldout numbers are not spoken, beside those of SOURCE and --out.
        aligner: who finds the words in what piper or command said; sphinx knows English only. Espeak needs none.
        model: Whisper model of --aligner whisper: a name such as large-v3, or a local .pt file.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one (whisper).
        seed: decides numbers, voices, pauses and noise.
        dry_run: speak a sample, write nothing, and say how long all clips will take.
    """
    from stt_ft.audio.channel import channels_named
    from stt_ft.corpus.prompt_script import load_prompt_script, prompts_of_dataset
    from stt_ft.simulation.synthetic import Session
    from stt_ft.text.spoken_forms import language_named

    if source is None:
        raise ConfigError(
            "what shall be said? give a prompt script (recordings/scripts/digits_en.yaml is one, `stt-ft record --make_script digits` "
            "writes others) or a dataset whose numbers are to be said anew"
        )
    if count <= 0:
        raise ConfigError(f"--count must be positive, got {count}")
    if time_limit <= 0:
        raise ConfigError(f"--time_limit must be positive, got {time_limit}")
    data = Dataset.to_fill(out)
    try:
        through = channels_named(channels or ())
    except ValueError as error:
        raise ConfigError("; ".join(f"--channels: {mistake}" for mistake in error.args)) from None
    is_dataset = place(source).is_dir()
    prompts = prompts_of_dataset(Dataset.open(source)) if is_dataset else load_prompt_script(Path(source))
    language_named(prompts.language)
    there = str(data.info().get("language") or prompts.language)
    if there.partition("-")[0] != prompts.language.partition("-")[0]:
        raise ConfigError(f"{data.directory}: its language is {there}, the prompts' is {prompts.language}; give another --out")
    beside = [data, *(Dataset.open(directory) for directory in [*([source] if is_dataset else []), *(apart_from or [])])]
    make_voices = functools.partial(
        _voices,
        synthesizer,
        prompts.language,
        voice=voice,
        command=command,
        time_limit_s=time_limit,
        aligner=aligner,
        model=model,
        device=device,
    )
    session = Session(
        data=data,
        voices=make_voices(),
        make_voices=make_voices,
        lines=prompts.prompts,
        language=prompts.language,
        seed=seed,
        channels=through,
        forbidden=frozenset().union(*(_measured_numbers(each) for each in beside)),
    )
    session.check()
    cores = synthesizer != "command" and aligner == "sphinx"  # a program, or a GPU, is one that all would wait for
    if dry_run:
        say(f"{data.directory}: {session.estimate(count, engine, cores=cores)}")
        return
    with sole_writer(data.directory):
        total = session.missing(count)
        train, num_failed = _spoken(session, session.clips(count, engine, cores=cores), total)
    synthetic = [clip for clip in train.values() if clip.is_synthetic]
    minutes, voices = sum(clip.duration_s for clip in synthetic) / 60, {clip.extra.get("speaker") for clip in synthetic}
    holds = f"train holds {len(synthetic)} synthetic clips of {minutes:.1f} minutes in {len(voices)} voices"
    again = f", {num_failed} draws could not be aligned and were made anew" if num_failed else ""
    say(f"{data.directory}: {total} clips spoken by {synthesizer}, {count - total} were there{again}; {holds}")
    learned = (
        "they are learned with its recordings" if len(synthetic) < len(train) else f"then train with --synthetic.dataset {data.directory}"
    )
    say(f"next: stt-ft encode {data.directory} --base BASE, {learned}")


def _spoken(session: Session, clips: Iterable[Made], total: int) -> tuple[dict[str, Clip], int]:
    """Take clips into the train split of the session's dataset as they are made; return the split by path, and how many draws failed."""
    data = session.data
    train = {clip.path: clip for clip in (data.clips("train") if "train" in data.splits() else [])}
    next_s, num_failed = time.monotonic() + _SAVE_EVERY_S, 0
    try:
        for made in track((made for made in clips if not made.was_there), "clips spoken", total=total):
            train[made.clip.path] = made.clip
            num_failed += made.num_failed
            if (begin_s := time.monotonic()) > next_s:
                data.write_clips("train", train.values())
                done_s = time.monotonic()
                next_s = done_s + max(_SAVE_EVERY_S, (done_s - begin_s) / _MOST_SAVING)
    finally:
        if train:
            data.write_clips("train", train.values())
            data.write_info({"name": data.directory.name, "language": session.language, "made_by": "stt-ft synthesize", **data.info()})
    return train, num_failed


def _voices(
    name: str,
    language: str,
    *,
    voice: list[str] | None,
    command: str | None,
    time_limit_s: float,
    aligner: str,
    model: str,
    device: str,
) -> SpeechEngine:
    """Return the voices that the flags describe; raises `ConfigError` for flags that do not go with it."""
    from stt_ft.align import work_named
    from stt_ft.align.aligner import known_word_times
    from stt_ft.simulation.casting import ACCENTS_OF, SYNTHETIC_CAST
    from stt_ft.simulation.engines import AlignedEngine, EspeakEngine, PiperSpeaker, ProgramSpeaker

    code = language.partition("-")[0]
    cast = dataclasses.replace(SYNTHETIC_CAST, accents=ACCENTS_OF[code])
    if command is not None and name != "command":
        raise ConfigError(f"--command goes with --synthesizer command, not with {name}")
    if name == "espeak":
        if voice:
            raise ConfigError(f"--voice {voice[0]}: espeak takes its voices in turns; --voice goes with --synthesizer piper or command")
        return EspeakEngine(cast)
    if name == "piper" and not voice:
        raise ConfigError("--synthesizer piper needs --voice NAME.onnx, a voice of https://huggingface.co/rhasspy/piper-voices")
    if name == "command" and command is None:
        raise ConfigError("--synthesizer command needs --command 'prog --text {text} --out {wav}'")
    if name == "command" and len(voice or ()) > 1:
        raise ConfigError("--synthesizer command speaks with one voice; give --voice one name")
    speaker = (
        PiperSpeaker([Path(path) for path in voice or ()])
        if name == "piper"
        else ProgramSpeaker(command or "", voice=voice[0] if voice else None, time_limit_s=time_limit_s)
    )
    work = work_named(aligner, model=model, language=code, device=device, batch_size=1)
    speaker.made_by |= {"aligner": work.provenance["aligner"]}
    return AlignedEngine(speaker, cast, functools.partial(known_word_times, work=work, language=code))


def _measured_numbers(data: Dataset) -> set[str]:
    """Return the digit strings of the dev and heldout clips of `data`; raises `DatasetError` for a synthetic clip among them."""
    from stt_ft.corpus.problems import numbers_of
    from stt_ft.text.redrawing import MIN_DIGITS

    clips = [clip for split in data.splits() if split != "train" for clip in data.measured_clips(split)]
    return {number for _, numbers in numbers_of(data, clips, min_digits=MIN_DIGITS) for number in numbers}

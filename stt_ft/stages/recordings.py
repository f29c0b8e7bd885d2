"""Recordings become a dataset: `stt-ft record` reads prompts into the microphone, `stt-ft ingest` takes over a corpus that exists.

    stt-ft record --script recordings/scripts/digits_en.yaml --out datasets/orders
    stt-ft record --make_script digits --count 200 --seed 1 --script my_digits.yaml
    stt-ft ingest ~/takes --out datasets/orders                       a folder of sound, with .txt or .json beside each file
    stt-ft ingest cv-corpus/en --out datasets/cv --format commonvoice
    stt-ft ingest s3://calls/shards --out datasets/calls --packed     Lhotse Shar, WebDataset or Parquet, whose sound stays there

A take is on disk as soon as it is kept; a second start goes on at the first prompt that is missing. `ingest` links to sound files that can
be used as they are (mono, in a format that libsndfile reads), leaves those of an archive in it, and copies nothing of them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stt_ft.core.atomic import sole_writer, write_text
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.progress import say, track
from stt_ft.dataset.manifest import INSIDE, SPLITS, Clip, Dataset

if TYPE_CHECKING:
    from rich.console import Console


def record(
    *,
    script: str | None = None,
    out: str | None = None,
    device: int | None = None,
    list_devices: bool = False,
    start_at: int | None = None,
    speaker: str | None = None,
    sample_rate: Literal[24000, 16000] = 24000,
    make_script: Literal["digits"] | None = None,
    count: int = 200,
    seed: int = 0,
    language: Literal["en", "fr"] = "en",
) -> None:
    """Show prompts one at a time and record them: Enter starts, Enter stops, then keep, retake or skip.

    Args:
        script: YAML file of prompts; some are in recordings/scripts/. With --make_script, the file to write.
        out: dataset directory.
        device: number of the input device, from --list_devices.
        list_devices: print the devices that can record, and stop.
        start_at: number of the prompt to begin with, whether it was read before or not.
        speaker: who reads; asked for when not given and not known from the last session.
        sample_rate: samples a second to keep: 24000 is the rate of the model.
        make_script: write a new script of random numbers to --script (or to stdout) instead of recording.
        count: prompts of a new script.
        seed: decides the numbers of a new script.
        language: language of a new script.
    """
    from rich.console import Console

    from stt_ft.corpus.prompt_script import load_prompt_script
    from stt_ft.corpus.recording import Desk, Session

    if list_devices:
        _list_devices()
        return
    if make_script:
        _make_script(script, count=count, seed=seed, language=language)
        return
    if script is None or out is None:
        raise ConfigError("record needs --script FILE and --out DATASET (or --list_devices, or --make_script digits)")
    from stt_ft.audio.microphone import Recording, play, require_input

    console = Console(stderr=True)
    prompts = load_prompt_script(Path(script))
    prompts.numbered(1 if start_at is None else start_at)
    data = Dataset.to_fill(out)
    with sole_writer(data.directory):
        require_input(device)
        session = Session.open(data, prompts, _metadata(data, speaker, console), sample_rate_hz=sample_rate)
        desk = Desk(
            session,
            record=lambda: Recording(sample_rate_hz=sample_rate, device=device),
            play=lambda samples: play(samples, sample_rate),
            console=console,
        )
        finished = desk.run(start_at)
    say(f"{out}: {len(session.clips)} of {len(prompts.prompts)} prompts recorded by {session.speaker}")
    if not finished or session.missing():
        say("the same command goes on with the first prompt that is missing")


def _metadata(data: Dataset, speaker: str | None, console: Console) -> dict[str, str]:
    """Return who speaks, into what, and where: from the flag, from the last session, or asked once."""
    from stt_ft.corpus.recording import METADATA, known_sessions

    for session in reversed(known_sessions(data)):
        if speaker is None or session["speaker"] == speaker:
            return {key: str(value) for key, value in session.items()}
    if speaker is not None and not console.is_terminal:
        return {"speaker": speaker}
    try:
        answers = {"speaker": speaker or _ask_speaker(console)}
        for key in METADATA[1:]:
            answers[key] = console.input(f"{key} (may stay empty): ").strip()
    except EOFError:
        console.print()
        raise ConfigError("who speaks? give --speaker NAME") from None
    return answers


def _ask_speaker(console: Console) -> str:
    """Ask until the answer can stand in a file name."""
    from stt_ft.corpus.recording import speaker_id

    while True:
        name = console.input("speaker (a name or initials): ").strip()
        try:
            speaker_id(name)
        except DatasetError as error:
            console.print(f"  {error}", markup=False, highlight=False, soft_wrap=True)
        else:
            return name


def _list_devices() -> None:
    from stt_ft.audio.microphone import input_devices

    devices = input_devices()
    for device in devices:
        default = "  (default)" if device.is_default else ""
        say(f"{device.number:3d}  {device.name}, {device.channels} channels, {device.sample_rate_hz} Hz{default}")
    if not devices:
        say("no device that can record")


def _make_script(path: str | None, *, count: int, seed: int, language: str) -> None:
    from stt_ft.corpus.prompt_script import make_digits_script

    text = make_digits_script(count=count, seed=seed, language=language)
    if path is None:
        sys.stdout.write(text)
    elif Path(path).is_file() and Path(path).read_bytes() != text.encode():
        raise ConfigError(f"{path}: there is another file of this name; give --script the name of a new one")
    else:
        write_text(Path(path), text)
        say(f"{path}: {count} prompts, seed {seed}")


def ingest(
    source: str,
    *,
    out: str,
    format: Literal[
        "auto", "folder", "ljspeech", "jsonl", "nemo", "kaldi", "commonvoice", "lhotse", "shar", "webdataset", "huggingface"
    ] = "auto",
    copy: bool = False,
    packed: bool = False,
    channel: int | None = None,
    max_duration: float = 120.0,
    language: str | None = None,
) -> None:
    """Make a dataset of recordings that exist. Clips that cannot be used are named and left out.

    Running again adds what is new and keeps what later stages have written. Words with times that stand beside the sound (Whisper's and
    whisperX's JSON, NAME.TextGrid, NAME.ctm, Lhotse's alignments) are taken where every word has its time, and `annotate` leaves them as
    they are. Sharded archives (Lhotse Shar, WebDataset, Hugging Face's Parquet) are read once, and their sound stays in them; a pattern
    ('calls/train-{000000..000123}.tar') or a file NAME.txt with one a line names shards, too. docs/data_format.md has a table.

    Args:
        source: folder, manifest, corpus directory or archive, here or in an object store (s3://BUCKET/NAME).
        out: dataset directory.
        format: format of the source; auto finds out.
        copy: copy sound instead of linking to files, and to archives in which it stays.
        packed: keep the sidecars in a few files, as `stt-ft pack` does: for very many clips.
        channel: channel of stereo files to take, counted from 0. By default it is the one that the corpus names (the left one where words
            come in moshi-finetune's format); else all are averaged, and files whose channels hold different voices are left out.
        max_duration: seconds beyond which a clip is left out.
        language: language of the recordings, which dataset.yaml keeps; en where neither says one.
    """
    from stt_ft.corpus.importing import ImportOptions, import_clips
    from stt_ft.corpus.sources.formats import read_source

    if max_duration <= 0:
        raise ConfigError(f"--max_duration must be positive, got {max_duration}")
    data = Dataset.to_fill(out)
    there = data.info().get("language")
    if language is not None and there is not None and data.language() != language.partition("-")[0]:
        raise ConfigError(f"{data.directory}: its language is {there}, not {language}; give another --out")
    corpus = read_source(source, format)
    with sole_writer(data.directory):
        by_split: dict[str, list[Clip]] = {split: data.clips(split) for split in data.splits()}
        places = {_stem(clip): (split, index) for split, clips in by_split.items() for index, clip in enumerate(clips)}

        def known(stem: str) -> Clip | None:
            split, index = places.get(stem, ("", 0))
            return by_split[split][index] if split else None

        options = ImportOptions(copy=copy, packed=packed, channel=channel, max_duration_s=max_duration)
        num_taken = num_left_out = num_with_words = 0
        for imported in track(import_clips(data, corpus.clips(), options, known), "ingesting clips", total=corpus.num_clips):
            if imported.clip is None:
                num_left_out += 1
                say(f"{imported.source.clip_id}: left out: {imported.fault}")
                continue
            num_taken += 1
            num_with_words += bool(imported.source.words_by)
            if imported.source.notice and imported.sidecar is not None:
                say(f"{imported.source.clip_id}: {imported.source.notice}")
            split, index = places.get(_stem(imported.clip), ("", 0))
            if not split:
                by_split.setdefault(imported.source.split or "train", []).append(imported.clip)
            else:
                by_split[split][index] = _renewed(by_split[split][index], imported.clip, is_new=imported.sidecar is not None)
        if num_taken == 0:
            raise DatasetError(f"{source}: none of its {num_left_out} clips can be used; the reasons are above")
        if there is None:
            made = {"name": data.directory.name, "language": language or corpus.language or "en", "made_by": f"stt-ft ingest {source}"}
            data.write_info({**made, **data.info(), "language": made["language"]})
        for split in SPLITS:
            if split in by_split:
                data.write_clips(split, by_split[split])
    counts = ", ".join(f"{split} {len(clips)}" for split, clips in by_split.items())
    timed = f" ({num_with_words} with the words and times of other tools)" if num_with_words else ""
    say(f"{data.directory}: {num_taken} clips taken{timed}, {num_left_out} left out; it holds {counts}")


def _renewed(there: Clip, taken: Clip, *, is_new: bool) -> Clip:
    """Return the line of a clip that stands in the manifest and has been taken again; keys that were added to it stay."""
    if not is_new and (there.path, there.extra.get(INSIDE)) == (taken.path, taken.extra.get(INSIDE)):
        return there
    added = {key: value for key, value in there.extra.items() if key != INSIDE}
    return replace(taken, extra={**added, **taken.extra})


def _stem(clip: Clip) -> str:
    """Return a clip's path without suffix: a linked file is replaced by a WAV when one of its channels is chosen."""
    return str(Path(clip.path).with_suffix(""))

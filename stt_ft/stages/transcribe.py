"""`stt-ft transcribe`: the words and pause probabilities of a model for sound files or a live microphone."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt_ft.core.atomic import write_text
from stt_ft.core.errors import AudioError, ConfigError
from stt_ft.core.progress import emit_json, say
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, frame_heard_s

if TYPE_CHECKING:
    import numpy as np
    from rich.text import Text

    from stt_ft.model.transcriber import LiveFrame, Transcriber, Transcript

BAR_CELLS = 30
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def transcribe(
    model_dir: str,
    *audio: str,
    pauses: bool = False,
    json: bool = False,
    srt: bool = False,
    written: bool = False,
    language: str = "en",
    channel: int | None = None,
    against: str | None = None,
    mic: bool = False,
    mic_device: int | None = None,
    seconds: float | None = None,
    serving: str = "kyutai",
    batch_size: int = 16,
    device: str = "auto",
) -> None:
    """Transcribe sound files or the microphone, frame by frame as the production server does. Files that cannot be read are named, the
    others transcribed, and the exit code is 2.

    Args:
        model_dir: a model directory, a hub repo id, or tiny.
        audio: sound files, patterns such as 'takes/*.wav', or directories of sound files.
        pauses: also show, frame by frame, the probabilities of the pause heads (within 0.5, 1, 2 and 3 seconds).
        json: one JSON object a file: text, words as [text, start, end, appeared] in seconds, pause probabilities [frame][head].
        srt: subtitles: printed for one file, written beside each for several (take.srt; take.wav.srt where take.mp3 is among them too).
        written: write numbers in digits: "1296803" for "one two nine six eight zero three", as an application wants them; not with --mic.
        language: whose numbers --written reads: en, fr, fr-be or fr-ch.
        channel: channel of stereo files to take, counted from 0; by default all are averaged, where they hold the same voice.
        against: another model to hear the same sound, shown beside the first, live too; it must have the same codec and text lag.
        mic: listen to the microphone, and show words and pauses as they come, until Ctrl-C; with --json a line a frame.
        mic_device: number of the microphone, as `stt-ft record --list_devices` shows it.
        seconds: stop listening to the microphone after this time.
        serving: as which server hears and writes: kyutai, unmute (20 of 32 codebooks, temperature 0.25), or moshi-server's file.
        batch_size: files in one batch.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
    """
    from stt_ft.audio.files import sound_files
    from stt_ft.core.serving import Serving
    from stt_ft.model.transcriber import Transcriber
    from stt_ft.text.inverse.vocabulary import number_words

    if mic == bool(audio) or (mic and (srt or written)):
        raise ConfigError("transcribe: give sound files (stt-ft transcribe MODEL_DIR AUDIO…), or --mic without --srt and --written")
    if against is not None and srt:
        raise ConfigError("transcribe: --srt writes the subtitles of one model; leave out --against")
    number_words(language)  # refuses an unknown one before the model is loaded
    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    served = Serving.named(serving)
    if mic:
        first = Transcriber.open(model_dir, device=device, serving=served)
        heard_by = [first] if against is None else [first, first.beside(against)]
        _listen_live(heard_by, as_json=json, mic_device=mic_device, seconds=seconds)
        return
    paths = sound_files(audio)
    sounds, unread = _sounds_of(paths, channel)
    readable = list(sounds)
    shared = {stem for stem, count in Counter(path.with_suffix("") for path in readable).items() if count > 1}
    transcriber = Transcriber.open(model_dir, device=device, require_extra_heads=pauses, serving=served)
    other = None if against is None else transcriber.beside(against)
    for first in range(0, len(readable), batch_size):
        batch = readable[first : first + batch_size]
        codes = transcriber.codec.encode([sounds[path] for path in batch])
        heard = [transcriber.transcribe_codes(codes), *([] if other is None else [other.transcribe_codes(codes)])]
        for path, *transcripts in zip(batch, *heard, strict=True):
            transcripts = [_in_digits(one, language) if written else one for one in transcripts]
            if srt:
                subtitles = path.with_suffix(f"{path.suffix}.srt" if path.with_suffix("") in shared else ".srt")
                _leave_subtitles(None if len(paths) == 1 else subtitles, transcripts[0])
            elif json:
                told = [_told(one) for one in transcripts]
                emit_json({"audio": str(path), **told[0], "frame_s": FRAME_S, **({"against": told[1]} if told[1:] else {})})
            else:
                names = [None] if against is None else [str(model_dir), str(against)]
                _print_texts(None if len(paths) == 1 else path, [*zip(names, transcripts, strict=True)], pauses=pauses)
    if unread is not None:
        raise unread


def _sounds_of(paths: Sequence[Path], channel: int | None) -> tuple[dict[Path, np.ndarray], AudioError | None]:
    """Return the sound of each file that can be read, and an error for the others, which are named here; raises it where none can be."""
    from stt_ft.audio.files import read_audio

    sounds: dict[Path, np.ndarray] = {}
    faults: list[AudioError] = []
    for path in paths:
        try:
            sounds[path] = read_audio(path, channel=channel)
        except AudioError as error:
            faults.append(error)
    if len(faults) == len(paths) == 1:
        raise faults[0]
    for fault in faults:
        say(str(fault))
    unread = AudioError(f"{len(faults)} of {len(paths)} files could not be read; the reasons are above") if faults else None
    if unread is not None and not sounds:
        raise unread
    return sounds, unread


def _print_texts(path: Path | None, heard: Sequence[tuple[str | None, Transcript]], *, pauses: bool) -> None:
    """Print what each model wrote of a file, behind the names of file and model where there are several."""
    for name, transcript in heard:
        print(": ".join([*([] if path is None else [str(path)]), *([] if name is None else [name]), transcript.text]))
        if pauses:
            _print_pauses(transcript)


def _told(transcript: Transcript) -> dict[str, Any]:
    """Return what a model heard of one file, ready for JSON."""
    return {
        "text": transcript.text,
        "words": [word.timed() for word in transcript.words],
        "pause": transcript.pause_probs.round(4).tolist(),
    }


def _listen_live(heard_by: Sequence[Transcriber], *, as_json: bool, mic_device: int | None, seconds: float | None) -> None:
    """Transcribe the microphone until Ctrl-C or for `seconds`, and then the silence in which the last words come."""
    from stt_ft.audio.microphone import LiveMicrophone

    microphone = LiveMicrophone(sample_rate_hz=SAMPLE_RATE_HZ, frame_samples=SAMPLES_PER_FRAME, device=mic_device)
    first, *others = heard_by
    with first.live(*others) as listener, microphone:
        say("listening; Ctrl-C ends")
        with live_view([one.model.name for one in heard_by], as_json=as_json) as show:
            try:
                for samples in microphone.frames():
                    frames = listener.hear_all(samples)
                    show(frames)
                    if seconds is not None and frames[0].heard_s >= seconds:
                        break
            except KeyboardInterrupt:
                pass
            for frames in listener.finish_all():
                show(frames)


def _in_digits(transcript: Transcript, language: str) -> Transcript:
    """Return the transcript with its numbers in digits; a number spans its words, and appeared with the last of them."""
    from stt_ft.text.inverse.written_numbers import written_tokens

    words = []
    for token in written_tokens([word.text for word in transcript.words], language):
        first, last = transcript.words[token.start], transcript.words[token.stop - 1]
        words.append(replace(first, text=token.text, end_s=last.end_s, appeared_s=last.appeared_s))
    return replace(transcript, words=tuple(words))


def _leave_subtitles(path: Path | None, transcript: Transcript) -> None:
    """Write the subtitles to `path`, or print them."""
    from stt_ft.text.captions import captions, to_srt

    lines = captions(transcript.words)
    if path is None:
        print(to_srt(lines), end="")
        return
    write_text(path, to_srt(lines))
    say(f"{path}: {len(lines)} captions")


def _print_pauses(transcript: Transcript) -> None:
    """Print one line a frame: time heard, probabilities of a pause within 0.5, 1, 2 and 3 s, and the word that appeared."""
    word_at_frame = {round(word.appeared_s / FRAME_S) - 1: word.text for word in transcript.words}
    print("  heard    0.5 s    1 s    2 s    3 s  word")
    for frame, probs in enumerate(transcript.pause_probs):
        row = " ".join(f"{prob:6.2f}" for prob in probs)
        print(f"{frame_heard_s(frame):6.2f} s  {row}  {word_at_frame.get(frame, '')}".rstrip())


@contextlib.contextmanager
def live_view(names: Sequence[str], *, as_json: bool) -> Iterator[Callable[[Sequence[LiveFrame]], None]]:
    """Yield a function that shows the frames of the models called `names`, one of each, on stdout, models side by side: a picture on a
    terminal, else a line a word, or with `as_json` a line a frame."""
    if as_json:
        yield _print_json_frames
    elif not sys.stdout.isatty():
        if len(names) > 1:
            print(f"{'':10}  {' '.join(name.ljust(_COLUMN) for name in names)}".rstrip(), flush=True)
        yield _print_words
    else:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        words: list[list[str]] = [[] for _ in names]
        with Live(console=Console(), refresh_per_second=12, vertical_overflow="visible") as live:

            def draw(frames: Sequence[LiveFrame]) -> None:
                pictures = []
                for said, frame in zip(words, frames, strict=True):
                    said.extend(word.text for word in frame.words)
                    pictures.append(Group(Text(" ".join(said) or "…", style="bold"), Text(), *pause_lines(frame.pause_probs)))
                if len(names) == 1:
                    live.update(pictures[0])
                    return
                side_by_side = Table.grid(padding=(0, 2), expand=True)
                for _ in names:
                    side_by_side.add_column(ratio=1)
                side_by_side.add_row(*(Text(name, style="dim") for name in names))
                side_by_side.add_row(*pictures)
                live.update(side_by_side)

            yield draw


_COLUMN = 28
"""Width of a model's column where words are printed side by side."""


def _print_json_frames(frames: Sequence[LiveFrame]) -> None:
    told, *against = (frame.to_json() for frame in frames)
    emit_json({**told, **({"against": {name: against[0][name] for name in ("words", "pause")}} if against else {})})


def _print_words(frames: Sequence[LiveFrame]) -> None:
    """Print a line for each word of this frame, in the column of its model; two models' words of one frame share a line."""
    for words in itertools.zip_longest(*(frame.words for frame in frames)):
        columns = ("" if word is None else word.text for word in words)
        appeared_s = next(word.appeared_s for word in words if word is not None)
        print(f"{appeared_s:8.2f} s  {' '.join(text.ljust(_COLUMN) for text in columns)}".rstrip(), flush=True)


def pause_lines(pause_probs: Sequence[float] | np.ndarray) -> list[Text]:
    """Return a line a head: its horizon, a bar (red above the usual threshold), the probability."""
    from rich.text import Text

    from stt_ft.metrics.endpointing import EndpointRule
    from stt_ft.targets.pause_targets import HORIZONS_S

    lines = []
    for head, prob in enumerate(float(prob) for prob in pause_probs):
        horizon, is_above = f"{HORIZONS_S[head]:g} s" if head < len(HORIZONS_S) else f"head {head}", prob > EndpointRule().threshold
        line = Text.assemble(("pause ", "dim"), (f"{horizon:>6} ", "dim"))
        line.append(bar(prob), style="red" if is_above else "cyan")
        line.append(f" {prob:4.2f}", style="bold red" if is_above else "")
        lines.append(line)
    return lines


def bar(prob: float, cells: int = BAR_CELLS) -> str:
    """Return a bar of `cells` characters filled to `prob`, to an eighth of a character."""
    eighths = round(min(max(prob, 0.0), 1.0) * cells * 8)
    part = _EIGHTHS[eighths % 8] if eighths % 8 else ""
    return ("█" * (eighths // 8) + part).ljust(cells)

"""`stt-ft transcribe`: what a model writes, and when it expects a pause, for any sound file."""

from __future__ import annotations


def transcribe(model_dir: str, *audio: str, pauses: bool = False, json: bool = False, batch_size: int = 16, device: str = "auto") -> None:
    """Write down what is said in sound files, hearing them frame by frame as the production server does.

    Args:
        model_dir: a model directory, a hub repo id, or tiny.
        audio: sound files.
        pauses: also show, frame by frame, the probabilities of the pause heads (within 0.5, 1, 2 and 3 seconds).
        json: one JSON object a file: text, words as [text, start, end, appeared] in seconds, pause probabilities [frame][head].
        batch_size: files listened to side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
    """
    from stt_ft.audio.files import read_audio
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.progress import emit_json
    from stt_ft.core.timing import FRAME_S, frame_start_s
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.device import inference_dtype, pick_device
    from stt_ft.model.mimi_codec import MimiCodec
    from stt_ft.model.streaming import stream_codes
    from stt_ft.model.stt_lm import load_lm
    from stt_ft.model.words import words_from_tokens

    if not audio:
        raise ConfigError("transcribe: no sound files given; stt-ft transcribe MODEL_DIR AUDIO…")
    model = open_model(model_dir, require_extra_heads=pauses)
    sounds = [read_audio(path) for path in audio]
    target = pick_device(device)
    tokenizer = model.load_tokenizer()
    codec = MimiCodec.load(model, target)
    lm = load_lm(model, device=target, dtype=inference_dtype(target))
    for first in range(0, len(sounds), batch_size):
        codes = codec.encode(sounds[first : first + batch_size])
        for path, stream in zip(audio[first:], stream_codes(lm, codes, batch_size=batch_size), strict=False):
            words = words_from_tokens(
                stream.text_tokens,
                tokenizer,
                text_lag_s=model.text_lag_s,
                prefix_s=frame_start_s(codec.num_prefix_frames),
                padding_id=model.padding_id,
                end_padding_id=model.end_padding_id,
            )
            text = " ".join(word.text for word in words)
            pause = stream.pause_probs[codec.num_prefix_frames :].round(4).tolist()
            if json:
                timed = [[word.text, *(round(time_s, 3) for time_s in (word.start_s, word.end_s, word.appeared_s))] for word in words]
                emit_json({"audio": path, "text": text, "frame_s": FRAME_S, "words": timed, "pause": pause})
                continue
            print(f"{path}: {text}" if len(audio) > 1 else text)
            if pauses:
                _print_pauses(pause, {round(word.appeared_s / FRAME_S) - 1: word.text for word in words})


def _print_pauses(pause: list[list[float]], word_at_frame: dict[int, str]) -> None:
    """Print one line a frame: time heard, probabilities of a pause within 0.5, 1, 2 and 3 s, and the word that appeared."""
    from stt_ft.core.timing import frame_heard_s

    print("  heard    0.5 s    1 s    2 s    3 s  word")
    for frame, probs in enumerate(pause):
        row = " ".join(f"{prob:6.2f}" for prob in probs)
        print(f"{frame_heard_s(frame):6.2f} s  {row}  {word_at_frame.get(frame, '')}".rstrip())

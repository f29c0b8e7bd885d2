"""Which reading of a French number was said? Numbers in digits, each spoken in one of its readings, through `convert --style auto`.

    python tools/bench/readings_fr.py --split dev                  to choose sounds and priors by
    python tools/bench/readings_fr.py --split heldout              other numbers, other speeds: looked at last

espeak-ng speaks French as in France, Belgium and Switzerland, and tells when each word begins; with `py-nanotts` installed (a wheel that
carries SVOX Pico, a voice made of a person's recordings) there is a second synthesiser, whose words have no known times. There is no French
of people here. The readings come from this file's own rules. The result goes to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from num2words import num2words

from stt_ft.align.sidecars import spoken_sidecar
from stt_ft.align.sphinx_aligner import SphinxAligner
from stt_ft.audio.files import resample
from stt_ft.audio.synthesis import Synthesizer, add_noise, insert_silence
from stt_ft.core.atomic import write_text
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.dataset.doubts import doubts_of
from stt_ft.dataset.sidecar import Sidecar, Word

RESULTS = Path(__file__).parent / "results"
SEEDS = {"dev": 11, "heldout": 47}
VOICES = {"dev": ("fr+m1", "fr+f2", "fr-ch+f4", "pico"), "heldout": ("fr+m3", "fr+steph", "fr-be+f4", "fr-ch+m5", "pico")}
DIGITS = ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf")
ROUNDS = 3
"""How often each reading is drawn."""

_PICO_RATE_HZ = 16_000
_MARGIN_S = 0.05


def amount(number: int) -> str:
    return num2words(number, lang="fr").replace("-", " ")


def one_by_one(digits: str) -> str:
    return " ".join(DIGITS[int(digit)] for digit in digits)


def pair(digits: str) -> str:
    return one_by_one(digits) if digits[0] == "0" else amount(int(digits))


def pairs(digits: str) -> str:
    return ", ".join(pair(digits[place : place + 2]) for place in range(0, len(digits), 2))


def with_repeats(digits: str) -> str:
    """Say runs with "double" and "triple", other digits one by one."""
    said, place = [], 0
    while place < len(digits):
        run = next(count for count in (3, 2, 1) if digits[place : place + count] == digits[place] * count)
        said += [*({3: ["triple"], 2: ["double"]}.get(run, [])), DIGITS[int(digits[place])]]
        place += run
    return " ".join(said)


def draw_digits(rng: random.Random, count: int) -> str:
    return rng.choice("123456789") + "".join(rng.choice("0123456789") for _ in range(count - 1))


def draw_unlike(rng: random.Random, count: int) -> str:
    """Draw digits of which no two neighbours are alike."""
    digits = ""
    while len(digits) < count:
        digit = rng.choice("123456789")
        digits += "" if digits.endswith(digit) else digit
    return digits


def draw_pair(rng: random.Random) -> str:
    """Draw 11 to 99, no full ten: "vingt" and "cinq" would be 25."""
    return rng.choice([str(number) for number in range(11, 100) if number % 10])


def draw_doubled(rng: random.Random) -> str:
    first, second = rng.sample("123456789", 2)
    return rng.choice([first * 2 + second * 2, first * 2 + draw_unlike(rng, 3), draw_unlike(rng, 2) + second * 2])


def draw_phone(rng: random.Random) -> str:
    return f"0{rng.choice('12345679')}" + "".join(
        draw_pair(rng) if rng.random() < 0.85 else f"0{rng.choice('123456789')}" for _ in range(4)
    )


def draw_town(rng: random.Random) -> str:
    return f"{draw_pair(rng)}00{rng.randint(1, 9)}"


def draw_price(rng: random.Random) -> tuple[str, int, int]:
    euros, cents = rng.randint(2, 99), rng.choice([15, 20, 25, 50, 75, 80, 90, 95])
    return rng.choice([f"{euros},{cents} €", f"{euros}€{cents}"]), euros, cents


def draw_time(rng: random.Random, minutes: Sequence[int]) -> tuple[str, int, int]:
    hour, minute = rng.randint(2, 10), rng.choice(minutes)
    return rng.choice([f"{hour}h{minute:02}", f"{hour} h {minute:02}"]), hour, minute


@dataclass(frozen=True, kw_only=True)
class Line:
    """A number as it is written behind a few words, and the words that are said for it."""

    kind: str
    before: str
    written: str
    said: str


def lines_of(split: str) -> list[Line]:
    """Return the lines of a split, always the same."""
    rng = random.Random(SEEDS[split])
    lines: list[Line] = []

    def draw(kind: str, before: str, draw_one: Callable[[], tuple[str, str]]) -> None:
        written, said = draw_one()
        lines.append(Line(kind=kind, before=before, written=written, said=said))

    def of(digits: str, say: Callable[[str], str]) -> tuple[str, str]:
        return digits, say(digits)

    for _ in range(ROUNDS):
        draw("digits", "numéro", lambda: of(draw_digits(rng, rng.randint(5, 8)), one_by_one))
        draw("digits", "code", lambda: of(draw_digits(rng, 4), one_by_one))
        draw("double", "code", lambda: of(draw_doubled(rng), with_repeats))
        draw("double", "code", lambda: of(draw_doubled(rng), one_by_one))
        for say in (pairs, one_by_one):
            draw("phone", "téléphone", lambda say=say: of(draw_phone(rng), say))
            draw("pairs", "dossier", lambda say=say: of(draw_pair(rng) + draw_pair(rng), say))
        draw("pairs", "référence", lambda: of("".join(draw_pair(rng) for _ in range(3)), pairs))
        draw("room", "chambre", lambda: of(str(rng.randint(101, 999)), lambda digits: amount(int(digits))))
        draw("room", "chambre", lambda: of(draw_digits(rng, 3), one_by_one))
        draw("room", "chambre", lambda: of(rng.choice("23456789") + draw_pair(rng), lambda d: f"{DIGITS[int(d[0])]}, {pair(d[1:])}"))
        written, euros, cents = draw_price(rng)
        draw("price", "coûte", lambda w=written, e=euros, c=cents: (w, f"{amount(e)} euros {amount(c)}"))
        written, euros, cents = draw_price(rng)
        draw("price", "coûte", lambda w=written, e=euros, c=cents: (w, f"{amount(e)} euros {amount(c)} centimes"))
        written, hour, minute = draw_time(rng, [15, 30, 45, 10, 20])
        draw("time", "à", lambda w=written, h=hour, m=minute: (w, f"{amount(h)} heures {amount(m)}"))
        written, hour, minute = draw_time(rng, [15, 30])
        draw("time", "à", lambda w=written, h=hour, m=minute: (w, f"{amount(h)} heures et {'quart' if m == 15 else 'demie'}"))
        written, hour, _ = draw_time(rng, [45])
        draw("time", "à", lambda w=written, h=hour: (w, f"{amount(h + 1)} heures moins le quart"))
        year = rng.randint(1911, 1999)
        draw("year", "en", lambda year=year: (str(year), f"mille neuf cent {amount(year - 1900)}"))
        draw("year", "en", lambda year=year: (str(year), f"dix neuf cent {amount(year - 1900)}"))
        draw("zip", "postal", lambda: of(draw_town(rng), lambda digits: amount(int(digits))))
        draw("zip", "postal", lambda: of(draw_town(rng), lambda digits: f"{amount(int(digits[:2]))}, {one_by_one(digits[2:])}"))
        draw("zip", "postal", lambda: of(draw_town(rng), one_by_one))
        letter = rng.choice("ABCDFHK")
        draw("seat", "place", lambda letter=letter: of(draw_pair(rng) + letter, lambda seat: f"{amount(int(seat[:2]))} {letter}"))
        draw("seat", "place", lambda letter=letter: of(draw_pair(rng) + letter, lambda seat: f"{one_by_one(seat[:2])} {letter}"))
        draw("amount", "a", lambda: of(str(rng.randint(101, 9999)), lambda digits: amount(int(digits))))
        draw(
            "decimal",
            "mesure",
            lambda: of(f"{rng.randint(2, 30)},{draw_pair(rng)}", lambda n: " virgule ".join(map(amount, map(int, n.split(","))))),
        )
        draw(
            "decimal",
            "mesure",
            lambda: of(
                f"{rng.randint(2, 30)},{draw_pair(rng)}", lambda n: f"{amount(int(n.split(',')[0]))} virgule {one_by_one(n.split(',')[1])}"
            ),
        )
    return lines


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A spoken line: the span of its number, and the true times of the number's words where they are known."""

    line: Line
    voice: str
    samples: np.ndarray
    span: tuple[float, float]
    words: tuple[Word, ...] = ()


def speak(line: Line, voice: str, synthesizer: Synthesizer, seed: int) -> Clip:
    rng = random.Random(seed)
    lead_s, tail_s = rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.5)
    noise = np.random.default_rng(seed)
    if voice == "pico":  # the number alone: what Pico says between two words is not known
        import py_nanotts  # pyright: ignore[reportMissingImports]

        said = py_nanotts.NanoTTS().speak(line.said, voice="fr-FR", speed=rng.choice([0.85, 1.0, 1.2]), pitch=rng.choice([0.8, 1.0, 1.1]))
        sound = resample(np.frombuffer(said, dtype=np.int16).astype(np.float32) / 32768, _PICO_RATE_HZ, SAMPLE_RATE_HZ)
        loud = np.flatnonzero(np.abs(sound) > 0.02)
        lead = round(lead_s * SAMPLE_RATE_HZ)
        samples = np.pad(sound, (lead, round(tail_s * SAMPLE_RATE_HZ)))
        span = (samples_to_s(int(loud[0]) + lead), samples_to_s(int(loud[-1]) + lead))
        return Clip(line=line, voice=voice, samples=add_noise(samples, gain=0.7, noise_rms=0.001, rng=noise), span=span)
    spoken = synthesizer.speak(
        f"{line.before} {line.said}", voice=voice, words_per_minute=rng.choice([130, 160, 190]), pitch=rng.randint(25, 75)
    )
    spoken = insert_silence(spoken, {}, lead_s=lead_s, tail_s=tail_s)
    words = spoken.words[1:]
    samples = add_noise(spoken.samples, gain=rng.uniform(0.3, 1.0), noise_rms=0.001, rng=noise)
    return Clip(line=line, voice=voice, samples=samples, span=(words[0].start_s, words[-1].end_s), words=words)


def converted(clip: Clip, aligner: SphinxAligner | None) -> tuple[tuple[Word, ...], bool]:
    """Return the words that `convert --style auto` writes for the number of a clip, and whether it tells that another reading is close."""
    parts = clip.line.written.split()
    edges = np.linspace(clip.span[0] - _MARGIN_S, clip.span[1] + _MARGIN_S, len(parts) + 1)
    written = tuple(Word(text=part, start_s=float(edges[i]), end_s=float(edges[i + 1])) for i, part in enumerate(parts))
    before = (Word(text=clip.line.before, start_s=0.0, end_s=float(edges[0])),)
    duration_s = samples_to_s(len(clip.samples))
    result = spoken_sidecar(
        Sidecar(alignments=before + written),
        language="fr",  # the amounts are those of France in every voice
        style="auto",
        duration_s=duration_s,
        sound=lambda: clip.samples,
        aligner=aligner,
    )
    return result.sidecar.alignments[1:], bool(doubts_of(result.sidecar))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=list(SEEDS), default="dev")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    synthesizer, aligner = Synthesizer(), SphinxAligner("fr")
    voices = [voice for voice in VOICES[args.split] if voice != "pico" or importlib.util.find_spec("py_nanotts")]
    rows: list[tuple[Clip, str, str, bool]] = []
    errors_ms: dict[str, list[float]] = {"sound": [], "syllables": []}
    seconds = 0.0
    for index, line in enumerate(lines_of(args.split)):
        for voice in voices:
            clip = speak(line, voice, synthesizer, SEEDS[args.split] * 1000 + index)
            began = time.process_time()
            heard, is_doubtful = converted(clip, aligner)
            seconds += time.process_time() - began
            deaf, _ = converted(clip, None)
            rows.append((clip, " ".join(word.text for word in heard), " ".join(word.text for word in deaf), is_doubtful))
            for source, words in (("sound", heard), ("syllables", deaf)):
                if [word.text for word in words] == [word.text for word in clip.words]:
                    errors_ms[source] += [1000 * (got.start_s - true.start_s) for got, true in zip(words, clip.words, strict=True)]
    said = [" ".join(row[0].line.said.replace(",", "").split()) for row in rows]
    table = ["| kind | clips | right by the sound | told | wrong, told | not told | right without sound |", "|" + " --- |" * 7]
    groups = [*dict.fromkeys(row[0].line.kind for row in rows), *voices, "all"]
    for group in groups:
        here = [(row, true) for row, true in zip(rows, said, strict=True) if group in ("all", row[0].line.kind, row[0].voice)]
        by_ear = [(heard.lower() == true.lower(), is_told) for (_, heard, _, is_told), true in here]
        right, deaf_right = sum(is_right for is_right, _ in by_ear), sum(deaf.lower() == true.lower() for (_, _, deaf, _), true in here)
        told = [sum(is_right == wanted and is_told for is_right, is_told in by_ear) for wanted in (True, False)]
        counts = f"{right} ({right / len(here):.0%}) | {told[0]} | {told[1]} | {len(here) - right - told[1]}"
        table.append(f"| {group} | {len(here)} | {counts} | {deaf_right} ({deaf_right / len(here):.0%}) |")
    times = ["| times | words | median error, 90 %, 99 % in ms |", "| --- | --- | --- |"]
    for source, errors in errors_ms.items():
        size = np.abs(errors) if errors else np.zeros(1)
        times.append(f"| by {source} | {len(errors)} | {', '.join(f'{np.quantile(size, q):.0f}' for q in (0.5, 0.9, 0.99))} |")
    wrong = ["| voice | written | said | converted | told |", "|" + " --- |" * 5]
    wrong += [
        f"| {clip.voice} | {clip.line.written} | {true} | {heard} | {'yes' if is_told else 'no'} |"
        for (clip, heard, _, is_told), true in zip(rows, said, strict=True)
        if heard.lower() != true.lower()
    ]
    today = datetime.date.today().isoformat()
    command = f"`python tools/bench/readings_fr.py --split {args.split}`, {seconds / len(rows):.2f} s of processor time a clip"
    report = [
        f"# Which reading of a French number was said: {args.split}",
        "",
        command,
        "",
        *table,
        "",
        *times,
        "",
        "## Written wrong",
        "",
        *wrong,
    ]
    write_text(args.results / f"{today}-readings-fr-{args.split}.md", "\n".join(report) + "\n")
    print("\n".join(report))


if __name__ == "__main__":
    main()

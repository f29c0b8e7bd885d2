"""Settings for the agents that listen to these heads: for each, the threshold that suits the model, chosen on dev within what the agent
can be set to, as text to copy.

What each agent asks of the heads, and its settings, as its source has them:

- **unmute** (kyutai-labs/unmute at 84aa28d, `unmute/unmute_handler.py`): `determine_pause` compares with 0.6, written out in the code;
  there is no environment variable for it. `KYUTAI_STT_URL` (`unmute/kyutai_constants.py`) names the server.
- **livekit** (`livekit-plugins-gradium` 1.8.9, `stt.py`): `STT(vad_threshold, vad_bucket)` are threshold and head (with bucket 0
  no turn ever ends: it counts as none there). A key must be given, any where the server asks for none. A turn ends once a word has been
  written and the head has been above for one step and `delay_in_tokens` (6 unless the server says) more.
  `vad_flush` would feed these steps with silence faster than the caller's sound comes; it is off, so that they are what is measured here.
  With `turn_detection="stt"`, `endpointing.min_delay` is waited after that (livekit/agents#4325 and #6726), so it is set to 0.
- **pipecat** (`pipecat-ai` 1.14.0, `pipecat/services/gradium/stt.py`): `enable_turn_detection`, and `Settings(eot_horizon_s,
  eot_threshold)`: the head is named by its horizon, and one step at or above the threshold ends the turn, which begins where the
  head falls below after it was above, whether or not a word was written.

The last two speak the protocol of Gradium, the company behind Kyutai's authors, not moshi-server's: the values are for a server, or a
bridge, that sends `{"type": "step", "vad": [{"horizon_s", "inactivity_prob"}, …]}` for the `prs` of moshi-server's steps. Their two
snippets were run as they stand, with those versions, as far as the objects and what they hold; no server was behind them. Unmute cannot be
installed by itself: its two lines are those of its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Report, System
from stt_ft.evaluation.systems import chosen_setting, frames_text
from stt_ft.metrics.endpointing import RULES, EndpointRule
from stt_ft.targets.pause_targets import HORIZONS_S


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent, what it asks of the heads, and how that is set.

    Attributes:
        rule: its rule; threshold and hold are chosen.
        holds: the holds it can be set to.
        snippet: what is set where; `{threshold:g}`, `{head}` and `{horizon_s:g}` are filled in.
    """

    title: str
    rule: EndpointRule
    holds: tuple[int, ...]
    snippet: str


AGENTS = {
    "unmute": Agent(
        title="Unmute",
        rule=RULES["unmute"],
        holds=(1,),
        snippet="""\
# environment of the backend: where moshi-server runs with this model
KYUTAI_STT_URL=ws://localhost:8080
# unmute/unmute_handler.py, in determine_pause:
        if stt.pause_prediction.value > {threshold:g}:
""",
    ),
    "livekit": Agent(
        title="LiveKit",
        rule=replace(RULES["kyutai"], after_text=True, ignore_frames=0, hold_frames=7),
        holds=(7,),
        snippet="""\
# livekit-plugins-gradium; the server, or a bridge before it, speaks Gradium's protocol
session = AgentSession(
    stt=gradium.STT(api_key=YOUR_KEY, model_endpoint=YOUR_SERVER, vad_threshold={threshold:g}, vad_bucket={head}, vad_flush=False),
    turn_handling={{"turn_detection": "stt", "endpointing": {{"min_delay": 0.0}}}},
)
""",
    ),
    "pipecat": Agent(
        title="Pipecat",
        rule=replace(RULES["kyutai"], ignore_frames=0),
        holds=(1,),
        snippet="""\
# pipecat.services.gradium.stt; the server, or a bridge before it, speaks Gradium's protocol
stt = GradiumSTTService(
    api_key=YOUR_KEY,
    api_endpoint_base_url=YOUR_SERVER,
    enable_turn_detection=True,
    settings=GradiumSTTService.Settings(eot_horizon_s={horizon_s:g}, eot_threshold={threshold:g}),
)
""",
    ),
}
"""The agents that settings are written for, by name."""


def agent_systems(dev_frames: Sequence[ClipFrames], model: str, split: str) -> dict[str, System]:
    """Return for each agent the system of `model` at the threshold that is best for it on `dev_frames`, by name, settings included.

    None of an agent that would end no turns with this model, nor of any where the model has no heads.
    """
    systems = {}
    for name, agent in AGENTS.items():
        chosen = chosen_setting(dev_frames, model, agent.rule, split, holds=agent.holds)
        if chosen is None:
            continue
        rule, choice = chosen
        systems[f"{name}_set_on_{split}"] = System(
            label=f"{model} in {agent.title}, above {rule.threshold:g} for {frames_text(rule.hold_frames)} (set on {split})",
            model=model,
            rule=rule,
            chosen_on=choice,
            settings=agent.snippet.format(threshold=rule.threshold, head=rule.head, horizon_s=HORIZONS_S[rule.head]),
        )
    return systems


def settings_markdown(report: Report) -> str | None:
    """Return the settings of all agents as Markdown, for a model card; None where the report has none."""
    told = [
        f"{system.label}, chosen on {system.chosen_on.num_clips} clips:\n\n```text\n{system.settings}```\n"
        for system in report.systems.values()
        if system.settings is not None and system.chosen_on is not None
    ]
    return "\n".join(told) if told else None

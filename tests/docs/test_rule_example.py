"""The rule in docs/evaluate.md is one that can be read, and is the shipped one but for the words after which more is coming."""

import re
from dataclasses import replace

from doc_blocks import ROOT

from stt_ft.core.config import load_config
from stt_ft.metrics.endpointing import RULES, EndpointRule


def test_the_example_of_a_rule_is_a_rule(tmp_path):
    (text,) = re.findall(r"```yaml\n(head: .*?)```", (ROOT / "docs" / "evaluate.md").read_text(), flags=re.DOTALL)
    (tmp_path / "ours.yaml").write_text(text)
    shipped = RULES["text_tail"]
    longer = replace(shipped.tails[0], ends_with=(",", "and"))
    assert load_config(EndpointRule, tmp_path / "ours.yaml") == replace(shipped, tails=(longer, shipped.tails[1]))

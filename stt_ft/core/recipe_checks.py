"""How the sections of a recipe refuse values out of their limits."""

from __future__ import annotations


def refuse(*checks: tuple[bool, str]) -> None:
    """Raise one `ValueError` with the message of every check that is true."""
    messages = [message for refused, message in checks if refused]
    if messages:
        raise ValueError(*messages)

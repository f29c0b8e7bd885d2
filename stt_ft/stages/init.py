"""`stt-ft init`: the recipes and prompt scripts that come with stt-ft, written out where they can be edited.

stt-ft init orders && cd orders
stt-ft record --script recordings/scripts/digits_en.yaml --out datasets/orders
"""

from __future__ import annotations


def init(directory: str) -> None:
    """Write the shipped recipes to DIRECTORY/configs, the prompt scripts to DIRECTORY/recordings/scripts, and a README of what comes next.

    Nothing is overwritten: files that are there and unchanged are left as they are, and one that differs stops the command before
    anything is written.

    Args:
        directory: where to write; it is made if need be.
    """
    from pathlib import Path

    from stt_ft import assets
    from stt_ft.core.atomic import write_text
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.progress import say

    root = Path(directory)
    texts = {root / "README.md": Path(assets.__file__).with_name("project_readme.md").read_text(encoding="utf-8")}
    for folder in ("configs", "recordings/scripts"):
        paths = [path for path in sorted(assets.shipped(folder).iterdir()) if path.suffix in (".yaml", ".json")]
        texts |= {root / folder / path.name: path.read_text(encoding="utf-8") for path in paths}
    try:
        missing = [path for path in texts if not path.exists()]
        changed = [path for path in texts if path not in missing and path.read_text(encoding="utf-8") != texts[path]]
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise ConfigError(f"{changed[0]}{more}: is there and differs from what init writes; move it away, or name another directory")
        for path in missing:
            write_text(path, texts[path])
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{directory}: cannot be written to: {error}") from None
    say(f"{root}: {len(missing)} files written, {len(texts) - len(missing)} were there; {root / 'README.md'} says what comes next")

"""`stt-ft studio`: a dataset recorded, looked through and tried out in a browser.

stt-ft studio datasets/orders --script recordings/scripts/digits_en.yaml
ssh -L 8765:localhost:8765 machine       then the same link opens on the laptop that has the microphone
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from stt_ft.core.atomic import sole_writer
from stt_ft.core.errors import ConfigError, MissingExtra
from stt_ft.core.progress import say
from stt_ft.dataset.manifest import Dataset


def studio(
    dataset: str,
    *,
    script: str | None = None,
    model: str | None = None,
    against: str | None = None,
    host: str = "localhost",
    port: int = 8765,
) -> None:
    """Serve a page that records prompts, shows the clips of a dataset and tries models out. Ctrl-C ends it.

    Open the link that it prints. Whoever has the link may do all of it; the page makes a link for each speaker, who may only record.

    Args:
        dataset: dataset directory; made where there is none, if there is a script.
        script: YAML file of prompts to record; some are in recordings/scripts/.
        model: model to try out: a directory, a hub repo, or tiny.
        against: a second model, beside the first.
        host: name or address to listen on. Only this machine reaches localhost; others reach it through `ssh -L`.
        port: port to listen on; 0 takes a free one.
    """
    try:
        from stt_ft.studio.server import is_loopback, serve
    except ImportError as error:
        if error.name != "aiohttp":
            raise
        raise MissingExtra("aiohttp", "studio", "studio") from None
    from stt_ft.corpus.prompt_script import load_prompt_script
    from stt_ft.corpus.recording import check_language
    from stt_ft.studio.guard import DESK, Keys
    from stt_ft.studio.tab import Studio, own_path

    if not 0 <= port <= 65_535:
        raise ConfigError(f"--port must be 0 to 65535, got {port}")
    if against is not None and model is None:
        raise ConfigError("--against needs --model: the model that it is held against")
    data = Dataset.to_fill(dataset) if script is not None else Dataset.open(dataset)
    if not isinstance(data.directory, Path):
        raise ConfigError(
            f"{dataset}: the studio keeps what was there before each change beside the dataset, on this machine: copy it here"
        )
    prompts = None if script is None else load_prompt_script(Path(script))
    if prompts is not None:
        check_language(data, prompts)
    is_local = is_loopback(host)

    with sole_writer(data.directory):
        keys = Keys.of(own_path(data, "secret"))

        def ready(port: int) -> None:
            shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
            say(f"studio of {data.directory}: open http://{shown}:{port}{keys.link(DESK)}")
            say("whoever has this link can change the dataset; Ctrl-C ends the studio")
            if is_local:
                say(f"from another machine: ssh -L {port}:localhost:{port} THIS_MACHINE, then the same link there")
            else:
                say("other machines reach this, and nothing is encrypted: whoever listens on the way hears speakers and reads tokens")
                say("browsers give no microphone to such a page either: put a proxy with TLS before it, or use --host localhost and ssh -L")

        asyncio.run(serve(Studio(data=data, keys=keys, script=prompts, model=model, against=against), host=host, port=port, ready=ready))
    say(f"{data.directory}: the studio is closed")

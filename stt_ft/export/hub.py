"""Uploading a directory to the Hugging Face hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from stt_ft.core.errors import CheckpointError

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository."""
    if not _REPO.fullmatch(repo):
        raise CheckpointError(f"{repo}: not a repository of the hub; expected OWNER/NAME, such as yourname/stt-1b-orders")


def files_to_push(directory: Path) -> list[Path]:
    """Return the files of a model directory, without hidden ones and without a README.md, whose place the card takes."""
    return sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith(".") and path.name != "README.md")


def push_directory(directory: Path, repo: str, card: str, *, private: bool) -> str:
    """Make the repository where there is none, upload files and card in one commit, and return its address.

    Raises:
        CheckpointError: the hub refuses (no token, no right to write there) or cannot be reached; with its own words.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from requests.exceptions import RequestException

    api = HfApi()
    with tempfile.TemporaryDirectory() as scratch:
        readme = Path(scratch) / "README.md"
        readme.write_text(card, encoding="utf-8")
        files = {"README.md": readme} | {path.name: path for path in files_to_push(directory)}
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.create_commit(repo, operations, commit_message="Upload by stt-ft").commit_url)
        except LocalTokenNotFoundError:
            raise CheckpointError(f"{repo}: the hub wants a token; `huggingface-cli login`, or set HF_TOKEN") from None
        except (HfHubHTTPError, OfflineModeIsEnabled, RequestException) as error:
            raise CheckpointError(f"{repo}: not uploaded: {' '.join(str(error).split())[:300]}") from None

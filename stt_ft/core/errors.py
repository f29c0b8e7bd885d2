"""The errors a user can cause. Each is one line that names the file, the clip, the value and the way out."""

from __future__ import annotations

from typing import Any


class SttFtError(Exception):
    """Base of every error a user can cause; the command line prints its message alone and exits with `exit_code`."""

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it come whole from another process, whatever its class is made of."""
        return _again, (type(self), str(self))


def _again(kind: type[SttFtError], message: str) -> SttFtError:
    error = kind.__new__(kind)
    error.args = (message,)
    return error


class ConfigError(SttFtError):
    """A configuration file or override that cannot be used; lists all its mistakes together."""


class DatasetError(SttFtError):
    """A dataset directory, manifest or sidecar that cannot be used."""


class NoSidecar(DatasetError):
    """A clip that has no sidecar yet."""


class AudioError(SttFtError):
    """An audio file that is missing, unreadable, empty or not a number."""


class AlignmentError(SttFtError):
    """Words that cannot be placed in time: no aligner, no path through the audio, or no room in the stream."""


class TextError(SttFtError):
    """A text that cannot be read aloud: a digit or sign for which there is no spoken form."""


class CheckpointError(SttFtError):
    """A model directory, adapter or run directory that cannot be used."""


class DiskError(SttFtError):
    """A file that cannot be written: no room, no right, a read-only disk. Never the fault of one clip, so a stage ends with it."""


class BusyError(SttFtError):
    """A directory that another process is writing into."""


class ServerError(SttFtError):
    """A server that cannot be asked: gone, silent, full, or of another version."""


class MissingExtra(SttFtError):
    """An optional dependency that a command needs and that is not installed."""

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs {package}: pip install 'stt-ft[{extra}]'")


class CheckFailed(SttFtError):
    """A check that ran to its end and found fault: a dataset with problems, a gate that does not hold."""

    exit_code = 1

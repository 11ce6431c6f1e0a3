"""How a start tells what it is doing: stages with their time, to a screen, a pipe or nobody.

The supervisor reports; the command line shows. A stage is reported once as started and once as done or failed. The
pipe's form is one JSON object a line, so that `flow up --detach` shows what a process in the background does.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

import orjson

from cluster.kernel.errors import FlowError


class Progress(Protocol):
    def started(self, stage: str) -> None: ...

    def finished(self, stage: str, seconds: float, detail: str) -> None: ...

    def failed(self, stage: str, seconds: float, message: str) -> None: ...


class Silent:
    """Reports to nobody."""

    def started(self, stage: str) -> None: ...

    def finished(self, stage: str, seconds: float, detail: str) -> None: ...

    def failed(self, stage: str, seconds: float, message: str) -> None: ...


class Lines:
    """Reports one JSON object a line; a reader that has gone is nobody's loss."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream: IO[bytes] | None = stream

    def started(self, stage: str) -> None:
        self.send({"event": "started", "stage": stage})

    def finished(self, stage: str, seconds: float, detail: str) -> None:
        self.send({"event": "finished", "stage": stage, "seconds": seconds, "detail": detail})

    def failed(self, stage: str, seconds: float, message: str) -> None:
        self.send({"event": "failed", "stage": stage, "seconds": seconds, "message": message})

    def send(self, event: dict[str, Any]) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(orjson.dumps(event) + b"\n")
            self._stream.flush()
        except BrokenPipeError:
            self._stream = None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def replay(event: dict[str, Any], progress: Progress) -> None:
    """Report on `progress` what a line of `Lines` says."""
    stage = str(event.get("stage", ""))
    match event.get("event"):
        case "started":
            progress.started(stage)
        case "finished":
            progress.finished(stage, float(event["seconds"]), str(event["detail"]))
        case "failed":
            progress.failed(stage, float(event["seconds"]), str(event["message"]))
        case _:
            pass


class StageNote:
    """What a stage says of itself when it is done."""

    def __init__(self) -> None:
        self.detail = ""


@contextmanager
def stage(progress: Progress, name: str) -> Iterator[StageNote]:
    """Report a stage around the work in the `with` block; its failure is reported and goes on upwards."""
    note = StageNote()
    begun = time.monotonic()
    progress.started(name)
    try:
        yield note
    except BaseException as error:
        message = error.message if isinstance(error, FlowError) else type(error).__name__
        progress.failed(name, time.monotonic() - begun, message)
        raise
    progress.finished(name, time.monotonic() - begun, note.detail)

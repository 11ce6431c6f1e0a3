"""Stages as they are told: through a pipe and back they stay the same."""

import io
import os

import orjson
import pytest

from cluster.kernel.errors import START_FAILED, FlowError
from cluster.run.progress import Lines, replay, stage


class Recorder:
    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def started(self, stage: str) -> None:
        self.told.append(("started", stage))

    def finished(self, stage: str, seconds: float, detail: str) -> None:
        assert seconds >= 0
        self.told.append(("finished", stage, detail))

    def failed(self, stage: str, seconds: float, message: str) -> None:
        assert seconds >= 0
        self.told.append(("failed", stage, message))


def test_a_failed_stage_is_told_with_its_reason_and_goes_on_upwards() -> None:
    recorder = Recorder()
    with pytest.raises(FlowError), stage(recorder, "Ray"):
        raise FlowError(START_FAILED, "no room")
    assert recorder.told == [("started", "Ray"), ("failed", "Ray", "no room")]


def test_what_went_through_a_pipe_is_what_was_told() -> None:
    stream = io.BytesIO()
    with stage(Lines(stream), "Storage") as note:
        note.detail = "ready"
    direct = Recorder()
    for line in stream.getvalue().splitlines():
        replay(orjson.loads(line), direct)
    assert direct.told == [("started", "Storage"), ("finished", "Storage", "ready")]


def test_a_reader_that_has_gone_does_not_stop_the_start() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as stream:
        lines = Lines(stream)
        lines.started("Ray")
        lines.finished("Ray", 1.0, "")

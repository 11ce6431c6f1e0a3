"""Log lines: where they go, and what they never hold."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.kernel import logs


@pytest.fixture
def root() -> Iterator[None]:
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = before
    logger.setLevel(level)
    logging.getLogger("flow").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("root")
def test_credentials_and_tokens_are_cut_out_wherever_they_come_from(tmp_path: Path) -> None:
    logs.configure("host-0", "info", tmp_path)
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    logger = logging.getLogger("flow.test")
    logger.info("connect to %s with %s", "mongodb://user:hunter2@db:27017/x", token)
    try:
        raise ValueError("redis://:hunter2@cache")
    except ValueError:
        logger.exception("failed")
    text = (tmp_path / "host-0.log").read_text()
    assert "hunter2" not in text
    assert token not in text
    assert "mongodb://[credentials]@db:27017/x" in text
    assert "INFO host-0 flow.test: connect to" in text


@pytest.mark.usefixtures("root")
def test_libraries_are_quiet_until_they_warn(tmp_path: Path) -> None:
    logs.configure("host-0", "debug", tmp_path)
    logging.getLogger("somebody.else").info("noise")
    logging.getLogger("somebody.else").warning("worth knowing")
    assert "noise" not in (tmp_path / "host-0.log").read_text()
    assert "worth knowing" in (tmp_path / "host-0.log").read_text()


def test_a_log_of_another_program_is_set_aside_when_it_has_grown(tmp_path: Path) -> None:
    small, large = tmp_path / "small.log", tmp_path / "large.log"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(logs.MAX_FILE_BYTES + 1)
    logs.rotate(small)
    logs.rotate(large)
    logs.rotate(tmp_path / "nothing.log")
    assert small.exists()
    assert not large.exists()
    assert (tmp_path / "large.log.1").exists()

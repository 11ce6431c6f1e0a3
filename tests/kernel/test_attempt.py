"""Calls into someone else's code."""

import logging

import pytest

from cluster.kernel.attempt import attempt
from cluster.kernel.errors import NOT_FOUND, FlowError


def test_what_succeeds_is_called_with_its_particulars() -> None:
    seen: list[int] = []
    assert attempt("append", seen.append, 1) is None
    assert seen == [1]


def test_a_mistake_is_logged_with_its_trace_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ZeroDivisionError("for the test")

    error = attempt("the call", fail)
    assert isinstance(error, ZeroDivisionError)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "the call failed")
    assert record.exc_info is not None


def test_a_refusal_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise FlowError(NOT_FOUND)

    error = attempt("the call", refuse)
    assert isinstance(error, FlowError)
    assert [record.levelno for record in caplog.records if record.levelno > logging.DEBUG] == []

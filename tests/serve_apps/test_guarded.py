"""Somebody else's code cannot hold up, break or poison what runs it."""

import threading

import pytest

from serve_apps.guarded import Guarded, PluginFailed


def good(_: object) -> None:
    return None


def test_what_hangs_is_left_and_not_called_again_until_it_comes_back() -> None:
    release, guarded, calls = threading.Event(), Guarded(), []

    def hang() -> int:
        calls.append(1)
        release.wait()
        return 1

    with pytest.raises(PluginFailed, match="no answer within"):
        guarded.run("slow", hang, 0.001, good)
    with pytest.raises(PluginFailed, match="still works"):
        guarded.run("slow", hang, 0.001, good)
    assert len(calls) == 1
    running = guarded._plugins["slow"].running
    release.set()
    assert running is not None
    assert running.result(timeout=10) == 1
    assert guarded.run("slow", lambda: 2, 10, good) == 2
    assert guarded.statistics()["slow"] == {"answered": 1, "failed": 0, "late": 1, "skipped": 1, "problem": None}
    guarded.stop()


def test_what_fails_again_and_again_is_left_alone_for_a_while() -> None:
    now = [0.0]
    guarded = Guarded(lambda: now[0])

    def fail() -> int:
        raise KeyError("x")

    for _ in range(3):
        with pytest.raises(PluginFailed, match="KeyError"):
            guarded.run("bad", fail, 10, good)
    with pytest.raises(PluginFailed, match="a moment ago"):
        guarded.run("bad", lambda: 1, 10, good)
    now[0] = 11.0
    assert guarded.run("bad", lambda: 1, 10, good) == 1
    guarded.stop()


def test_an_answer_of_another_form_is_a_failure_even_when_checking_it_raises() -> None:
    guarded = Guarded()
    with pytest.raises(PluginFailed, match="too long"):
        guarded.run("odd", lambda: 1, 10, lambda _: "too long")
    with pytest.raises(PluginFailed, match="another form"):
        guarded.run("odd", lambda: None, 10, lambda found: str(len(found)))  # type: ignore[arg-type]
    guarded.stop()

"""Runs code of somebody else's with a deadline and checks what it returns.

Used by the pipeline and by matchmaking around every stage that an ML engineer brought. It promises to return or raise
within the deadline, whatever the code does: it runs in a thread of its own, one per plugin. A plugin that hangs keeps
its thread (Python cannot end it) and is not called again until it comes back; one that fails `_FAILURES` times in a row
is left alone for a while. Nothing it raises gets past this.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

_log = logging.getLogger("flow.recommender")

_FAILURES: Final = 3
_LEFT_ALONE_S: Final = 10.0

T = TypeVar("T")


class PluginFailed(Exception):
    """The plugin raised, was late, or returned something of another form; its caller has a fallback."""


class _Worker:
    """One thread that a process need not wait for when it ends: a pool's threads would be, hanging or not."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        """At most one at a time: `Guarded` asks again only when the one before is done."""
        future: Future[Any] = Future()
        self._work.put((future, work))
        return future

    def stop(self) -> None:
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, work = item
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  # handed to whoever asked
                future.set_exception(error)


@dataclass(slots=True)
class _Plugin:
    thread: _Worker
    running: "Future[Any] | None" = None
    in_a_row: int = 0
    alone_until: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"answered": 0, "failed": 0, "late": 0, "skipped": 0})
    problem: str | None = None


class Guarded:
    """One of a replica. `run` is called from one thread at a time for each plugin."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._plugins: dict[str, _Plugin] = {}
        self._monotonic = monotonic

    def run(self, name: str, work: Callable[[], T], seconds: float, problem: Callable[[T], str | None]) -> T:
        """What `work` returns, unless `problem` finds fault with it. Raises PluginFailed."""
        plugin = self._plugins.get(name)
        if plugin is None:
            plugin = self._plugins[name] = _Plugin(_Worker(f"flow-plugin-{name}"))
        if plugin.running is not None and not plugin.running.done():
            raise self._skipped(plugin, f"{name} still works on what it was asked before")
        if plugin.in_a_row >= _FAILURES and self._monotonic() < plugin.alone_until:
            raise self._skipped(plugin, f"{name} failed a moment ago")
        plugin.running = plugin.thread.submit(work)
        try:
            found: T = plugin.running.result(timeout=max(0.0, seconds))
        except Late:
            raise self._failed(name, plugin, "late", f"no answer within {seconds * 1000:.0f} ms") from None
        except Exception as error:  # whatever somebody else's code raises
            raise self._failed(name, plugin, "failed", f"{type(error).__name__}: {error}") from error
        wrong = _checked(problem, found)
        if wrong is not None:
            raise self._failed(name, plugin, "failed", wrong)
        plugin.in_a_row = 0
        plugin.problem = None
        plugin.counts["answered"] += 1
        return found

    def statistics(self) -> dict[str, Any]:
        return {name: {**plugin.counts, "problem": plugin.problem} for name, plugin in self._plugins.items()}

    def stop(self) -> None:
        """Waits for nobody: a thread that hangs ends with the process."""
        for plugin in self._plugins.values():
            plugin.thread.stop()

    @staticmethod
    def _skipped(plugin: _Plugin, why: str) -> PluginFailed:
        plugin.counts["skipped"] += 1
        return PluginFailed(why)

    def _failed(self, name: str, plugin: _Plugin, what: str, why: str) -> PluginFailed:
        if plugin.problem is None:
            _log.error("%s is replaced by its fallback: %s", name, why)
        plugin.counts[what] += 1
        plugin.problem = why
        plugin.in_a_row += 1
        plugin.alone_until = self._monotonic() + _LEFT_ALONE_S
        return PluginFailed(why)


def _checked(problem: Callable[[T], str | None], found: T) -> str | None:
    try:
        return problem(found)
    except Exception as error:  # noqa: BLE001  # an answer of any form at all
        return f"the answer is of another form ({type(error).__name__}: {error})"

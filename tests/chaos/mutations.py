"""Servers that are broken on purpose: a copy of the source with one small change each, that a run must find out.

A change names the exact text that it replaces and how often that text stands in the file, so that one which no longer
fits the source fails loudly instead of proving nothing.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_SERVER: Final = ("actors", "cluster", "realtime", "serve_apps", "storage", "ray_config.yaml", "pyproject.toml")
_TESTS: Final = ("__init__.py", "actors", "chaos", "support")


@dataclass(frozen=True, slots=True)
class Change:
    """In `file`, `before` (found exactly `times` times) becomes `after`."""

    file: str
    before: str
    after: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Mutation:
    """`breaks` is the promise in words, `found_as` the kinds of violation by which it may be found out, `kinds` the
    faults that bring it to light (empty: all). `doubles` is the same change for the storage in memory that stands in
    for MongoDB where two hosts run in one process; None: hosts alone cannot show it."""

    name: str
    breaks: str
    found_as: frozenset[str]
    changes: tuple[Change, ...]
    kinds: tuple[str, ...] = ()
    doubles: tuple[Change, ...] | None = ()


MUTATIONS: Final[tuple[Mutation, ...]] = (
    Mutation(
        "ack_before_commit",
        "the answer and the fan-out leave before the rows are durable",
        frozenset({"lost", "phantom", "wrong_answer", "rsvp_lost"}),
        (
            Change(
                "actors/runner.py",
                "            self.inboxes.hold(item)\n            self._committers[activation.kind].submit(item)\n",
                "            self.release(item)\n            self.inboxes.hold(item)\n"
                "            self._committers[activation.kind].submit(item)\n",
            ),
            Change(
                "actors/runner.py",
                "            self.release(self.inboxes.let_go_first(activation))\n",
                "            item = self.inboxes.let_go_first(activation)\n"
                "            if not item.rows:\n                self.release(item)\n",
            ),
        ),
        ("kill_host_unwritten", "kill_host", "pause_mongod"),
    ),
    Mutation(
        "no_dedupe",
        "a clientMsgId that was used is neither remembered nor unique",
        frozenset({"repeated", "wrong_answer"}),
        (
            Change(
                "actors/chat_room.py",
                "        known = self.window.by_key(envelope.user, body.client_message_id)\n"
                "        if known is None and envelope.duplicate:\n",
                "        known = None\n        if known is None and envelope.duplicate:\n",
            ),
            Change(
                "storage/index_specs.py",
                '    _index("messages", "room_id", "user_id", "client_message_id", unique=True),\n',
                '    _index("messages", "room_id", "user_id", "client_message_id"),\n',
            ),
        ),
        doubles=(
            Change(
                "tests/support/memory_chat_log.py",
                "        if same is not None or client_key in self._by_client_id:\n",
                "        if same is not None:\n",
            ),
        ),
    ),
    Mutation(
        "no_epoch_check",
        "an owner that was replaced goes on writing and acking",
        frozenset({"lost", "rsvp_lost", "waitlist", "oversold", "stale", "fence", "wrong_answer"}),
        (
            Change(
                "storage/messages.py",
                'ReplaceOne({"_id": message.id, "epoch": message.epoch, "sealed": True}, ',
                'ReplaceOne({"_id": message.id, "sealed": True}, ',
            ),
            Change(
                "storage/rsvps.py",
                "                if epochs.get(rsvp.event_id, _GONE) > rsvp.epoch:\n",
                "                if epochs.get(rsvp.event_id, _GONE) < 0:\n",
            ),
            Change(
                "storage/rsvps.py",
                'UpdateOne({"_id": _id(rsvp), "epoch": {"$lte": rsvp.epoch}}, ',
                'UpdateOne({"_id": _id(rsvp)}, ',
            ),
        ),
        ("zombie_host", "evict_host"),
        doubles=(
            Change(
                "tests/support/memory_chat_log.py",
                "(seal.id, seal.epoch) == (message.id, message.epoch)",
                "seal.id == message.id",
            ),
            Change(
                "tests/support/memory_rsvp_ledger.py",
                "            if event is None or event.epoch > rsvp.epoch:\n",
                "            if event is None:\n",
            ),
            Change(
                "tests/support/memory_rsvp_ledger.py",
                "            if current is not None and current.epoch > rsvp.epoch:\n",
                "            if current is not None and current.epoch < 0:\n",
            ),
        ),
    ),
    Mutation(
        "same_id_is_mine",
        "an owner takes what another wrote for its own, because both had the id of one seal",
        frozenset({"lost", "wrong_answer"}),
        (
            Change(
                "storage/messages.py",
                "            if (*identity, message.user_id, message.client_message_id) not in stored:\n",
                "            if identity[:3] not in {one[:3] for one in stored}:\n",
            ),
        ),
        ("zombie_host", "evict_host"),
        doubles=(
            Change(
                "tests/support/memory_chat_log.py",
                "_identity(same) == _identity(message)",
                "_identity(same)[:3] == _identity(message)[:3]",
            ),
        ),
    ),
    Mutation(
        "no_seat_limit",
        "an event gives out more seats than it has",
        frozenset({"oversold"}),
        (
            Change(
                "actors/event_answers.py",
                "(self.attending < capacity and self.seats.lowest_free <= capacity)",
                "True",
            ),
            Change(
                "actors/event_answers.py",
                "            if self._has_seat(capacity) and not len(self.line):\n",
                "            if self._has_seat(capacity):\n",
            ),
        ),
    ),
    Mutation(
        "deliver_twice",
        "an edge sends what a host pushed twice to each socket",
        frozenset({"repeated"}),
        (
            Change(
                "realtime/deliveries.py",
                "        self.engine.broadcast(receivers, event)\n",
                "        self.engine.broadcast(receivers, event)\n        self.engine.broadcast(receivers, event)\n",
            ),
        ),
        doubles=None,
    ),
)
BY_NAME: Final = {mutation.name: mutation for mutation in MUTATIONS}


def apply(name: str, changes: tuple[Change, ...], text_of: dict[str, str]) -> dict[str, str]:
    """The changed files. Raises ValueError when a change does not fit the source exactly."""
    changed = dict(text_of)
    for change in changes:
        text = changed[change.file]
        found = text.count(change.before)
        if found != change.times:
            raise ValueError(f"{name}: {change.file} has the text to change {found} times, not {change.times}")
        changed[change.file] = text.replace(change.before, change.after)
    return changed


def mutated_source(mutation: Mutation, directory: Path) -> Path:
    """A copy of the server's source with the mutation, in `directory`. Raises ValueError as `apply` does."""
    directory.mkdir(parents=True, exist_ok=True)
    _copy(_SERVER, ROOT, directory)
    _change(mutation.name, mutation.changes, directory)
    return directory


def mutated_source_and_doubles(mutation: Mutation, directory: Path) -> Path:
    """The same with what `in_process` needs of the tests, its doubles changed too."""
    mutated_source(mutation, directory)
    (directory / "tests").mkdir()
    _copy(_TESTS, ROOT / "tests", directory / "tests")
    _change(mutation.name, mutation.doubles or (), directory)
    return directory


def _copy(names: tuple[str, ...], source: Path, target: Path) -> None:
    for name in names:
        path = source / name
        if path.is_dir():
            shutil.copytree(path, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, target / name)


def _change(name: str, changes: tuple[Change, ...], directory: Path) -> None:
    texts = {change.file: (directory / change.file).read_text() for change in changes}
    for file, text in apply(name, changes, texts).items():
        (directory / file).write_text(text)

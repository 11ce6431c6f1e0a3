"""How processes agree on one view: a store with compare-and-set, and the changes made through it.

The supervisor and each member call these. Every change is a new version made from the newest one; two that race are
both carried out, one after the other. It promises a bounded number of tries. It never decides that a member is gone:
who calls `withdraw` has decided.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from cluster.kernel.clock import Clock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.placement.view import Member, View, draining, joined, left, replaced

MAX_TRIES: Final = 30
GIVE_UP_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.5


class ViewStore(Protocol):
    """Keeps the newest view of one cluster.

    `load` and `compare_and_set` are linearizable: once `compare_and_set` has answered True to anyone, every later
    `load` of anyone returns that view or a newer one, and it survives a crash of the store. Versions of stored views
    rise by one each.
    All may raise FlowError UNAVAILABLE, which says nothing about whether a `compare_and_set` was carried out.
    """

    async def load(self) -> View | None:
        """The newest view; None when none was ever stored. Proves it, which costs the store a write of its own."""

    async def recent(self) -> View | None:
        """As `load`, without the proof: whoever is cut off with an old primary may be answered an older view. Everybody
        else's is, after a `compare_and_set` that was answered, that view or a newer one."""

    async def compare_and_set(self, expected_version: int, view: View) -> bool:
        """Store `view` if the newest version is `expected_version` (0: none is stored) and say whether it was.

        Of several that race with the same expectation exactly one succeeds. Raises ValueError unless
        `view.version == expected_version + 1`.
        """


Edit = Callable[[View], View | None]
"""The next view made from the newest one; None when nothing needs to change."""


async def change(store: ViewStore, edit: Edit, clock: Clock) -> View:
    """Carry `edit` out on the newest view and return the view that then holds.

    `edit` may run several times and must not depend on its own earlier runs. An outcome that is unknown is resolved by
    reading again, so `edit` must answer None once its purpose holds. Raises FlowError UNAVAILABLE after
    `MAX_TRIES` or `GIVE_UP_S` seconds.

    The first try needs no proof that what it read is the newest view: if it was not, `compare_and_set` says so. That
    nothing needs to change is believed of a proven view alone.
    """
    give_up_at = clock.monotonic() + GIVE_UP_S
    problem = FlowError(UNAVAILABLE, "The cluster's view is contended. Try again.")
    for attempt in range(MAX_TRIES):
        try:
            is_proven = attempt > 0
            view = await (store.load() if is_proven else store.recent()) or View()
            wanted = edit(view)
            if wanted is None and not is_proven:
                view = await store.load() or View()
                wanted = edit(view)
            if wanted is None:
                return view
            if await store.compare_and_set(view.version, wanted):
                return wanted
        except FlowError as error:
            if error.kind is not UNAVAILABLE:
                raise
            problem = error
        if clock.monotonic() >= give_up_at:
            break
        await asyncio.sleep(_pause_s(attempt))
    raise problem


def _pause_s(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt, 10))
    return random.uniform(0, longest)  # noqa: S311 - jitter, not a secret


async def announce(store: ViewStore, member: Member, clock: Clock) -> View:
    """Make `member` part of the view, in place of whoever held its name. Returns a view that has it.

    For a process that starts, once: announcing an old incarnation again would displace the newer one.
    """

    def edit(view: View) -> View | None:
        present = view.member(member.name)
        if present == member:
            return None
        return joined(view, member) if present is None else replaced(view, member)

    return await change(store, edit, clock)


async def take(store: ViewStore, member: Member, clock: Clock, *, instead_of: str | None = None) -> View | None:
    """Make `member` part of the view if its name is free for it; the view that has it, else None.

    A name is free when nobody has it and `instead_of` is None, when the incarnation `instead_of` has it, or when an
    earlier life of the same process has it. So of all who would take one name after a death exactly one does, and who
    comes late displaces nobody. A name that is draining stays so.
    """

    def edit(view: View) -> View | None:
        present = view.member(member.name)
        if present is None:
            return joined(view, member) if instead_of is None else None
        if present.incarnation == member.incarnation:
            return None
        if present.incarnation == instead_of or (member.process and present.process == member.process):
            return replaced(view, msgspec.structs.replace(member, state=present.state))
        return None

    view = await change(store, edit, clock)
    now = view.member(member.name)
    return view if now is not None and now.incarnation == member.incarnation else None


def held_by(view: View, process: str) -> Member | None:
    """The member that a process, or an earlier life of it, is in this view."""
    return next((member for member in view.members if member.process == process), None)


async def withdraw(store: ViewStore, name: str, clock: Clock, *, incarnation: str | None = None) -> View:
    """Take a member out; nothing happens when it is not there or, if one is given, is of another incarnation."""

    def edit(view: View) -> View | None:
        present = view.member(name)
        if present is None or incarnation not in (None, present.incarnation):
            return None
        return left(view, name)

    return await change(store, edit, clock)


async def start_draining(store: ViewStore, name: str, clock: Clock) -> View:
    """Let a member gain nothing more: a host's shards go to the others. Nothing happens when it is not there."""

    def edit(view: View) -> View | None:
        present = view.member(name)
        if present is None or present.state == "draining":
            return None
        return draining(view, name)

    return await change(store, edit, clock)

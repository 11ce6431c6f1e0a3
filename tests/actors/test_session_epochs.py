"""A session's epochs: each is higher than all that any owner made of it before, and fits the numbers of JavaScript."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.session_epochs import COUNT_BITS, VERSION_BITS, SessionEpochs, epoch_of
from cluster.kernel.errors import MOVED, UNAVAILABLE, FlowError

LAST_VERSION, LAST_COUNT = 2**VERSION_BITS - 1, 2**COUNT_BITS - 1

positions = st.tuples(st.integers(1, LAST_VERSION), st.integers(0, LAST_COUNT))


@given(positions, positions)
def test_epochs_are_in_the_order_of_version_and_count(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (epoch_of(*one) < epoch_of(*other)) == (one < other)
    assert (epoch_of(*one) == epoch_of(*other)) == (one == other)


def test_every_epoch_is_exact_in_javascript_and_above_what_was_ever_stored() -> None:
    assert epoch_of(LAST_VERSION, LAST_COUNT) == 2**53 - 1
    assert epoch_of(1, 0) > 100_000_000


@pytest.mark.parametrize("position", [(0, 0), (LAST_VERSION + 1, 0), (1, LAST_COUNT + 1), (-1, 0), (1, -1)])
def test_what_does_not_fit_is_refused(position: tuple[int, int]) -> None:
    with pytest.raises(FlowError) as caught:
        epoch_of(*position)
    assert caught.value.kind is UNAVAILABLE


def test_a_shard_whose_count_is_used_up_begins_anew_with_the_next_view() -> None:
    epochs = SessionEpochs()
    epochs._made = {3: LAST_COUNT}
    epochs._version = 1
    last = epochs.next(1, 3)
    with pytest.raises(FlowError) as caught:
        epochs.next(1, 3)
    assert caught.value.kind is UNAVAILABLE
    assert epochs.statistics() == {"session_epochs_of_a_shard": LAST_COUNT + 1}
    assert epochs.next(1, 4) < last, "other shards have counts of their own"
    assert epochs.next(2, 3) > last


class Process:
    def __init__(self, version: int) -> None:
        self.epochs = SessionEpochs()
        self.view = version
        """The version it has seen, which may be an old one: it stood still, or was cut off."""


class Cluster(RuleBasedStateMachine):
    """One shard, whose owner changes with the view. A process makes epochs only under a version that gives it the
    shard, and may learn of a newer one late; one may leave and be given the shard again, as itself or started anew."""

    @initialize()
    def begin(self) -> None:
        self.processes = [Process(0)]
        self.owner_of: dict[int, Process] = {}
        self.made: list[tuple[int, int]] = []
        """(version, epoch), in the order in which they were made."""

    @rule(data=st.data(), keeps=st.booleans())
    def change_the_view(self, data: Any, keeps: bool) -> None:
        version = len(self.owner_of) + 1
        if keeps and self.owner_of:
            self.owner_of[version] = self.owner_of[version - 1]
        else:
            self.owner_of[version] = data.draw(st.sampled_from(self.processes))

    @rule()
    def start_a_process(self) -> None:
        if len(self.processes) < 5:
            self.processes.append(Process(len(self.owner_of)))

    @rule(data=st.data())
    def see(self, data: Any) -> None:
        process = data.draw(st.sampled_from(self.processes))
        process.view = data.draw(st.integers(process.view, len(self.owner_of)))

    @rule(data=st.data())
    def load(self, data: Any) -> None:
        process = data.draw(st.sampled_from(self.processes))
        if self.owner_of.get(process.view) is not process:
            return
        epoch = process.epochs.next(process.view, 0)
        older = [made for version, made in self.made if version <= process.view]
        newer = [made for version, made in self.made if version > process.view]
        assert all(made < epoch for made in older)
        assert all(epoch < made for made in newer), "one that was replaced and does not know it is below its successor"
        self.made.append((process.view, epoch))

    @invariant()
    def no_two_are_the_same(self) -> None:
        assert len({epoch for _, epoch in self.made}) == len(self.made)


Cluster.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestCluster = Cluster.TestCase


def test_a_process_goes_back_to_no_older_view() -> None:
    epochs = SessionEpochs()
    epochs.next(5, 0)
    with pytest.raises(FlowError) as caught:
        epochs.next(4, 0)
    assert caught.value.kind is MOVED

"""The checker passes every correct history and names exactly the promise that was broken in any other.

Histories are made up from a seed by a server that keeps its promises (simulated.py); each breakage takes such a story,
breaks one promise at a place that Hypothesis picks, and says which kind the checker must find, and no other.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.breakages import BREAKAGES, Breakage
from tests.chaos.checker.findings import KINDS
from tests.chaos.checker.verdict import Expected, Verdict, judge
from tests.chaos.records import Database
from tests.chaos.simulated import Story, made_up

NOTHING = Expected(faults=0, acks=0)


def verdict_on(story: Story) -> Verdict:
    return judge(story.histories(), story.database(), expected=NOTHING)


def broken(verdict: Verdict) -> set[str]:
    return {kind for kind, count in verdict.violations.items() if count}


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_correct_histories_pass_whatever_connections_do(seed: int) -> None:
    verdict = verdict_on(made_up(seed))
    assert verdict.is_good, verdict.examples


@pytest.mark.parametrize(("kind", "breakage"), BREAKAGES, ids=[breakage.__name__ for _, breakage in BREAKAGES])
@given(seed=st.integers(0, 2**32), choice=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_a_broken_promise_is_named_and_no_other(
    kind: str, breakage: Breakage, seed: int, choice: random.Random
) -> None:
    story = made_up(seed)
    breakage(story, choice)
    verdict = verdict_on(story)
    assert broken(verdict) == {kind}, verdict.examples
    assert not verdict.is_good


def test_every_kind_has_a_breakage() -> None:
    assert {kind for kind, _ in BREAKAGES} == set(KINDS)


# --- a run that means nothing -----------------------------------------------------------------------------------------


def test_a_run_without_faults_acks_or_clients_is_no_proof() -> None:
    story = made_up(7)
    assert verdict_on(story).is_good
    without_faults = judge(story.histories(), story.database())
    assert not without_faults.is_good
    assert "0 faults" in without_faults.empty[0]
    demanding = Expected(faults=0, acks=10_000)
    assert not judge(story.histories(), story.database(), expected=demanding).is_good
    nobody = judge([], Database((), (), {}), expected=NOTHING)
    assert not nobody.is_good

"""What silence means, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from cluster.run import settings
from cluster.run.settings import SupervisionSettings
from cluster.run.vigil import Verdict, Vigil

SETTINGS = SupervisionSettings(heartbeat_interval_s=1.0, missed_heartbeats=3, view_lease_s=1.5, start_timeout_s=60.0)


def heard(at: float) -> Vigil:
    vigil = Vigil(SETTINGS, 0.0)
    vigil.heard(at)
    return vigil


def test_silence_for_so_many_intervals_is_an_end() -> None:
    vigil = heard(10.0)
    for missed in (1, 2):
        vigil.unheard(is_away=False)
        assert vigil.verdict(10.0 + missed + 0.99) is Verdict.ALIVE
    assert vigil.verdict(13.0) is Verdict.SILENT
    vigil.heard(13.0)
    assert (vigil.verdict(13.5), vigil.missed) == (Verdict.ALIVE, 0)


def test_what_ray_calls_away_is_dead_when_it_may_no_longer_speak() -> None:
    vigil = heard(10.0)
    vigil.unheard(is_away=True)
    assert vigil.verdict(11.4) is Verdict.ALIVE
    assert vigil.verdict(11.5) is Verdict.DEAD


def test_the_supervisors_own_standstill_says_nothing_of_others() -> None:
    vigil = heard(10.0)
    vigil.unheard(is_away=False)
    vigil.stood_still(100.0)
    assert vigil.verdict(102.9) is Verdict.ALIVE
    assert vigil.verdict(103.0) is Verdict.SILENT


def test_what_starts_again_is_waited_for_and_not_for_ever() -> None:
    vigil = heard(10.0)
    vigil.died(20.0)
    vigil.unheard(is_away=True)
    assert vigil.verdict(20.0 + SETTINGS.restart_timeout_s - 0.1) is Verdict.STARTING
    assert vigil.verdict(20.0 + SETTINGS.restart_timeout_s) is Verdict.LOST
    assert Vigil(SETTINGS, 0.0).verdict(59.9) is Verdict.STARTING


def test_what_does_not_return_is_lost_when_it_dies_and_not_at_once_when_it_was_never_there() -> None:
    vigil = Vigil(SETTINGS, 0.0, returns=False)
    vigil.unheard(is_away=True)
    assert vigil.verdict(SETTINGS.restart_timeout_s - 0.1) is Verdict.STARTING
    assert vigil.verdict(SETTINGS.restart_timeout_s) is Verdict.LOST
    vigil.unheard(is_away=False)
    assert vigil.verdict(59.9) is Verdict.STARTING
    vigil.heard(60.0)
    assert vigil.verdict(60.0) is Verdict.ALIVE
    vigil.died(61.0)
    assert vigil.verdict(61.0) is Verdict.LOST


@given(
    interval=st.floats(0.1, 10.0),
    missed=st.integers(2, 10),
    lease=st.floats(0.1, 60.0),
    read_after=st.floats(0.0, 1.0),
    away=st.booleans(),
)
def test_no_verdict_comes_while_the_last_read_of_the_view_still_counts(
    interval: float, missed: int, lease: float, read_after: float, away: bool
) -> None:
    """A host reads the view at any time up to the next heartbeat it would have answered; settings that are accepted
    leave its lease no time past its end."""
    flow = {"supervision": {"heartbeat_interval_s": interval, "missed_heartbeats": missed, "view_lease_s": lease}}
    flow["supervision"]["view_poll_interval_s"] = lease / 2
    try:
        watch = settings.load(None, flow).flow.supervision
    except FlowError:
        return  # refused: see below
    vigil = Vigil(watch, 0.0)
    vigil.heard(0.0)
    vigil.unheard(is_away=away)
    last_read = read_after * interval if not away else 0.0
    assert vigil.verdict(last_read + lease - 1e-6) is Verdict.ALIVE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"view_lease_s": 2.0}, "a replaced host could still speak"),
        ({"view_poll_interval_s": 0.8}, "one late read would silence a host"),
    ],
)
def test_leases_that_cannot_hold_are_refused(change: dict[str, float], says: str) -> None:
    with pytest.raises(FlowError, match=says) as caught:
        settings.load(None, {"supervision": change})
    assert caught.value.kind is SETTINGS_INVALID

"""When an edge takes no new work, and when it does again; on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import OVERLOADED, FlowError
from realtime.admission import Admission
from realtime.limits import EdgeLimits, Rate
from realtime.shedding import LoadShedding, Pressure

CALM = Pressure(0.1, 0.1, 0.0)
LIMITS = EdgeLimits(shed_at=0.9, recover_at=0.7, shed_lag_s=0.5, recover_lag_s=0.1, recover_after_s=2.0)


def controller(limits: EdgeLimits = LIMITS) -> tuple[LoadShedding, ManualClock]:
    clock = ManualClock()
    return LoadShedding(limits, clock), clock


@pytest.mark.parametrize(
    ("pressure", "reason", "sheds"),
    [
        (Pressure(0.9, 0.0, 0.0), "sockets", False),
        (Pressure(0.0, 0.9, 0.0), "requests", True),
        (Pressure(0.0, 0.0, 5.0), "loop", True),
    ],
)
def test_each_measure_makes_the_edge_unready_and_its_work_sheds(pressure: Pressure, reason: str, sheds: bool) -> None:
    shedding, _ = controller()
    shedding.observe(pressure)
    assert shedding.reasons == (reason,)
    assert shedding.is_shedding is sheds
    assert (shedding.wait_s() > 0) is sheds
    assert shedding.statistics()["ready_for_load"] == 0


def test_one_late_turn_is_not_a_late_loop() -> None:
    shedding, _ = controller()
    shedding.observe(CALM._replace(lag_s=0.9))
    assert shedding.reasons == ()
    shedding.observe(CALM._replace(lag_s=0.9))
    assert shedding.reasons == ("loop",)


def test_it_is_ready_again_only_after_all_has_been_calm_for_a_while() -> None:
    shedding, clock = controller()
    shedding.observe(CALM._replace(requests=0.95))
    for requests, seconds in ((0.5, 1.9), (0.8, 5.0), (0.5, 1.9)):
        shedding.observe(CALM._replace(requests=requests))
        clock.advance(seconds)
        assert shedding.reasons == ("requests",)
    shedding.observe(CALM)
    clock.advance(0.2)
    shedding.observe(CALM)
    assert shedding.reasons == ()
    assert shedding.wait_s() == 0
    shedding.check()


def test_a_refusal_says_when_to_come_back() -> None:
    shedding, _ = controller()
    shedding.observe(CALM._replace(requests=1.0))
    with pytest.raises(FlowError) as caught:
        shedding.check()
    assert (caught.value.kind, caught.value.retry_after_ms) == (OVERLOADED, 2_000)
    assert shedding.statistics()["arrivals_refused"] == 1


@given(st.lists(st.floats(0, 0.5), max_size=300))
def test_no_surge_brings_in_more_than_the_rate_and_who_waits_comes_in(pauses: list[float]) -> None:
    shedding, clock = controller(EdgeLimits(arrivals=Rate(10.0, 5)))
    came = 0
    for pause in pauses:
        clock.advance(pause)
        wait = shedding.wait_s()
        came += wait == 0
        assert came <= 5 + clock.monotonic() * 10.0 + 1e-6
        if wait:
            clock.advance(wait)
            assert shedding.wait_s() == 0
            came += 1


_pressures = st.builds(Pressure, st.floats(0, 1), st.floats(0, 1), st.floats(0, 3))


@given(st.lists(st.tuples(_pressures, st.floats(0, 3)), max_size=60))
def test_it_never_flaps_faster_than_it_may_recover(samples: list[tuple[Pressure, float]]) -> None:
    shedding, clock = controller()
    became_unready, was_ready = 0.0, True
    for pressure, pause in samples:
        clock.advance(pause)
        shedding.observe(pressure)
        ready = not shedding.reasons
        if was_ready and not ready:
            became_unready = clock.monotonic()
        elif ready and not was_ready:
            assert clock.monotonic() - became_unready >= LIMITS.recover_after_s
        was_ready = ready


def test_a_whole_ipv6_network_counts_as_one_address() -> None:
    admission = Admission(EdgeLimits(max_sockets_per_address=2, connections_per_address=Rate(1.0, 1)), ManualClock())
    admission.arrive("2001:db8:1:2::1")
    with pytest.raises(FlowError):
        admission.arrive("2001:db8:1:2:ffff::9")
    admission.arrive("2001:db8:1:3::1")
    admission.admit("1", "ann", "2001:db8:1:2::1")
    admission.admit("2", "bob", "2001:db8:1:2::2")
    with pytest.raises(FlowError):
        admission.admit("3", "cas", "2001:db8:1:2:abcd::3")
    admission.release("1")
    admission.admit("3", "cas", "2001:db8:1:2:abcd::3")


@pytest.mark.parametrize("wrong", [{"recover_at": 0.95}, {"shed_at": 1.5}, {"recover_lag_s": 5.0}])
def test_thresholds_without_room_between_them_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="recover_at"):
        EdgeLimits(**wrong)  # type: ignore[arg-type]

"""Whatever befalls hosts, links and views: in the end every key is watched at its owner, and nobody was flooded."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.limits import EdgeLimits
from tests.realtime.recovery_model import World
from tests.support.virtual_time import run_virtually

NAMES = ("host-0", "host-1", "host-2")
KEYS = tuple(f"chat/{number:024x}" for number in range(60))
LIMITS = EdgeLimits(resume_chunk=8, max_resumes_in_flight=2)

HOSTS = st.sampled_from(NAMES)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("kill"), HOSTS),
        st.tuples(st.just("silence"), HOSTS),
        st.tuples(st.just("revive"), HOSTS),
        st.tuples(st.just("place"), st.sets(HOSTS, min_size=1)),
        st.tuples(st.just("learn"), st.none()),
        st.tuples(st.just("want"), st.integers(0, len(KEYS) - 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.005, 0.02, 0.5, 4.0])),
    ),
    max_size=30,
)


async def live_through(steps: list[tuple[str, object]]) -> None:
    world = World(NAMES, KEYS, LIMITS)
    world.recovery.start()
    for what, of in steps:
        match what:
            case "place":
                world.place(of)  # type: ignore[arg-type]
            case "learn":
                world.learn()
            case "want":
                world.subscriptions.want_resume(KEYS[of])  # type: ignore[call-overload]
            case "wait":
                await asyncio.sleep(of)  # type: ignore[arg-type]
            case _:
                getattr(world.hosts[str(of)], what)()
    for host in world.hosts.values():
        if host.state != "up":
            host.revive()
    world.learn()
    await asyncio.sleep(30)
    assert world.lost() == set()
    numbers = world.recovery.statistics()
    assert numbers["keys_to_resume"] == numbers["keys_resuming"] == 0
    await world.tasks.stop()


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_in_the_end_every_key_is_watched_at_its_owner(steps):
    run_virtually(live_through(steps))


def test_a_long_outage_is_asked_about_with_growing_pauses():
    async def outage() -> None:
        world = World(NAMES, KEYS, LIMITS)
        world.recovery.start()
        world.hosts["host-0"].kill()
        for key in KEYS:
            world.subscriptions.want_resume(key)
        await asyncio.sleep(60)
        keys_away = sum(world.owner(key).name == "host-0" for key in KEYS)
        assert 0 < keys_away == len(world.lost())
        assert world.refreshes <= 60
        world.hosts["host-0"].revive()
        await asyncio.sleep(0.5)
        assert world.lost() == set()
        await world.tasks.stop()

    run_virtually(outage())


def test_what_failed_is_not_put_off_by_what_goes_on():
    """A host that never stops asking for this and that: the others' failures are looked at all the same."""

    async def noise() -> None:
        world = World(NAMES, KEYS, LIMITS)
        world.recovery.start()
        noisy = next(key for key in KEYS if world.owner(key).name == "host-1")
        away = next(key for key in KEYS if world.owner(key).name == "host-0")
        world.hosts["host-0"].break_link()
        world.hosts["host-0"].watches.clear()
        world.subscriptions.want_resume(away)
        await asyncio.sleep(0.05)
        world.hosts["host-0"].is_connected = True  # nobody says so
        for _ in range(2_000):
            world.subscriptions.want_resume(noisy)
            await asyncio.sleep(0.005)
        assert away in world.hosts["host-0"].watches
        await world.tasks.stop()

    run_virtually(noise())


def test_twenty_thousand_keys_come_back():
    async def all_of_them() -> None:
        keys = [f"chat/{number:024x}" for number in range(20_000)]
        world = World(NAMES, keys, EdgeLimits(max_keys=20_000))
        world.recovery.start()
        for host in world.hosts.values():
            host.revive()
        assert len(world.lost()) == 20_000
        await asyncio.sleep(5)
        assert world.lost() == set()
        assert world.requests <= 2 * (20_000 // 256 + len(NAMES))
        await world.tasks.stop()

    run_virtually(all_of_them())

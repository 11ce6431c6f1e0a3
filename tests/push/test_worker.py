"""The push worker settles every row by what became of it, whatever order trouble comes in."""

from hypothesis import given
from hypothesis import strategies as st

from actors.push.port import Outcome, PushResult
from storage.records import OutboxRow
from tests.push.conftest import ADA, BOB, World

DEVICE = f"{BOB[:23]}0"


def row(row_id: str = "n:d", device_id: str = DEVICE) -> OutboxRow:
    return OutboxRow(
        id=row_id,
        user_id=BOB,
        device_id=device_id,
        notification_id="n",
        title="t",
        body="b",
        data={},
        collapse_key="",
        badge=1,
    )


async def test_a_sent_row_is_done(world: World) -> None:
    await world.outbox.add([row()])
    assert await world.worker().round() == 1
    assert await world.outbox.statistics() == {"pending": 0, "leased": 0, "sent": 1, "dead": 0}
    assert await world.worker().round() == 0


async def test_a_gone_registration_is_removed(world: World) -> None:
    world.sender.script["bob-0"] = PushResult(outcome=Outcome.GONE, error="UnregisteredError")
    await world.outbox.add([row()])
    await world.worker().round()
    assert DEVICE not in world.people.kept
    [dead] = await world.outbox.dead(None, 10)
    assert dead.last_error == "UnregisteredError"


async def test_the_providers_pause_is_kept(world: World) -> None:
    world.sender.script["bob-0"] = PushResult(outcome=Outcome.RETRY, error="Quota", not_before_s=60.0)
    await world.outbox.add([row()])
    await world.worker().round()
    world.clock.advance(59)
    assert await world.worker().round() == 0
    world.clock.advance(2)
    assert await world.worker().round() == 1


async def test_after_the_last_try_a_row_is_a_dead_letter_that_can_be_replayed(world: World) -> None:
    world.sender.script["bob-0"] = PushResult(outcome=Outcome.RETRY, error="UnavailableError")
    await world.outbox.add([row()])
    worker = world.worker(most_attempts=3)
    for _ in range(5):
        await worker.round()
        world.clock.advance(600)
    assert len(world.sender.given) == 3
    [dead] = await world.outbox.dead(None, 10)
    world.sender.script.clear()
    assert await world.outbox.replay([dead.id], world.clock.now_ms()) == 1
    await worker.round()
    assert (await world.outbox.statistics())["sent"] == 1


async def test_one_devices_trouble_does_not_hold_another(world: World) -> None:
    world.sender.script["bob-0"] = PushResult(outcome=Outcome.RETRY, error="UnavailableError")
    await world.outbox.add([row("n:1"), row("n:2", f"{ADA[:23]}0"), row("n:3", "f" * 24)])
    await world.worker().round()
    assert await world.outbox.statistics() == {"pending": 1, "leased": 0, "sent": 1, "dead": 1}


@given(st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=12))
async def test_whatever_the_provider_answers_every_row_ends_sent_or_dead(outcomes: list[Outcome]) -> None:
    world = World()
    world.people.add(BOB, "bob")
    await world.outbox.add([row()])
    worker = world.worker(most_attempts=4)
    for outcome in [*outcomes, *[Outcome.RETRY] * 4]:
        world.sender.script["bob-0"] = PushResult(outcome=outcome, error="scripted")
        await worker.round()
        world.clock.advance(600)
    counts = await world.outbox.statistics()
    assert counts["sent"] + counts["dead"] == 1
    assert len(world.sender.given) <= 4

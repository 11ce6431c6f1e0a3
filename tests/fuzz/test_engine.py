"""Twenty thousand inputs, the same each time: nobody is harmed, nothing is left, offenders are told why."""

from itertools import islice

from tests.fuzz.corpus import Surface, seeds
from tests.fuzz.mutation import inputs
from tests.fuzz.target import Bench

_INPUTS = 20_000


async def test_whatever_is_sent_harms_nobody_and_leaves_nothing() -> None:
    bench = Bench()
    await bench.open()
    try:
        for data in islice(inputs(seeds(), seed=1), _INPUTS):
            try:
                await bench.run(data)
            except Exception as error:
                raise AssertionError(f"input {data.hex()}") from error
        assert sum(bench.closes.values()) >= _INPUTS * 0.99
        assert {"front.http", "front.websocket", "front.closed"} <= set(bench.closes)
        assert {"polls.open", "polls.closed"} <= set(bench.closes)
        assert {"1002", "1009", "3501", "3012", "client", "http.400", "http.413"} <= set(bench.closes)
    finally:
        await bench.close()


def test_every_surface_is_in_the_corpus() -> None:
    assert {Surface(seed[0]) for seed in seeds()} == set(Surface)

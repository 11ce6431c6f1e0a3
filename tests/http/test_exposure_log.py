"""Exposures: told once, told again when the sink was away, and bounded."""

from cluster.kernel.errors import UNAVAILABLE, FlowError
from realtime.http.exposure_log import ExposureLog
from serve_apps.contracts import Exposure

NOW_MS = 1_800_000_000_000


class _Sink:
    """Keeps what it is told, or is away."""

    def __init__(self) -> None:
        self.kept: list[Exposure] = []
        self.is_away = False

    async def record(self, exposures: object) -> None:
        if self.is_away:
            raise FlowError(UNAVAILABLE)
        self.kept += exposures  # type: ignore[arg-type]


def exposed(unit: str, version: int = 1) -> Exposure:
    return Exposure(experiment="ranker", version=version, variation="deep", unit=unit, at_ms=NOW_MS)


async def test_an_exposure_is_logged_once_a_unit_and_version() -> None:
    sink = _Sink()
    log = ExposureLog(sink)
    for one in (exposed("a"), exposed("a"), exposed("b"), exposed("a", version=2)):
        await log.used([one])
    assert sink.kept == [exposed("a"), exposed("b"), exposed("a", version=2)]


async def test_a_sink_that_is_away_is_told_later_and_nobody_else_suffers() -> None:
    sink = _Sink()
    log = ExposureLog(sink, most=1)
    sink.is_away = True
    await log.used([exposed("a")])
    sink.is_away = False
    await log.used([exposed("a")])
    await log.used([exposed("b")])
    assert sink.kept == [exposed("a"), exposed("b")]
    assert log.statistics() == {"exposures_logged": 2, "exposures_failed": 1, "exposures_remembered": 1}

"""Two hosts in one process under seeded faults keep every promise; the mutated ones are found out."""

from pathlib import Path

import pytest

from tests.chaos.in_process import Story
from tests.chaos.mutations import MUTATIONS, Mutation, mutated_source_and_doubles
from tests.chaos.two_owners import two_owners

SEEDS = 40
SHOWN_BY_HOSTS = [mutation for mutation in MUTATIONS if mutation.doubles is not None]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_two_owners_that_die_break_no_promise(seed: int) -> None:
    verdict = await Story(seed).run()
    assert verdict.is_good, (verdict.empty, verdict.examples)


@pytest.mark.parametrize("mutation", SHOWN_BY_HOSTS, ids=[mutation.name for mutation in SHOWN_BY_HOSTS])
def test_a_mutated_host_is_found_out(mutation: Mutation, tmp_path: Path) -> None:
    copy = mutated_source_and_doubles(mutation, tmp_path / "copy")
    violations = two_owners(copy).violations
    assert mutation.found_as & violations.keys(), violations

"""Every mutation still fits the source, and a copy of it can be made."""

from pathlib import Path

import pytest

from tests.chaos.checker.findings import KINDS
from tests.chaos.mutations import MUTATIONS, ROOT, Change, Mutation, apply, mutated_source
from tests.chaos.schedule import BY_NAME


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_it_fits_the_source_and_names_what_exists(mutation: Mutation) -> None:
    changes = (*mutation.changes, *(mutation.doubles or ()))
    texts = {change.file: (ROOT / change.file).read_text() for change in changes}
    changed = apply(mutation.name, changes, texts)
    assert all(changed[name] != texts[name] for name in texts)
    for name, text in changed.items():
        compile(text, name, "exec")
    assert mutation.found_as <= set(KINDS)
    assert set(mutation.kinds) <= set(BY_NAME)


def test_one_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stale: a\.py has the text to change 0 times, not 1"):
        apply("stale", (Change("a.py", "gone", "here"),), {"a.py": "nothing of the sort"})


def test_a_copy_differs_in_the_mutation_alone(tmp_path: Path) -> None:
    [mutation] = [mutation for mutation in MUTATIONS if mutation.name == "no_seat_limit"]
    copy = mutated_source(mutation, tmp_path)
    differing = [
        path.relative_to(copy)
        for path in copy.rglob("*.py")
        if path.read_bytes() != (ROOT / path.relative_to(copy)).read_bytes()
    ]
    assert differing == [Path("actors/event_answers.py")]

"""The page that names a test for each rule names tests that exist."""

import re
from pathlib import Path

_HERE = Path(__file__).parent
_PAGE = _HERE.parents[1] / "docs" / "protocol-conformance.md"


def test_every_test_on_the_page_exists() -> None:
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", _PAGE.read_text()))
    assert len(named) > 60
    missing = [f"{file}::{test}" for file, test in sorted(named) if f"def {test}(" not in (_HERE / file).read_text()]
    assert missing == []


def test_every_rule_has_a_test() -> None:
    rows = [line for line in _PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| rule")]
    assert [row for row in rows if "::test_" not in row] == []

"""Secrets: from the environment, made once in development, never shown."""

from pathlib import Path

import pytest

from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from cluster.run import secrets

GIVEN = {secrets.JWT_SECRET: "j" * 32, secrets.CLUSTER_SECRET: "c" * 32}


def test_development_makes_them_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = secrets.load({}, tmp_path, development=True, create=True)
    again = secrets.load({}, tmp_path, development=True, create=True)
    assert first == again
    assert first.jwt_secret != first.cluster_secret
    assert (tmp_path / secrets.FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_two_installations_have_different_ones(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        made.append(secrets.load({}, tmp_path / name, development=True, create=True).jwt_secret)
    assert made[0] != made[1]


def test_the_environment_wins_and_leaves_no_file(tmp_path: Path) -> None:
    found = secrets.load({**GIVEN, secrets.MONGODB_URI: "mongodb://h"}, tmp_path, development=True, create=True)
    assert (found.jwt_secret, found.mongodb_uri) == ("j" * 32, "mongodb://h")
    assert not (tmp_path / secrets.FILE_NAME).exists()


@pytest.mark.parametrize("missing", list(GIVEN))
def test_production_makes_nothing_up(tmp_path: Path, missing: str) -> None:
    secrets.load({}, tmp_path, development=True, create=True)
    given = {name: value for name, value in GIVEN.items() if name != missing}
    with pytest.raises(FlowError, match=missing) as caught:
        secrets.load(given, tmp_path, development=False, create=True)
    assert caught.value.kind is SETTINGS_INVALID


@pytest.mark.parametrize("name", [secrets.JWT_SECRET, secrets.CLUSTER_SECRET, secrets.JWT_PREVIOUS_SECRET])
def test_a_short_one_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    with pytest.raises(FlowError, match="too few to be safe") as caught:
        secrets.load({**GIVEN, name: "hunter2"}, tmp_path, development=True, create=True)
    assert "hunter2" not in caught.value.message


def test_they_are_never_part_of_a_text(tmp_path: Path) -> None:
    given = {**GIVEN, secrets.MONGODB_URI: "mongodb://u:hunter2@h", secrets.REDIS_URL: "redis://:hunter2@h"}
    found = secrets.load(given, tmp_path, development=True, create=True)
    shown = f"{found} {found!r} {found.described()}"
    assert not any(value in shown for value in ("hunter2", "j" * 32, "c" * 32))

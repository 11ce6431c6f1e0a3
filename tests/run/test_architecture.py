"""What holds for the tree as a whole: layers, sizes, the error table, who reads the environment."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.kernel import errors

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("actors", "cluster", "realtime", "serve_apps", "storage")
LONGEST_FILE = 400
MEDIAN_FILE = 150
COME_BACK = range(3000, 3500)
DO_NOT_COME_BACK = range(3500, 4000)


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (REPOSITORY / package).rglob("*.py")


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_files_stay_small() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in sources()}
    too_long = {str(path.relative_to(REPOSITORY)): size for path, size in sizes.items() if size >= LONGEST_FILE}
    assert not too_long
    assert statistics.median(size for size in sizes.values() if size) <= MEDIAN_FILE


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(REPOSITORY))
        for path in sources()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


@pytest.mark.parametrize("kind", errors.TABLE.values(), ids=lambda kind: kind.code)
def test_an_error_says_the_same_in_each_of_its_columns(kind: errors.ErrorKind) -> None:
    assert kind.message.endswith(".")
    assert kind.code == kind.code.lower()
    assert 400 <= kind.http_status < 600
    if kind.close_code is not None:
        assert kind.close_code in COME_BACK or kind.close_code in DO_NOT_COME_BACK
        if kind.retryable:
            assert kind.close_code in COME_BACK, "who may try again may come back"


def test_close_codes_are_not_shared() -> None:
    codes = [kind.close_code for kind in errors.TABLE.values() if kind.close_code is not None]
    assert len(codes) == len(set(codes))


def test_only_one_module_reads_the_environment() -> None:
    """Ruff forbids it too; this also finds a `noqa`."""
    readers = {
        str(path.relative_to(REPOSITORY))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert readers == {"cluster/kernel/environment.py"}


def test_background_tasks_have_an_owner() -> None:
    """`create_task` belongs to `TaskOwner` and to task groups, which await what they start."""
    offenders = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "create_task":
                owner = ast.unparse(node.func.value)
                if owner != "group" and path.name != "tasks.py":
                    offenders.add(f"{path.relative_to(REPOSITORY)}:{node.lineno}")
    assert not offenders


def test_what_only_models_need_is_not_imported_by_hosts_and_edges() -> None:
    """A spare starts while others serve: each import is processor time taken from them."""
    look = (
        "import sys, cluster.run.host_actor, cluster.run.edge_actor; print(*{'numpy', 'tensorflow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

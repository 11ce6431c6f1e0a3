"""The examples do what the README says, against a real server."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.flow_process import FlowProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
EXAMPLES = Path(__file__).parents[2] / "examples"


def run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_python_example(flow: FlowProcess) -> None:
    printed = run([sys.executable, "first_message.py", flow.url], EXAMPLES / "python")
    assert "received: Hello from Python" in printed
    assert "recommended" in printed


@pytest.mark.skipif(shutil.which("node") is None, reason="the Node example needs Node")
def test_the_node_example(flow: FlowProcess) -> None:
    directory = EXAMPLES / "node"
    if not (directory / "node_modules").exists():
        pytest.skip("the Node example's packages are not installed: npm ci in examples/node")
    printed = run(["node", "first_message.mjs", flow.url], directory)
    assert "received: Hello from Node" in printed
    assert "recommended" in printed


@pytest.mark.parametrize("name", ["node/first_message.mjs", "python/first_message.py"])
def test_an_example_fits_on_a_page(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 80

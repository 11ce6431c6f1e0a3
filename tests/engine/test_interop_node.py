"""The official JavaScript client, `tests/node/interop.mjs`, against the engine."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.engine.harness import serve

_NODE_TESTS = Path(__file__).parent.parent / "node"
_CASES = 2 * (2 * 4 + 2)

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (_NODE_TESTS / "node_modules" / "socket.io-client").is_dir(),
        reason="the JavaScript clients are not installed: npm ci --prefix tests/node",
    ),
]


async def test_the_javascript_client_with_both_parsers_over_every_transport() -> None:
    async with serve() as served:
        process = await asyncio.create_subprocess_exec(
            "node",
            "interop.mjs",
            served.url,
            cwd=_NODE_TESTS,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert len({json.dumps(json.loads(line)) for line in output.splitlines()}) == _CASES

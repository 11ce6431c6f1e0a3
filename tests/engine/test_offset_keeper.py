"""The official JavaScript client is told from all others by its opening request."""

import pytest

from realtime.engine.offset_keeper import keeps_offsets

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
DEFLATE = "permessage-deflate; client_max_window_bits"


@pytest.mark.parametrize(
    ("query", "agent", "extensions"),
    [
        pytest.param("EIO=4&transport=polling&t=abc1", CHROME, None, id="browser, polling"),
        pytest.param("EIO=4&transport=websocket", CHROME, DEFLATE, id="browser, websocket"),
        pytest.param("EIO=4&transport=websocket", CHROME, None, id="browser behind a proxy that drops extensions"),
        pytest.param("EIO=4&transport=polling&t=abc1", "node-XMLHttpRequest", None, id="Node, polling"),
        pytest.param("EIO=4&transport=polling&t=abc1&b64=1", "node-XMLHttpRequest", None, id="Node, base64"),
        pytest.param("EIO=4&transport=websocket", None, DEFLATE, id="Node, websocket"),
        pytest.param("device=phone&EIO=4&transport=websocket", None, DEFLATE, id="a query of the user's own"),
    ],
)
def test_the_official_javascript_client(query: str, agent: str | None, extensions: str | None):
    assert keeps_offsets(query, agent, extensions)


@pytest.mark.parametrize(
    ("query", "agent", "extensions"),
    [
        pytest.param("transport=polling&EIO=4&t=1.5", "Python/3.11 aiohttp/3.13.2", None, id="Python, aiohttp"),
        pytest.param(
            "transport=websocket&EIO=4", "Python/3.11 aiohttp/3.13.2", DEFLATE, id="Python, aiohttp websocket"
        ),
        pytest.param("transport=polling&EIO=4&t=1.5", "python-requests/2.32.5", None, id="Python, requests"),
        pytest.param("transport=websocket&EIO=4", None, None, id="Python, websocket-client"),
        pytest.param("transport=websocket&EIO=4", None, DEFLATE, id="Swift, Starscream"),
        pytest.param("transport=polling&b64=1&EIO=4", "Chat/1 CFNetwork/1568 Darwin/24.0.0", None, id="Swift, polling"),
        pytest.param("EIO=4&transport=websocket", "okhttp/4.12.0", DEFLATE, id="Java"),
        pytest.param("EIO=4&transport=polling&t=abc1", "Dart/3.5 (dart:io)", None, id="Dart, polling"),
        pytest.param("EIO=4&transport=websocket", "Dart/3.5 (dart:io)", DEFLATE, id="Dart, websocket"),
        pytest.param("EIO=4&transport=websocket&t=1795573269", "WebSocket++/0.8.2", None, id="C++"),
        pytest.param("EIO=4&transport=websocket", None, None, id=".NET and Rust, websocket"),
        pytest.param("EIO=4&transport=polling", None, None, id="Rust, polling"),
        pytest.param("EIO=4&transport=websocket", "", DEFLATE, id="an empty name"),
        pytest.param("transport=polling&EIO=4", CHROME, None, id="a browser that is not engine.io-client"),
        pytest.param("EIO=4&x=&transport=polling", CHROME, None, id="not one after the other"),
        pytest.param("xEIO=4&transport=polling", CHROME, None, id="a parameter that ends so"),
        pytest.param("EIO=4&transport=pollings", CHROME, None, id="a transport that begins so"),
        pytest.param("", CHROME, DEFLATE, id="no query"),
    ],
)
def test_anybody_else(query: str, agent: str | None, extensions: str | None):
    assert not keeps_offsets(query, agent, extensions)

"""Whether a session's client keeps the offset of an event by itself, told from its opening request. Pure.

The official JavaScript client does, for its connection state recovery, and says nothing of it. Others do not, and a
strict handler of theirs breaks on an argument that it does not expect. So this names the one client, by two marks that
go together, and takes whoever has only one of them for another:

- where `EIO` and `transport` stand in the query. engine.io-client puts its own parameters behind those of the user, in
  the order `EIO`, `transport`. So do the clients for Java, Dart, .NET, C++, Rust and PHP; those for Python and Swift
  begin with `transport`.
- who sent it. A browser says `Mozilla/…` and lets no page change that for a websocket; in Node, polling says
  `node-XMLHttpRequest`, and a websocket says nothing at all but offers compression, which the others who say nothing
  do not. okhttp (Java), Dart, WebSocket++ (C++), aiohttp and requests (Python) give their names.
"""

import re
from typing import Final

_OWN_PARAMETERS: Final = re.compile(r"(?:^|&)EIO=4&transport=(?:websocket|polling)(?:&|$)")
_AGENTS: Final = ("Mozilla/", "node-XMLHttpRequest")
_COMPRESSION: Final = "permessage-deflate"


def keeps_offsets(query_string: str, user_agent: str | None, websocket_extensions: str | None) -> bool:
    """`user_agent` and `websocket_extensions` are the headers of those names, None when there is none."""
    if _OWN_PARAMETERS.search(query_string) is None:
        return False
    if user_agent is not None:
        return user_agent.startswith(_AGENTS)
    return websocket_extensions is not None and websocket_extensions.startswith(_COMPRESSION)

"""Calls into someone else's code from where its failure must not spread.

Services and listeners run inside a stream's callbacks or a watcher's loop. What they raise is logged here, with its
trace, and neither cuts the stream, ends the loop nor reaches the event loop.
"""

import logging
from collections.abc import Callable
from typing import Any

from cluster.kernel.errors import FlowError

_log = logging.getLogger("flow.attempt")


def attempt(what: str, call: Callable[..., None], *particulars: Any) -> Exception | None:
    """Call it; what it raised, already logged, is returned."""
    try:
        call(*particulars)
    except FlowError as error:
        _log.debug("%s: %s", what, error.kind.code)
        return error
    except Exception as error:  # noqa: BLE001 - logged with its trace; whoever called is not at fault
        _log.exception("%s failed", what)
        return error
    return None

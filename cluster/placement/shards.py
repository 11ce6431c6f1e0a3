"""From a key to one of 1024 virtual shards. Pure, and fixed for the life of an installation.

Everything that routes or owns keys calls `shard_of`. It depends on the key's text alone: never on the process, the
members, or Python's own hash. Changing either number here moves every key there is.
"""

import hashlib
from functools import lru_cache
from typing import Final

from cluster.kernel.ids import Key

SHARD_COUNT: Final = 1024
_REMEMBERED: Final = 16_384
"""Keys; each is asked for with every command."""


@lru_cache(maxsize=_REMEMBERED)
def shard_of(key: Key) -> int:
    """The shard of a key, 0 to SHARD_COUNT - 1."""
    digest = hashlib.blake2b(str(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SHARD_COUNT

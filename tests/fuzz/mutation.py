"""Grows inputs from the corpus without looking at coverage: for the tests, and for machines without atheris."""

import random
from collections.abc import Iterator, Sequence
from typing import Final

_INTERESTING: Final = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x1e",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"-",
    b"/",
    b",",
    b"?",
    b"99999999999999999",
    b'{"_placeholder":true,"num":1}',
    b"\xff\xff\xff\xff",
    b"\xdf",
    b"\xc7",
    b"\\ud800",
)
_MAX_BYTES: Final = 4_096


def inputs(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """The seeds as they are, then mutations of them without an end; the same for the same `seed`."""
    chance = random.Random(seed)
    yield from seeds
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            _mutate(data, chance, seeds)
        yield bytes(data[:_MAX_BYTES])


def _mutate(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(7):
        case 0:
            data[at:at] = chance.choice(_INTERESTING)
        case 1:
            data[at : at + chance.randrange(1, 8)] = b""
        case 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 6))
        case 3:
            data += chance.choice(seeds)[2:]
        case 4:
            end = min(len(data), at + chance.randrange(1, 32))
            data[at:at] = data[at:end] * chance.randrange(1, 8)
        case 5 if data:
            data[at - 1] ^= 1 << chance.randrange(8)
        case _ if data:
            data[at - 1] = chance.randrange(256)
    if len(data) < 2:
        data += b"\x00\x00"

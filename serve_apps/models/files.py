"""The files that every version has, whatever its kind: known events with their vectors, and known people's histories.

Written by training, read by `model_files`. `candidates.npy` and `candidates.msgpack` hold events, `people.npz` the
newest likes of people and `people.msgpack` their ids, `model.npz` the arrays of a model without TensorFlow. Arrays are
read without pickle. Reading raises OSError, ValueError, KeyError or msgspec's errors for files that are something else.
"""

import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from serve_apps.models.histories import LONGEST, Histories
from serve_apps.models.reader import KnownEvents, KnownPeople, Vectors

VECTORS: Final = "candidates.npy"
CANDIDATES: Final = "candidates.msgpack"
PEOPLE: Final = "people.msgpack"
HISTORIES: Final = "people.npz"
ARRAYS: Final = "model.npz"

UNREADABLE = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError)
"""What reading damaged files raises."""


class _Candidates(msgspec.Struct, frozen=True):
    ids: tuple[str, ...]
    digests: tuple[int, ...]


def write_candidates(directory: Path, ids: tuple[str, ...], digests: tuple[int, ...], vectors: Vectors) -> None:
    """Write the vectors that training computed; row i belongs to `ids[i]`."""
    np.save(directory / VECTORS, vectors.astype(np.float32), allow_pickle=False)
    (directory / CANDIDATES).write_bytes(msgspec.msgpack.encode(_Candidates(ids, digests)))


def read_candidates(directory: Path) -> tuple[KnownEvents, Vectors]:
    candidates = msgspec.msgpack.decode((directory / CANDIDATES).read_bytes(), type=_Candidates)
    with (directory / VECTORS).open("rb") as file:
        vectors: Vectors = np.load(file, allow_pickle=False)
    if vectors.ndim != 2 or not len(candidates.ids) == len(candidates.digests) == len(vectors):
        raise ValueError("the stored vectors do not fit their ids")
    rows = {name: row for row, name in enumerate(candidates.ids)}
    return KnownEvents(candidates.ids, rows, candidates.digests), vectors


def write_people(directory: Path, ids: tuple[str, ...], histories: Histories) -> None:
    """Write the newest likes of the people that have any; history i belongs to `ids[i]`."""
    kept = np.flatnonzero(histories.lengths > 0)
    newest = histories.take(kept).shortened(LONGEST)
    np.savez(directory / HISTORIES, starts=newest.starts, rows=newest.rows)
    (directory / PEOPLE).write_bytes(msgspec.msgpack.encode([ids[one] for one in kept.tolist()]))


def read_people(directory: Path, events: int) -> KnownPeople:
    ids = msgspec.msgpack.decode((directory / PEOPLE).read_bytes(), type=tuple[str, ...])
    arrays = read_arrays(directory / HISTORIES)
    histories = Histories(arrays["starts"], arrays["rows"])
    sound = (
        len(histories) == len(ids) and (histories.lengths >= 0).all() and histories.starts[-1] == histories.rows.size
    )
    if not sound or (histories.rows.size and not 0 <= histories.rows.min() <= histories.rows.max() < events):
        raise ValueError("the stored histories do not fit their people or events")
    return KnownPeople({name: row for row, name in enumerate(ids)}, histories)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}

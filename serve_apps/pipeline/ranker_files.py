"""A deep ranker as one file beside a model version's towers; absent where none was trained.

Written by training, read by a replica together with the version, so that both change at once. A file that does not fit
this code is refused with MODEL_INVALID. It never unpickles anything.
"""

import io
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from cluster.kernel.errors import MODEL_INVALID, FlowError
from serve_apps.pipeline.rankers import DeepRanker, Layer, Matrix
from serve_apps.pipeline.ranking_features import NAMES, RANKING_FEATURES_VERSION

RANKER: Final = "ranker.npz"
_SIGNATURE: Final = "|".join((str(RANKING_FEATURES_VERSION), *NAMES))
_MOST_LAYERS: Final = 16


def write_ranker(directory: Path, ranker: DeepRanker) -> None:
    arrays: dict[str, Matrix] = {"mean": ranker.mean, "spread": ranker.spread}
    for kind, layers in (("cross", ranker.crosses), ("dense", ranker.dense), ("head", (ranker.head,))):
        for number, layer in enumerate(layers):
            arrays[f"{kind}{number}.weights"], arrays[f"{kind}{number}.bias"] = layer.weights, layer.bias
    signature = np.frombuffer(_SIGNATURE.encode(), np.uint8)
    np.savez(directory / RANKER, allow_pickle=False, signature=signature, **arrays)


def read_ranker(directory: Path) -> DeepRanker | None:
    """None when the version has none. Raises FlowError MODEL_INVALID."""
    path = directory / RANKER
    if not path.is_file():
        return None
    try:
        # From memory: a file cut short would otherwise stay open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            if bytes(file["signature"]).decode() != _SIGNATURE:
                raise ValueError("it was trained on other features")
            layers = {kind: _layers(file, kind) for kind in ("cross", "dense", "head")}
            ranker = DeepRanker(file["mean"], file["spread"], layers["cross"], layers["dense"], layers["head"][0])
            probe = ranker.scores(np.zeros((2, len(NAMES)), np.float32))
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise FlowError(MODEL_INVALID, f"The ranker {path.name} cannot be used: {error}") from error
    if probe.shape != (2,) or not np.isfinite(probe).all():
        raise FlowError(MODEL_INVALID, f"The ranker {path.name} gives no finite score.")
    return ranker


def _layers(file: "np.lib.npyio.NpzFile", kind: str) -> tuple[Layer, ...]:
    found = []
    for number in range(_MOST_LAYERS):
        if f"{kind}{number}.weights" not in file:
            break
        found.append(Layer(file[f"{kind}{number}.weights"], file[f"{kind}{number}.bias"]))
    return tuple(found)

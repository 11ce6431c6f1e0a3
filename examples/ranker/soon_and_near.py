"""Ranks by what is soon and near, with taste as the tie-break: what somebody wants who has tonight off."""

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import RankingBatch


class SoonAndNear:
    """`taste` is how much the two towers' opinion counts beside time and distance."""

    name = "soon_and_near"

    def __init__(self, taste: float = 0.5) -> None:
        self._taste = taste

    def rank(self, batch: RankingBatch) -> npt.NDArray[np.float32]:
        """One score a row. All rows of all people are scored at once: no loop."""
        column = {name: batch.features[:, index] for index, name in enumerate(batch.names)}
        soon = 1.0 - column["hours_to_start"]
        near = np.where(column["has_distance"] > 0, 1.0 - column["distance"], 0.0)
        scores: npt.NDArray[np.float32] = (soon + near + self._taste * column["tower"]).astype(np.float32)
        return scores

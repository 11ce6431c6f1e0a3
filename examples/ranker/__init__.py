"""A ranker of one's own in plain NumPy; see the README beside it."""

from examples.ranker.soon_and_near import SoonAndNear

__all__ = ["SoonAndNear"]

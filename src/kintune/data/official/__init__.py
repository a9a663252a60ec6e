"""The data sets of the paper, from their official archives, with the splits of its Table 1.

Nothing is downloaded. torchvision's own classes for these sets are not used: they say "not found"
without saying what is, check hashes that no small tree has, and one of them makes folders. Every
layout that they read is read here too.
"""

from kintune.data.official.read import DATA_ROOT, absolute_official, read_official
from kintune.data.official.sets import OFFICIAL, PREFIX, Counts, OfficialSet

__all__ = [
    "DATA_ROOT",
    "OFFICIAL",
    "PREFIX",
    "Counts",
    "OfficialSet",
    "absolute_official",
    "read_official",
]

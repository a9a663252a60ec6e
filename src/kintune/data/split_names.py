"""Which split the name of a folder, a file or a table's cell means."""

import re
from typing import NamedTuple

from kintune.data.images import Split

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "valset", "dev", "devset"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
"""Names of splits in lower case."""

USUAL_NAMES = ("train", "val", "valid", "validation", "test")
"""Names that need no word to the user."""

# "segTrain_2017" -> seg, Train, 2017
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


class SplitName(NamedTuple):
    """Split that a name stands for."""

    split: Split
    rest: str
    """The other words of the name; "seg_train" and "seg_test" have the same."""

    @property
    def is_exact(self) -> bool:
        """The name holds nothing else, or only "set", "data" or "split"."""
        return self.rest in ("", "set", "data", "split")


def split_named(name: str) -> SplitName | None:
    """The split that a name means, alone or as one of its words, in any case.

    >>> split_named("Training").split, split_named("seg_test").rest, split_named("invalid")
    ('train', 'seg', None)
    """
    whole = name.strip().lower()
    if whole in SPLIT_NAMES:
        return SplitName(SPLIT_NAMES[whole], "")
    words = [word.lower() for word in _WORD.findall(name)]
    found = [word for word in words if word in SPLIT_NAMES]
    if len(found) != 1:
        return None
    words.remove(found[0])
    return SplitName(SPLIT_NAMES[found[0]], " ".join(words))

"""`kintune` with none of the shipped references of one image set: SET, then its usual words.

The sets of the head-to-head are those of the references. Kintune is to know no more of a set than
its user would; only the deviations of its model were fitted with all sets.
"""

import sys

from kintune.cli import main
from kintune.recommend.references import recipes


def leave_out(name: str) -> None:
    """Take the references of a set out of those that ship; a set may have none."""
    shipped = recipes.shipped_references()
    kept = [each for each in shipped.references if each.task.target.split(",")[0] != name]
    others = shipped.replace(references=tuple(kept))
    recipes.shipped_references = lambda: others


if __name__ == "__main__":
    leave_out(sys.argv[1])
    main(sys.argv[2:])

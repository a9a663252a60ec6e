"""The references of the recipe model: what ships beside this file, and a person's own."""

import os
from functools import cache
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from kintune.base.errors import OptionError
from kintune.base.files import read_regular
from kintune.base.records import Record, faults
from kintune.recommend.model import Deviations, RecipeReference

FOLDER = Path(__file__).parent
_REFERENCES = TypeAdapter(tuple[RecipeReference, ...])


class Quality(Record):
    """How the shipped model does on targets that it has not seen."""

    coverage: float = Field(ge=0, le=1)
    """Share of the errors that 80 % intervals hold, each target left out in turn."""
    mean_loss: float
    """Mean loss of the recommended recipe against the best one that was measured, a fraction."""
    tasks: int
    """Left-out tasks."""


class ShippedReferences(Record):
    """`recipes.json`, as `studies/recipes/run.py --ship` writes it."""

    quality: Quality
    deviations: Deviations
    references: tuple[RecipeReference, ...]


@cache
def shipped_references() -> ShippedReferences:
    """What `recipes.json` holds."""
    return ShippedReferences.read(FOLDER / "recipes.json")


def recipe_quality() -> Quality:
    """How recommendations did on the references, each target left out in turn."""
    return shipped_references().quality


def recipe_deviations() -> Deviations:
    """Deviations of the random effects, fitted to the shipped references."""
    return shipped_references().deviations


def load_recipe_references() -> tuple[RecipeReference, ...]:
    """The references that ship with Kintune, then the person's own.

    Raises:
        OptionError: the file of the person's own is damaged.
    """
    return shipped_references().references + own_references()


def own_references_path() -> Path:
    """`$KINTUNE_REFERENCES`, else `~/.local/share/kintune/references.json`; it need not exist.

    Raises:
        OptionError: the home directory is not known.
    """
    named = os.environ.get("KINTUNE_REFERENCES") or "~/.local/share/kintune/references.json"
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        raise OptionError(
            f"{named}: there is no home directory here (HOME is not set). Set the environment "
            "variable KINTUNE_REFERENCES to a file for references of your own."
        ) from None


def own_references() -> tuple[RecipeReference, ...]:
    """The references that `add_reference` wrote; none where there are none.

    Raises:
        OptionError: the file does not hold references.
    """
    try:
        path = own_references_path()
    except OptionError:
        return ()  # without a home directory there are none in it
    try:
        return _REFERENCES.validate_json(read_regular(path)) if path.exists() else ()
    except ValidationError as error:
        raise OptionError(
            f"{path}: not a file of references of this version. {faults(error)}. Move it away, and "
            "add the output folders of your searches again: kintune reference add FOLDER."
        ) from None
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror}).") from None


def with_reference(
    references: tuple[RecipeReference, ...], new: RecipeReference
) -> tuple[RecipeReference, ...]:
    """The references with a new one, in place of one of the same network and target."""
    key = (new.task.network, new.task.target)
    others = (each for each in references if (each.task.network, each.task.target) != key)
    return (*others, new)

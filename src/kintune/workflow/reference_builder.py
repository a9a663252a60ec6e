"""`kintune reference build`: searches on several data sets, whose runs become references."""

from pathlib import Path
from typing import cast

from kintune.base.errors import OptionError
from kintune.base.progress import announce
from kintune.options import ReferenceOptions, SearchOptions
from kintune.options.results import BuildPlan, Plan
from kintune.recommend.own_references import References, add_reference, list_references
from kintune.workflow.pipeline import search

OUTPUT = Path("runs/references")


def build_references(options: ReferenceOptions) -> References | BuildPlan:
    """Search on every data set with one network, and add the runs of each search.

    Every search continues where it was stopped. One in which no run trained to its end adds
    nothing, which is said.

    Raises:
        OptionError: no data set or no network was named, or two data sets share a name.
    """
    searches = _searches(options)
    if options.dry_run:
        return BuildPlan(plans=tuple(cast("Plan", search(each)) for each in searches))
    added: list[str] = []
    for each in searches:
        search(each)
        try:
            added += add_reference(cast("Path", each.output)).added
        except OptionError as error:
            announce(f"not added: {error}")
    return list_references().replace(added=tuple(added))


def _searches(options: ReferenceOptions) -> list[SearchOptions]:
    """One search a data set."""
    if not options.folders or options.model is None:
        raise OptionError(
            "kintune reference build needs data sets and --model, the network they are searched "
            "with: kintune reference build photos/ drawings/ --model resnet50."
        )
    names = [Path(folder).absolute().name for folder in options.folders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(
            f"{twice[0]}: {names.count(twice[0])} of the data sets have this name, by which "
            "references are told apart. Rename one of the folders."
        )
    return [
        SearchOptions(
            data=str(folder),
            model=options.model,
            weights=options.weights,
            image_size=options.image_size,
            epochs=options.epochs,
            augmentation="flip",  # as the references that ship
            runs_at_most=options.runs_at_most,
            workers=options.workers,
            threads=options.threads,
            device=options.device,
            seed=options.seed,
            output=(options.output or OUTPUT / Path(options.model).name) / name,
            dry_run=options.dry_run,
        )
        for folder, name in zip(options.folders, names, strict=True)
    ]

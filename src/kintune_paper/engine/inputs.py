"""Whether the sets and networks that missing runs need are there: asked before anything runs."""

from kintune.base.errors import DataError
from kintune_paper.engine.declaration import DeclaredRun, Measurement
from kintune_paper.engine.known import missing
from kintune_paper.engine.sources import making_run
from kintune_paper.engine.work import Work


def refuse_missing(work: Work) -> None:
    """Make sure that everything is there.

    Raises:
        DataError: all that is not, each with where it was looked for and what it should be.
    """
    runs = [
        run if isinstance(run, DeclaredRun) else run.of[0] for run in missing(work.runs, work.known)
    ]
    measured = [each for each in work.measured if not work.measurements.has(each)]
    targets = dict.fromkeys(each.target for each in (*runs, *measured) if each.target)
    networks = dict.fromkeys(
        name for each in (*runs, *measured) for name in _networks(each) if name
    )
    faults = [work.context.missing_set(target) for target in targets]
    faults += [_network_fault(work, name) for name in networks]
    found = [fault for fault in dict.fromkeys(faults) if fault]
    if found:
        raise DataError(
            "\n".join(found) + "\nOther experiments may need less: kintune reproduce --list."
        )


def _network_fault(work: Work, name: str) -> str:
    """Fault of a network; empty for one that these experiments make themselves."""
    network = work.protocol.networks[name]
    fault = work.context.missing_weights(network.file)
    if not fault or not network.made_by:
        return fault
    making = making_run(network, work.protocol)
    record = work.known.find(making)
    if record is not None:
        model = work.context.root / record.config.id_on_any_device / "model"
        return "" if model.is_dir() else f"{fault} Its training is recorded, but {model} is gone."
    if making.key in {run.key for run in work.runs if isinstance(run, DeclaredRun)}:
        return ""
    return f"{fault} Or make it: kintune reproduce table7 --protocol {work.protocol.name}."


def _networks(each: DeclaredRun | Measurement) -> tuple[str, ...]:
    return (each.network,) if isinstance(each, DeclaredRun) else (each.network, each.extractor)

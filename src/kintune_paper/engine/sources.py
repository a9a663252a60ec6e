"""Sources that the protocol trains itself (appendix F): finished runs become networks."""

import shutil
from pathlib import Path

from kintune_paper.context import StudyContext
from kintune_paper.engine.declaration import DeclaredRun, Protocol, SourceNetwork
from kintune_paper.engine.known import KnownRuns


def making_run(network: SourceNetwork, protocol: Protocol) -> DeclaredRun:
    """The run that makes a source."""
    return protocol.runs(protocol.maker, network.made_by)[0]


def publish_sources(protocol: Protocol, known: KnownRuns, context: StudyContext) -> None:
    """Put the models of finished runs that make a source where networks are looked for."""
    for network in protocol.networks.values():
        if network.made_by and context.models is not None:
            record = known.find(making_run(network, protocol))
            file = context.models / (network.file.weights or "")
            if record is not None and not file.exists():
                _copy(context.root / record.config.id_on_any_device / "model", file)


def _copy(model: Path, file: Path) -> None:
    """Description first, so that weights are never without it."""
    if (model / "model.safetensors").exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        for source, place in (
            (model / "model.json", file.with_suffix(".json")),
            (model / "model.safetensors", file),
        ):
            temporary = place.with_name(f".{place.name}")
            shutil.copyfile(source, temporary)
            temporary.replace(place)

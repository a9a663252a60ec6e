"""One writer and one configuration a run folder, and the record of where it ran."""

import errno
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from kintune.backbones import Backbone
from kintune.base.errors import OptionError
from kintune.base.files import locked, remove_temporaries
from kintune.base.progress import announce
from kintune.base.records import Record, differences
from kintune.data import ImageDataset
from kintune.runs import RunConfig, foreign_result, mark_output, write_json
from kintune.training.replicas import replicas

SUBFOLDERS = ("runs", "frozen_head", "retrained", "best", "model", "tensorboard", "workers")
"""Subfolders of an output folder; the folder of a run has some of the same names."""
PACKAGES = ("kintune", "torch", "timm", "numpy")


class Inputs(Record):
    """Where a run found its images and weights. The configuration holds their hashes alone."""

    data: str
    """Absolute path, or a name of the catalog."""
    val_fraction: float | None
    split_seed: int
    """Seed of the draw of the validation images."""
    skip_unreadable: bool
    weights: str | None
    """Absolute path of a local file; None for published weights."""


class Environment(Record):
    """Where a run ran: not part of its configuration, though last bits may depend on it."""

    inputs: Inputs | None = None

    versions: dict[str, str]
    processor: str
    device: str
    threads: int | None = None
    """CPU threads; None in files of before this was recorded."""
    host: str
    started: str
    """UTC, ISO 8601."""

    def differences(self, later: "Environment") -> tuple[str, ...]:
        """Changes of that on which last bits depend."""
        before, after = self._deciding(), later._deciding()
        return tuple(
            f"{key} {before.get(key)} -> {value}"
            for key, value in after.items()
            if before.get(key, value) != value
        )

    def _deciding(self) -> dict[str, str]:
        found = {**self.versions, "processor": self.processor, "device": self.device}
        return found if self.threads is None else {**found, "threads": str(self.threads)}


class Starts(Record):
    """`environment.json`: one entry each time the run was begun or resumed."""

    starts: tuple[Environment, ...]


def note_environment(folder: Path, here: Environment) -> tuple[str, ...]:
    """Add this process to `environment.json`.

    Returns:
        A note for each time that versions, processor or device had changed on going on.
    """
    path = folder / "environment.json"
    before = Starts.read(path).starts if path.exists() else ()
    starts = (*before, here)
    write_json(path, Starts(starts=starts).to_json())
    changes = (first.differences(then) for first, then in pairwise(starts))
    return tuple(
        f"Continued under others ({', '.join(change)}): the last bits may differ."
        for change in changes
        if change
    )


def set_foreign_result_aside(folder: Path) -> tuple[str, ...]:
    """Rename a result that is of another run than the folder's, so that this one can be trained.

    Returns:
        A note where there was one.
    """
    other = foreign_result(folder)
    if other is None:
        return ()
    kept = folder / f"result-{other.id}.json"
    (folder / "result.json").rename(kept)
    note = f"{folder}: result.json was of run {other.id} and is not counted; kept as {kept.name}."
    announce(f"- {note}")
    return (note,)


def recorded_environment(folder: Path) -> Environment | None:
    """Where the last process that wrote a run ran; None where nothing was recorded."""
    path = folder / "environment.json"
    return Starts.read(path).starts[-1] if path.exists() else None


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder of outputs alone; what a killed process left half written in it is removed.
    The operating system frees it when the process dies.

    Raises:
        OptionError: another process holds it, the folder cannot be written, or a link in it leads
            to another folder.
    """
    with ExitStack() as stack:
        try:
            mark_output(folder)
            _refuse_linked_folders(folder)
            handle = stack.enter_context(locked(folder / "lock", wait=False))
        except OSError as error:
            link = "; lock is a symbolic link" if error.errno == errno.ELOOP else ""
            raise OptionError(
                f"{folder}: cannot be written ({error.strerror}{link}). Choose another folder."
            ) from None
        if handle is None:
            raise OptionError(
                f"{folder}: {_holder(folder)} is writing here. Wait for it, stop it, or choose "
                "another folder."
            )
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        remove_temporaries(folder)
        yield


def _refuse_linked_folders(folder: Path) -> None:
    """Nothing is written through a link within an output folder, which may come from anyone. A link
    in place of a file is replaced when the file is written."""
    for path in (*(folder / name for name in SUBFOLDERS), *folder.glob("runs/*")):
        if path.is_symlink() and path.is_dir():
            raise OptionError(
                f"{path}: is a symbolic link to a folder. Links within an output folder are not "
                "followed for writing: put a folder in its place, or choose another output folder."
            )


def _holder(folder: Path) -> str:
    try:
        return (folder / "lock").read_text(errors="replace")[:200] or "another process"
    except OSError:
        return "another process"


@contextmanager
def held(folder: Path, config: RunConfig) -> Iterator[None]:
    """Hold a run folder for a configuration, for all replicas; what a killed process left half
    written is removed.

    Raises:
        OptionError: on all replicas, where the first cannot lock or claim the folder.
    """
    here, refusal = replicas(), None
    with ExitStack() as stack:
        if here.is_first:
            try:
                stack.enter_context(exclusive(folder))
                claim(folder, config)
            except OptionError as error:
                refusal = str(error)
        refusal = here.from_first(refusal)
        if refusal is not None:
            raise OptionError(refusal)
        if here.is_first:
            remove_temporaries(folder / "model")
        yield


def claim(folder: Path, config: RunConfig) -> None:
    """Write the configuration, or make sure that it is the one the folder holds.

    Raises:
        OptionError: the folder holds another configuration; the message names the differences.
    """
    path = folder / "config.json"
    if not path.exists():
        write_json(path, config.to_json())
        return
    held = _flat(RunConfig.read(path).to_json())
    asked = _flat(config.to_json())
    found = differences(held, asked)
    if found:
        raise OptionError(
            f"{folder}: holds a run of another configuration: {'; '.join(found)}. "
            "Choose another folder, or the same settings to go on."
        )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            entries |= _flat(entry, f"{prefix}{key}.")
        else:
            entries[prefix + key] = entry
    return entries


def this_environment(
    device: str, backbone: Backbone | None = None, dataset: ImageDataset | None = None
) -> Environment:
    """The machine and the versions that this process runs with, and where its inputs are."""
    return Environment(
        inputs=None if backbone is None or dataset is None else _inputs(backbone, dataset),
        versions=versions(),
        processor=_processor(),
        device=device,
        threads=torch.get_num_threads(),
        host=socket.gethostname(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _inputs(backbone: Backbone, dataset: ImageDataset) -> Inputs:
    return Inputs(
        data=dataset.source,
        val_fraction=dataset.val_fraction,
        split_seed=dataset.split_seed,
        skip_unreadable=bool(dataset.skipped),
        weights=None if backbone.weights_path is None else str(backbone.weights_path),
    )


def versions() -> dict[str, str]:
    """Versions of the packages that decide the bits of a result."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

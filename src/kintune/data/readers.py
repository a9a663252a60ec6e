"""Folders of images -> a listing of files with labels and splits. Opens no image."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kintune.base.errors import DataError
from kintune.data.images import Split
from kintune.data.listing import (
    UNLABELLED,
    ImageEntry,
    Listing,
    consistent,
    ordered,
    refuse_names,
    shown,
)
from kintune.data.split_names import USUAL_NAMES, split_named
from kintune.data.walk import IMAGE_EXTENSIONS, Walk


def read_folder(source: str) -> Listing:
    """A folder of class folders, or of `train` and perhaps `val` and `test` with class folders.

    Splits may have the other names of `kintune.data.split_names`. Images may lie deeper within
    their class folder; symbolic links are followed. Hidden and system files and what Kintune wrote
    are passed over. Files with other extensions, images in no class folder and folders beside the
    splits are named in the notes.

    Raises:
        DataError: no images, splits that do not fit together, folders that cannot be listed, or
            names that `kintune.data.listing.refuse_names` refuses.
    """
    root = Path(source)
    walk = Walk(root)
    layout = _layout(root, walk)
    class_folders: list[tuple[Split, Path]] = [
        (split, folder)
        for split, parent in layout.splits.items()
        for folder in walk.folders(parent)
    ]
    entries = [
        ImageEntry(path, folder.name, split)
        for split, folder in class_folders
        for path in walk.images_below(folder)
    ]
    loose = _loose_notes(layout, walk, {entry.split for entry in entries})
    walk.refuse_faults()
    if not entries:
        raise DataError(_nothing_found(root, walk, [folder.name for _, folder in class_folders]))
    return consistent(
        Listing(
            name=root.name,
            source=source,
            entries=ordered(entries),
            classes=tuple(folder.name for split, folder in class_folders if split == "train"),
            notes=(*layout.notes, *walk.notes(), *loose),
        )
    )


def read_flat_folder(source: str) -> Listing | None:
    """A folder of images without class folders, as one unlabelled class; None where it has some.

    Hidden and system files and what Kintune wrote are passed over.
    """
    root = Path(source)
    walk = Walk(root)
    if walk.folders(root):
        return None
    paths = sorted(walk.images_below(root))
    walk.refuse_faults()
    if not paths:
        return None
    listing = Listing(
        name=root.name,
        source=source,
        entries=tuple(ImageEntry(path, UNLABELLED, "train") for path in paths),
        classes=(UNLABELLED,),
        notes=walk.notes(),
        is_labeled=False,
    )
    refuse_names(listing)
    return listing


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Which folder holds the class folders of which split."""

    splits: Mapping[Split, Path]
    root: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A folder that is called like a split."""

    folder: Path
    split: Split
    rest: str
    is_exact: bool
    classes: frozenset[str]
    """Names of its subfolders."""

    @property
    def shown(self) -> str:
        return f"{self.folder.name}/"


def _layout(root: Path, walk: Walk) -> _Layout:
    """Splits or classes: names and contents of the folders together decide.

    Raises:
        DataError: they contradict each other.
    """
    folders = walk.folders(root)
    candidates = _candidates(folders, walk)
    trains = [each for each in candidates if each.split == "train" and each.classes]
    exact = [each for each in trains if each.is_exact]
    related = [each for each in trains if _related(each, candidates)]
    if exact or related:
        return _split_layout(root, walk, folders, _chosen((exact or related)[0], candidates))
    return _class_layout(root, walk, folders, candidates)


def _candidates(folders: Iterable[Path], walk: Walk) -> list[_Candidate]:
    named = [(folder, split_named(folder.name)) for folder in folders]
    return [
        _Candidate(
            folder=folder,
            split=name.split,
            rest=name.rest,
            is_exact=name.is_exact,
            classes=frozenset(each.name for each in walk.folders(folder)),
        )
        for folder, name in named
        if name is not None
    ]


def _related(one: _Candidate, candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Folders that belong to the same set: an exact name, the same other words ("seg_train" and
    "seg_test"), or folders of the same names within."""
    return [
        each
        for each in candidates
        if each is not one
        and (each.is_exact or each.rest == one.rest or each.classes & one.classes)
    ]


def _chosen(train: _Candidate, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """One folder or more for each split; exact names go first, others must hold its classes."""
    chosen = [train, *_related(train, candidates)]
    exact = {each.split for each in chosen if each.is_exact}
    return [
        each
        for each in chosen
        if each.is_exact or (each.split not in exact and (each.classes or not train.is_exact))
    ]


def _split_layout(
    root: Path, walk: Walk, folders: Sequence[Path], chosen: Sequence[_Candidate]
) -> _Layout:
    by_split: dict[Split, list[_Candidate]] = defaultdict(list)
    for each in chosen:
        by_split[each.split].append(each)
    for split, several in by_split.items():
        if len(several) > 1:
            names = " and ".join(each.shown for each in several)
            raise DataError(f"{root}: both {names} name the {split} split. Keep one.")
    unusual = [
        f"{each.shown} as {each.split}"
        for each in chosen
        if each.folder.name.lower() not in USUAL_NAMES
    ]
    beside = [each for each in folders if each not in {one.folder for one in chosen}]
    notes = [f"read {' and '.join(unusual)}"] if unusual else []
    if beside:
        held = [f"{each.name}/ ({_image_count(each)})" for each in beside]
        notes.append(f"did not read the folders beside the splits: {shown(held)}")
    return _Layout(
        splits={split: _inner(each.folder, split, walk) for split, [each] in by_split.items()},
        root=root,
        notes=tuple(notes),
    )


def _class_layout(
    root: Path, walk: Walk, folders: Sequence[Path], candidates: Sequence[_Candidate]
) -> _Layout:
    """Every folder is a class, unless names contradict that."""
    others = [each for each in folders if each not in {one.folder for one in candidates}]
    exact = [each for each in candidates if each.is_exact]
    named_train = exact and all(each.split == "train" for each in exact)
    if exact and not (named_train and others):
        _refuse_splits(root, exact)
    for each in [] if exact else candidates:
        if relatives := [one for one in _related(each, candidates) if one.split != each.split]:
            _refuse_splits(root, [each, *relatives])
    notes = [
        f"read {each.shown} as a class, for it holds no class folders" for each in exact
    ] + _alike_notes(folders, walk)
    return _Layout(splits={"train": root}, root=root, notes=tuple(notes))


def _refuse_splits(root: Path, named: Sequence[_Candidate]) -> None:
    names = " and ".join(each.shown for each in named)
    verb = "is" if len(named) == 1 else "are"
    advice = f"If {names} {verb} meant as a class, move all class folders into a new folder train/."
    if any(each.split == "train" for each in named):
        raise DataError(
            f"{root}: {names} {verb} called like a split, and train has no class folders. Put the "
            f"images of each class into a folder with the class's name: train/CLASS/IMAGE. {advice}"
        )
    raise DataError(
        f"{root}: has {names} but no train/. Add train/ with the same classes. {advice}"
    )


def _alike_notes(folders: Iterable[Path], walk: Walk) -> list[str]:
    """Folders that hold folders of the same names may be splits under other names."""
    inside: dict[frozenset[str], list[str]] = defaultdict(list)
    for folder in folders:
        inside[frozenset(each.name for each in walk.folders(folder))].append(folder.name)
    return [
        f"read {', '.join(f'{name}/' for name in names)} as classes, though they hold folders of "
        f"the same names ({shown(sorted(within))}); splits are called train, val and test"
        for within, names in inside.items()
        if len(within) > 1 and len(names) > 1
    ]


def _inner(folder: Path, split: Split, walk: Walk) -> Path:
    """Archives may hold a split's folder twice: train/train/CLASS."""
    inside = walk.folders(folder)
    if len(inside) != 1 or not walk.folders(inside[0]) or walk.loose_images(folder):
        return folder
    name = split_named(inside[0].name)
    return inside[0] if name is not None and name.split == split else folder


def _image_count(folder: Path) -> str:
    count = sum(1 for _ in Walk(folder).all_images(folder))
    return f"{count} images" if count != 1 else "1 image"


def _loose_notes(layout: _Layout, walk: Walk, used: set[Split]) -> list[str]:
    """Images in no class folder, and splits without images."""
    places: dict[Path, Split | None] = {layout.root: None}
    places |= {folder: split for split, folder in layout.splits.items()}
    notes: list[str] = []
    for place, split in places.items():
        lost = f"; there is no {split} split" if split and split not in used else ""
        if count := walk.loose_images(place):
            notes.append(f"ignored {count} images in {place} that are in no class folder{lost}")
        elif lost:
            notes.append(f"{place.name}/ holds no images{lost}")
    return notes


def _nothing_found(root: Path, walk: Walk, labels: list[str]) -> str:
    if labels:
        others = "".join(f" {note[:1].upper()}{note[1:]}." for note in walk.notes())
        return (
            f"{root}: no images in its class folders {shown(sorted(set(labels)))}.{others} "
            f"Images are files that end in {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    loose = walk.loose_images(root)
    found = f"holds {loose} images but no class folders" if loose else "has no class folders"
    return f"{root}: {found}. Put the images of each class into a folder with the class's name."

"""A source of images -> `ImageDataset`."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kintune.base.arrays import IndexArray, LabelArray
from kintune.base.errors import DataError, OptionError
from kintune.data.cache import CachedImages, cached_images
from kintune.data.catalog import list_images
from kintune.data.decode import DECODER_VERSION, ImageScale
from kintune.data.entries import remove_damaged_unpacked
from kintune.data.images import SPLITS, ImageDataset, Split, UnreadableFile
from kintune.data.listing import ImageEntry, Listing, refuse_small_classes
from kintune.data.sample import sampled_images
from kintune.data.splits import stratified_draw
from kintune.data.values import value_range_note
from kintune.runs.inputs import InputSpec


def load_dataset(
    source: str | Path,
    input: InputSpec,
    *,
    skip_unreadable: bool = False,
    val_fraction: float | None = 0.2,
    seed: int = 0,
    verify: bool = False,
) -> ImageDataset:
    """Read, check and decode a data set; where it has no validation split, draw one from train.

    Every file is tried before anything else happens. The decoded images are cached on disk
    (`kintune.data.cache`), so that the second time takes no decoding.

    Args:
        source: a folder of class folders, with or without train, val and test; a folder of
            parquet files; a CSV table `path,label[,split]`; `sklearn:digits`; or
            `paper:NAME=FOLDER` (`kintune.data.official`).
        input: gives the shorter side and the interpolation of the decoded images.
        skip_unreadable: continue without the files that do not load; they are recorded.
        val_fraction: share of each training class that is drawn for validation; None draws nothing,
            and then, as where the source has a validation split, one image makes a class.
        seed: of that draw.
        verify: hash the files and compare with the cache, whose key is path, size and times.

    Raises:
        DataError: the source cannot be used; the text says why and what to do.
        OptionError: `val_fraction` is not between 0 and 1.
    """
    checks = _Checks(skip_unreadable=skip_unreadable, verify=verify)
    return _read(_listing(source, verify=verify), input, checks, val_fraction, seed)


def sample_dataset(
    source: str | Path,
    input: InputSpec,
    *,
    skip_unreadable: bool = False,
    val_fraction: float | None = 0.2,
    seed: int = 0,
) -> ImageDataset:
    """As `load_dataset`, with only a sample of the files decoded and nothing cached: enough to time
    what is done with the images.

    Counts and splits are right; most images and the hash of the content are placeholders
    (`kintune.data.sample.sampled_images`).

    Raises:
        DataError: the source cannot be used; the text says why and what to do.
        OptionError: `val_fraction` is not between 0 and 1.
    """
    checks = _Checks(skip_unreadable=skip_unreadable, sample=True)
    return _read(list_images(source), input, checks, val_fraction, seed)


def load_unsplit(
    source: str | Path, input: InputSpec, *, skip_unreadable: bool = False, verify: bool = False
) -> ImageDataset:
    """As `load_dataset`, for what is measured and not trained on: nothing is drawn for validation,
    and a single class, one image a class and a flat folder of images are enough.

    Raises:
        DataError: the source cannot be used; the text says why and what to do.
    """
    listing = _listing(source, verify=verify, for_training=False)
    checks = _Checks(skip_unreadable=skip_unreadable, verify=verify)
    return _read(listing, input, checks, None, 0)


def _listing(source: str | Path, *, verify: bool, for_training: bool = True) -> Listing:
    """The images of a source; what was unpacked from it is unpacked again where it is damaged."""
    listing = list_images(source, for_training=for_training)
    if verify and remove_damaged_unpacked(listing.entries[0].path):
        listing = list_images(source, for_training=for_training)
    return listing


@dataclass(frozen=True, kw_only=True)
class _Checks:
    """How closely a source is looked at."""

    skip_unreadable: bool
    verify: bool = False
    sample: bool = False


def _read(
    listing: Listing, input: InputSpec, checks: _Checks, val_fraction: float | None, seed: int
) -> ImageDataset:
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise OptionError(f"val_fraction is {val_fraction}; it must lie between 0 and 1.")
    refuse_small_classes(listing, _min_images(listing, val_fraction))
    scale = ImageScale(input.shorter_side, input.interpolation)
    paths = [entry.path for entry in listing.entries]
    cached = (
        sampled_images(paths, scale)
        if checks.sample
        else cached_images(paths, scale, verify=checks.verify)
    )
    skipped = _skipped(listing, cached, checks.skip_unreadable)
    kept = np.setdiff1d(np.arange(len(listing.entries)), list(cached.unreadable))
    readable = replace(listing, entries=tuple(listing.entries[index] for index in kept))
    refuse_small_classes(readable, _min_images(readable, val_fraction))
    dataset = _dataset(readable, cached.select(kept), val_fraction, seed)
    described = [(paths[index], words) for index, words in sorted(cached.value_ranges.items())]
    notes = (*_skipped_notes(skipped), *value_range_note(described, len(paths)))
    return replace(dataset, skipped=skipped, notes=(*dataset.notes, *notes))


def _dataset(
    listing: Listing, cached: CachedImages, val_fraction: float | None, seed: int
) -> ImageDataset:
    """The data set of files that all load."""
    position = {name: label for label, name in enumerate(listing.classes)}
    labels = np.array([position[entry.label] for entry in listing.entries], dtype=np.int64)
    splits, validation = _splits(listing.entries, labels, val_fraction, seed)
    return ImageDataset(
        name=listing.name,
        source=listing.source,
        classes=listing.classes,
        is_labeled=listing.is_labeled,
        paths=tuple(entry.path for entry in listing.entries),
        labels=labels,
        splits=splits,
        images=cached.images,
        content_hash=_content_hash(listing.entries, cached.sha256, validation),
        skipped=(),
        notes=(
            *listing.notes,
            *filter(None, [validation]),
            *_leak_notes(listing.entries, cached.pixel_sha256, splits),
        ),
        val_fraction=val_fraction,
        split_seed=seed,
        decode_seconds=cached.decode_seconds,
        validation_is_drawn=bool(len(splits["val"]))
        and all(entry.split != "val" for entry in listing.entries),
    )


def _min_images(listing: Listing, val_fraction: float | None) -> int:
    """Training images that each class needs: one more where one is drawn for validation."""
    draws = val_fraction is not None and not any(entry.split == "val" for entry in listing.entries)
    return 2 if draws else 1


def _skipped(
    listing: Listing, cached: CachedImages, skip_unreadable: bool
) -> tuple[UnreadableFile, ...]:
    files = tuple(
        UnreadableFile(path=listing.entries[index].path, reason=reason)
        for index, reason in sorted(cached.unreadable.items())
    )
    if files and not skip_unreadable:
        listed = "\n".join(f"  {file.path}: {file.reason}" for file in files)
        raise DataError(
            f"{listing.source}: {len(files)} of {len(listing.entries)} files cannot be read as "
            f"images:\n{listed}\nRepair or delete them, or continue without them: --skip-unreadable"
        )
    return files


def _skipped_notes(skipped: tuple[UnreadableFile, ...]) -> tuple[str, ...]:
    noun = "file" if len(skipped) == 1 else "files"
    return (f"left out {len(skipped)} unreadable {noun}",) if skipped else ()


def _splits(
    entries: Sequence[ImageEntry], labels: LabelArray, val_fraction: float | None, seed: int
) -> tuple[Mapping[Split, IndexArray], str]:
    """The splits, and where validation came from in words; no words where none was wanted."""
    named = np.array([entry.split for entry in entries])
    splits: dict[Split, IndexArray] = {split: np.flatnonzero(named == split) for split in SPLITS}
    if len(splits["val"]):
        return splits, f"validation: the {len(splits['val'])} images of the validation split"
    if val_fraction is None:
        return splits, ""
    train = splits["train"]
    kept, drawn = stratified_draw(labels[train], val_fraction, seed)
    splits |= {"train": train[kept], "val": train[drawn]}
    return splits, (
        f"validation: {len(drawn)} of {len(train)} training images, {100 * val_fraction:g} % of "
        f"each class, drawn with seed {seed}"
    )


def _leak_notes(
    entries: Sequence[ImageEntry], digests: Sequence[str], splits: Mapping[Split, IndexArray]
) -> tuple[str, ...]:
    """Images of val and test whose pixels are those of an image of an earlier split."""
    notes: list[str] = []
    seen: dict[str, tuple[Split, int]] = {}
    for split in SPLITS:
        rows: list[int] = splits[split].tolist()
        leaks = [(index, *seen[digests[index]]) for index in rows if digests[index] in seen]
        if leaks:
            index, earlier, other = leaks[0]
            origins = " or ".join(each for each in SPLITS if each in {leak[1] for leak in leaks})
            notes.append(
                f"warning: {len(leaks)} of {len(rows)} images of {split} are the same as "
                f"images of {origins}, which makes the error on {split} too low; for example "
                f"{entries[index].path} ({split}) and {entries[other].path} ({earlier}). kintune "
                "check lists all"
            )
        seen |= {digests[index]: (split, index) for index in rows}
    return tuple(notes)


def _content_hash(entries: Sequence[ImageEntry], digests: Sequence[str], validation: str) -> str:
    digest = hashlib.sha256(f"decoder {DECODER_VERSION}\n{validation}\n".encode())
    for entry, file_digest in zip(entries, digests, strict=True):
        label = os.fsencode(entry.label)
        digest.update(b"%s\0%s\0%s\n" % (entry.split.encode(), label, file_digest.encode()))
    return digest.hexdigest()

"""The files below a folder, and a record of everything that was passed over."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kintune.base.errors import DataError
from kintune.data.entries import MARK, cache_root
from kintune.data.listing import MAX_SHOWN, refuse_paths, shown
from kintune.data.split_names import SPLIT_NAMES
from kintune.runs import is_output

IMAGE_EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""Extensions of images in a folder, in lower case; a CSV may name any file."""

OTHER_IMAGE_EXTENSIONS = frozenset(
    {".heic", ".heif", ".jxl", ".jxr", ".svg", ".eps", ".psd", ".xcf", ".raw", ".dng", ".cr2"}
    | {".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".dcm", ".nii", ".npy"}
    | {".exr", ".hdr", ".mat", ".ico", ".pcx", ".sgi", ".fits"}
)
"""Formats of images that are not read, in lower case."""

_SYSTEM_NAMES = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})

_FileId = tuple[int, int]  # device and inode


@dataclass
class Walk:
    """Lists folders and files, following symbolic links, and remembers what it passed over."""

    root: Path
    others: Counter[str] = field(default_factory=Counter[str])
    """Files that are not images, by extension."""
    first_other: dict[str, str] = field(default_factory=dict[str, str])
    """The first file of each extension."""
    outputs: list[str] = field(default_factory=list[str])
    """Folders that Kintune wrote."""
    loops: list[str] = field(default_factory=list[str])
    """Links to a folder that holds them."""
    broken: list[str] = field(default_factory=list[str])
    """Links to nothing."""
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    """Folders that cannot be listed, each with the reason."""

    def folders(self, folder: Path) -> list[Path]:
        """Visible subfolders, sorted."""
        return [Path(path) for path in sorted(self._listed(str(folder), _ancestors(folder))[0])]

    def loose_images(self, folder: Path) -> int:
        """Number of images that lie directly in a folder; its other files are recorded."""
        return len(self._images(self._listed(str(folder), _ancestors(folder))[1]))

    def images_below(self, folder: Path) -> Iterator[str]:
        """Images at any depth.

        Raises:
            DataError: a folder below holds folders that are called like splits.
        """
        for place, folders, files in self._places(folder):
            _refuse_splits_inside(place, folders)
            yield from self._images(files)

    def all_images(self, folder: Path) -> Iterator[str]:
        """Images at any depth, whatever the folders are called."""
        for _, _, files in self._places(folder):
            yield from self._images(files)

    def notes_beside(self, files: Iterable[Path]) -> tuple[str, ...]:
        """Name other files in the root, beside the files that are read."""
        read = {str(path) for path in files}
        folders, others = self._listed(str(self.root), _ancestors(self.root))
        names = [f"{Path(path).name}/" for path in sorted(folders)]
        names += [Path(path).name for path in sorted(set(others) - read)]
        return (f"did not read {shown(names)}",) if names else ()

    def refuse_faults(self) -> None:
        """Nothing if every folder could be listed.

        Raises:
            DataError: names folders that could not, and links to nothing.
        """
        refuse_paths(
            self.root,
            "and folders cannot be read; change their permissions or move them elsewhere",
            [f"{path}: {reason}" for path, reason in self.unreadable.items()],
        )
        refuse_paths(
            self.root,
            "are symbolic links to something that cannot be reached; restore it or remove them",
            list(dict.fromkeys(self.broken)),
        )

    def notes(self) -> tuple[str, ...]:
        """Files that were passed over, in words."""
        unread = {ext: n for ext, n in self.others.items() if ext in OTHER_IMAGE_EXTENSIONS}
        plain = {ext: n for ext, n in self.others.items() if ext not in unread}
        parts = [
            _passed_over(plain, "non-image file", self.first_other),
            _passed_over(unread, "image file that Kintune does not read", self.first_other),
            _named("passed over what Kintune wrote", self.outputs, self.root),
            _named("passed over links to a folder that holds them", self.loops, self.root),
        ]
        return tuple(filter(None, parts))

    def _places(self, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each folder from this one down, with its subfolders and files."""
        pending = [(str(folder), _ancestors(folder))]
        while pending:
            place, ancestors = pending.pop()
            folders, files = self._listed(place, ancestors)
            yield place, folders, files
            pending += [(path, ancestors | _own_id(path)) for path in folders]

    def _listed(self, place: str, ancestors: frozenset[_FileId]) -> tuple[list[str], list[str]]:
        """Visible subfolders and files."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if not is_visible(entry.name):
                        continue
                    path = f"{place.rstrip('/')}/{entry.name}"
                    if not entry.is_dir():
                        files.append(path)
                    elif self._is_wanted(path, ancestors):
                        folders.append(path)
        except OSError as error:
            self.unreadable[error.filename or place] = error.strerror or str(error)
        return folders, files

    def _is_wanted(self, folder: str, ancestors: frozenset[_FileId]) -> bool:
        if wrote(folder):
            _append_once(self.outputs, folder)
            return False
        if _own_id(folder) & ancestors:
            _append_once(self.loops, folder)
            return False
        return True

    def _images(self, files: list[str]) -> list[str]:
        images: list[str] = []
        for path in sorted(files):
            extension = Path(path).suffix.lower()
            if extension in IMAGE_EXTENSIONS:
                images.append(path)
            elif Path(path).is_symlink() and not Path(path).exists():
                self.broken.append(path)
            else:
                self.others[extension or "no extension"] += 1
                self.first_other.setdefault(extension or "no extension", path)
        return images


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor the system's."""
    return not name.startswith(".") and name.lower() not in _SYSTEM_NAMES


def has_folders(folder: Path) -> bool:
    """Whether a folder holds visible folders that Kintune did not write."""
    return bool(Walk(folder).folders(folder))


def wrote(folder: str) -> bool:
    """Whether Kintune wrote a folder: an output folder, its cache, or a folder such as `runs` that
    holds output folders and no images."""
    if is_output(Path(folder)) or os.path.lexists(f"{folder}/{MARK}"):
        return True
    if Path(folder) == cache_root():
        return True
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if is_visible(entry.name)]
    except OSError:
        return False
    inside = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
    is_holder = bool(inside) and all(is_output(Path(entry.path)) for entry in inside)
    return is_holder and not any(
        Path(entry.name).suffix.lower() in IMAGE_EXTENSIONS for entry in found
    )


def _refuse_splits_inside(place: str, folders: list[str]) -> None:
    found = {SPLIT_NAMES.get(Path(path).name.lower()): path for path in folders}
    if "train" in found and ("test" in found or "val" in found):
        names = " and ".join(f"{Path(found[key]).name}/" for key in sorted(filter(None, found)))
        raise DataError(
            f"{place}: holds {names}, and would be read as one class. If these are splits, name "
            f"this folder as the data, or arrange the images as SPLIT/CLASS/IMAGE. If not, rename "
            "them."
        )


def _ancestors(folder: Path) -> frozenset[_FileId]:
    """Identities of a folder and of all that hold it."""
    return frozenset().union(*(_own_id(str(each)) for each in (folder, *folder.parents)))


def _own_id(folder: str) -> frozenset[_FileId]:
    try:
        status = Path(folder).stat()
    except OSError:
        return frozenset()
    return frozenset([(status.st_dev, status.st_ino)])


def _append_once(paths: list[str], path: str) -> None:
    if path not in paths:
        paths.append(path)


def _passed_over(counts: dict[str, int], kind: str, first: dict[str, str]) -> str:
    if not counts:
        return ""
    common = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{extension} {count}" for extension, count in common[:MAX_SHOWN])
    total = sum(counts.values())
    kinds = kind if total == 1 else kind.replace("file", "files", 1)
    return f"ignored {total} {kinds} ({listed}), for example {first[common[0][0]]}"


def _named(what: str, paths: list[str], root: Path) -> str:
    if not paths:
        return ""
    return f"{what}: {shown([f'{os.path.relpath(path, root)}/' for path in paths])}"

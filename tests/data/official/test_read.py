"""Any official set: its name and place, the whole walk, and what is said of a copy with gaps."""

from dataclasses import replace
from pathlib import Path

import pytest

from kintune.base.errors import DataError
from kintune.data import absolute_source, load_dataset
from kintune.data.catalog import CATALOG, list_images
from kintune.data.official import OFFICIAL, Counts
from kintune.testing import ReaderSuite

TREES = [*OFFICIAL, "imagenet:flat", "places365:easy"]


@pytest.mark.parametrize("name", TREES)
class TestSets(ReaderSuite):
    @pytest.fixture
    def source(self, named_tree, name):
        return named_tree(name)


def test_the_counts_are_those_of_table_1_but_for_caltechs_test():
    printed = {
        "flowers102": (102, 2_040, 6_149),
        "cub200": (200, 5_994, 5_794),
        "fgvc-aircraft": (100, 6_667, 3_333),
        "stanford-cars": (196, 8_144, 8_041),
        "stanford-dogs": (120, 12_000, 8_580),
        "mit-indoor67": (67, 5_360, 1_340),
        "caltech256": (256, 256 * 60, 30_607 - 827 - 256 * 60),  # all images, but for clutter
        "inat2017": (5_089, 579_184 + 95_986 * 9 // 10, 95_986 - 95_986 * 9 // 10),
        "places365": (365, 1_803_460, 36_500),
        "imagenet": (1_000, 1_281_167, 50_000),  # of the paper's source, not in the table
    }
    assert OFFICIAL["inat2017"].counts == Counts(classes=5_089, train=665_571, test=9_599)
    assert OFFICIAL["caltech256"].counts.test == 14_420
    for name, (classes, train, test) in printed.items():
        assert OFFICIAL[name].counts == Counts(classes=classes, train=train, test=test)
    assert {f"paper:{name}" for name in printed} == set(CATALOG) - {"sklearn:digits"}


def test_the_documentation_has_the_same_sets_counts_and_pages():
    page = Path(__file__).parents[3] / "docs" / "how-to" / "official-data-sets.md"
    text = page.read_text()
    for name, official in OFFICIAL.items():
        counts = official.counts
        row = f"{official.title} | {counts.classes:,} | {counts.train:,} | {counts.test:,} |"
        assert f"| `{name}` | {row}" in text
        assert f"| `{name}` | <{official.page}> |" in text


def test_from_a_name_to_images_with_a_validation_split(named_tree, spec):
    dataset = load_dataset(named_tree("imagenet"), spec, val_fraction=0.5)
    assert dataset.name == "imagenet"
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    assert dataset.images[0].shape[0] == 16
    assert dataset.notes[-1].startswith("validation: 2 of 4 training images")


def test_a_name_alone_looks_below_the_data_folder(tree, tmp_path, monkeypatch):
    root = tree("cub200")
    monkeypatch.setenv("KINTUNE_DATA", str(tmp_path))
    listing = list_images("paper:cub200")
    assert listing.source == f"paper:cub200={root}"
    assert listing == list_images(f"paper:cub200={root}")
    assert listing.name == "cub200"


def test_a_relative_folder_becomes_absolute(tree, tmp_path, monkeypatch):
    root = tree("flowers102")
    monkeypatch.chdir(tmp_path)
    assert absolute_source("paper:flowers102=flowers102") == f"paper:flowers102={root}"
    assert list_images(Path("paper:flowers102=flowers102/")).source == f"paper:flowers102={root}"


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("caltech256", "256_ObjectCategories"),
        ("cub200", "CUB_200_2011"),
        ("stanford-cars", "stanford_cars"),
        ("fgvc-aircraft", "fgvc-aircraft-2013b"),
        ("flowers102", "flowers-102"),
        ("places365:easy", "places365_standard"),
    ],
)
def test_the_folder_that_the_archive_makes_may_be_named_itself(tree, name, inner):
    root, name = tree(name), name.partition(":")[0]
    entries = list_images(f"paper:{name}={root / inner}").entries
    assert entries == list_images(f"paper:{name}={root}").entries


@pytest.mark.parametrize("name", TREES)
def test_a_copy_that_is_not_the_whole_set_is_told_from_it(named_tree, name, monkeypatch):
    source = named_tree(name)
    listing = list_images(source)
    set_name = listing.name
    splits = [entry.split for entry in listing.entries]
    here = Counts(classes=2, train=splits.count("train"), test=splits.count("test"))
    whole = OFFICIAL[set_name].counts
    assert listing.notes[-1] == (
        f"not the whole set: 2 classes, {here.train} training and {here.test} test images, of "
        f"{whole.classes:,} classes, {whole.train:,} training and {whole.test:,} test images"
    )
    whole_now = {set_name: replace(OFFICIAL[set_name], counts=here)}
    monkeypatch.setattr("kintune.data.official.read.OFFICIAL", whole_now)
    assert list_images(source).notes == listing.notes[:-1]


@pytest.mark.parametrize("name", TREES)
def test_an_empty_folder_says_what_belongs_there_and_where_from(tmp_path, name):
    name = name.partition(":")[0]
    with pytest.raises(DataError) as error:
        list_images(f"paper:{name}={tmp_path}")
    first, offer = str(error.value).split("\n")
    assert first.startswith(f"{tmp_path}: has no ")
    official = OFFICIAL[name]
    assert official.page in offer
    assert official.files in offer
    assert offer.endswith("Kintune downloads nothing.")


LISTED = [name for name in TREES if name not in ("caltech256", "imagenet", "places365:easy")]


@pytest.mark.parametrize("name", LISTED)
def test_an_image_that_the_lists_name_must_be_there(named_tree, name):
    source = named_tree(name)
    listing = list_images(source)
    path = Path(listing.entries[-1].path)
    path.unlink()
    with pytest.raises(DataError) as error:
        list_images(source)
    root = source.partition("=")[2]
    assert str(error.value).startswith(
        f"{root}: 1 files of the {len(listing.entries)} that its lists name are not there; the "
        f"copy is not complete:\n  {path}\n"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("paper:cub", "paper:cub: no set of the paper is called cub. Did you mean paper:cub200?"),
        ("paper:x=/data", "no set of the paper is called x. Known: caltech256, cub200,"),
        ("paper:cub200", "paper:cub200: say where it is, paper:cub200=FOLDER, or set the"),
        ("paper:cub200=/nowhere/at/all", "/nowhere/at/all: no such folder.\nCaltech-UCSD Birds"),
    ],
)
def test_names_that_lead_nowhere(monkeypatch, source, message):
    monkeypatch.delenv("KINTUNE_DATA", raising=False)
    with pytest.raises(DataError) as error:
        list_images(source)
    assert message in str(error.value)


def test_an_image_listed_twice_is_refused(tree):
    root = tree("mit-indoor67")
    (root / "TestImages.txt").write_text("poolinside/t.jpg\npoolinside/n.jpg\n")
    with pytest.raises(DataError, match=r"1 files are listed more than once:\n  .*/n\.jpg"):
        list_images(f"paper:mit-indoor67={root}")


def test_nothing_below_the_folder_is_written(named_tree):
    for name in TREES:
        source = named_tree(name)
        root = Path(source.partition("=")[2])
        before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
        list_images(source)
        assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before

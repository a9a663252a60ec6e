"""The table of official sets: name, counts, where they come from, what reads them."""

from collections.abc import Mapping
from dataclasses import dataclass

from kintune.data.official.layout import LayoutReader
from kintune.data.official.sources import read_imagenet, read_inat2017, read_places365
from kintune.data.official.targets import (
    read_caltech256,
    read_cub200,
    read_fgvc_aircraft,
    read_flowers102,
    read_mit_indoor67,
    read_stanford_cars,
    read_stanford_dogs,
)

PREFIX = "paper:"
"""Before the name of a set, so that no folder is meant by it."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much a set holds."""

    classes: int
    train: int
    """Images, those that the validation split is drawn from among them."""
    test: int


@dataclass(frozen=True, kw_only=True)
class OfficialSet:
    """A set as the paper uses it."""

    title: str
    counts: Counts
    """Counts of the whole set: the paper's Table 1, but for the test images of Caltech-256, and
    ImageNet, which is not in that table."""
    page: str
    """Where its makers offer it."""
    files: str
    """Files to fetch there and to extract into one folder."""
    read: LayoutReader


OFFICIAL: Mapping[str, OfficialSet] = {
    "caltech256": OfficialSet(
        title="Caltech-256, 60 training images a class",
        counts=Counts(classes=256, train=15_360, test=14_420),
        page="https://data.caltech.edu/records/nyy15-4j048",
        files="256_ObjectCategories.tar",
        read=read_caltech256,
    ),
    "cub200": OfficialSet(
        title="Caltech-UCSD Birds-200-2011",
        counts=Counts(classes=200, train=5_994, test=5_794),
        page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        files="CUB_200_2011.tgz",
        read=read_cub200,
    ),
    "stanford-dogs": OfficialSet(
        title="Stanford Dogs",
        counts=Counts(classes=120, train=12_000, test=8_580),
        page="http://vision.stanford.edu/aditya86/ImageNetDogs/",
        files="images.tar and lists.tar",
        read=read_stanford_dogs,
    ),
    "stanford-cars": OfficialSet(
        title="Stanford Cars",
        counts=Counts(classes=196, train=8_144, test=8_041),
        page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        files=(
            "cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat "
            "(the page has been taken down; use a copy that you have)"
        ),
        read=read_stanford_cars,
    ),
    "fgvc-aircraft": OfficialSet(
        title="FGVC-Aircraft, by variant",
        counts=Counts(classes=100, train=6_667, test=3_333),
        page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        files="fgvc-aircraft-2013b.tar.gz",
        read=read_fgvc_aircraft,
    ),
    "flowers102": OfficialSet(
        title="Oxford 102 Flowers",
        counts=Counts(classes=102, train=2_040, test=6_149),
        page="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        files="102flowers.tgz, imagelabels.mat and setid.mat",
        read=read_flowers102,
    ),
    "mit-indoor67": OfficialSet(
        title="MIT Indoor-67",
        counts=Counts(classes=67, train=5_360, test=1_340),
        page="https://web.mit.edu/torralba/www/indoor.html",
        files="indoorCVPR_09.tar, TrainImages.txt and TestImages.txt",
        read=read_mit_indoor67,
    ),
    "imagenet": OfficialSet(
        title="ImageNet, ILSVRC 2012",
        counts=Counts(classes=1_000, train=1_281_167, test=50_000),
        page="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php",
        files=(
            "ILSVRC2012_img_train.tar (a folder train/ with one a synset), ILSVRC2012_img_val.tar "
            "(a folder val/) and, where val/ is flat, ILSVRC2012_devkit_t12.tar.gz"
        ),
        read=read_imagenet,
    ),
    "inat2017": OfficialSet(
        title="iNaturalist 2017",
        counts=Counts(classes=5_089, train=665_571, test=9_599),
        page="https://github.com/visipedia/inat_comp/tree/master/2017",
        files="train_val_images.tar.gz and train_val2017.zip",
        read=read_inat2017,
    ),
    "places365": OfficialSet(
        title="Places365-Standard, small images",
        counts=Counts(classes=365, train=1_803_460, test=36_500),
        page="http://places2.csail.mit.edu/download.html",
        files=(
            "train_256_places365standard.tar, val_256.tar and filelist_places365-standard.tar, or "
            "places365standard_easyformat.tar"
        ),
        read=read_places365,
    ),
}
"""Sets by the name that follows `paper:`. A new one is one entry here and its reader."""

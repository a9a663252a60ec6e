"""Two shades of gray that are easy to tell apart, as a study of one target with `pocket`."""

import numpy as np
import pytest
from PIL import Image

from kintune.experiment import RunArchive
from kintune.experiments.baselines import rate_range
from kintune.experiments.baselines.records import BaselineArchive
from kintune.experiments.baselines.work import Archives
from kintune.experiments.reference_study import PlannedRun, Point, study_config
from kintune.experiments.study_context import StudyContext
from kintune.experiments.study_sources import SOURCES, Source, network_file

TARGET = "grays"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 3)):
        for label, level in (("dark", 40), ("light", 200)):
            (folder / TARGET / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(rng.normal(level, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / TARGET / split / label / f"{index}.png")
    return folder


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """The study is two epochs of one step on the gray set, a range test 14 steps."""
    for name, source in SOURCES.items():
        targets = (TARGET,) if name == "pocket" else ()
        tiny = Source(source.network, 32, {"long": 2, "short": 1, "whole": 1}, (-4,), targets)
        monkeypatch.setitem(SOURCES, name, tiny)
    monkeypatch.setattr(rate_range, "STEPS", 14)


@pytest.fixture
def context(tmp_path, data):
    return StudyContext(tmp_path / "runs", data)


@pytest.fixture
def archives(tmp_path):
    return Archives(RunArchive(tmp_path / "study"), BaselineArchive(tmp_path / "baselines"))


@pytest.fixture
def start(context):
    """Network, images and configuration of the study's long run at the usual rate."""
    backbone = context.backbone(network_file("pocket"))
    dataset = context.dataset(TARGET, backbone)
    usual = PlannedRun("pocket", TARGET, "long", "curve", Point(-4))
    return backbone, dataset, study_config(usual, backbone, dataset)

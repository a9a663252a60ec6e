"""The page: what is on it, what it must never hold, and how it fares with parts missing."""

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kintune.base.errors import OptionError
from kintune.report import write_report

DIVERGED = "aaaa00000004"
EVIL = "<script>alert(1)</script> \"quoted' & <b>bold"


class Page(HTMLParser):
    """Visible text, addresses that are loaded, descriptions and tag names of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.descriptions = ""
        self._hidden = 0
        self.feed(source)
        self.text = " ".join(" ".join(self.texts).replace("\u202f", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden += tag in ("style", "script")
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                self.addresses.append(value or "")
            if name in ("alt", "title"):
                self.descriptions += value or ""

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)


def page_of(folder: Path) -> Page:
    path = write_report(folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_summary_comes_first(make_tune):
    text = page_of(make_tune()).text
    opening = text[: text.index("Recommendation")]
    assert "pocket on wardrobe" in opening
    assert "The selected run of 4 is wrong on 20.0 % of the test images" in opening
    assert "Selected effective learning rate 0.05" in opening
    assert "kintune tune photos --model pocket --runs 4" in opening
    assert "recommended 14.0 % at 0.05; usual default 19.0 % at 0.1" in opening


def test_recommendation_has_range_reasons_and_doubts(make_tune):
    text = page_of(make_tune()).text
    assert "0.008 to 0.12" in text
    assert "Schedule cosine Augmentation crop" in text
    assert "Medium confidence. Intervals made in this way hold 55 % of the errors" in text
    assert "The target lies far from the source." in text
    assert "The references were trained for longer." in text
    assert "BN momentum : as the network has it." in text
    assert "cars ImageNet – 0.1 – 80 % [1] [1] table 4" in text


def test_similarity_names_nearest_classes_and_shows_the_target(make_tune):
    page = page_of(make_tune())
    assert "0.58 to 0.66" in page.text
    assert "Source prototypes from the head's rows." in page.text
    assert "pocket@32px-0123456789ab" in page.text
    assert "coat 25.0 % of the images source of coat 0.1" in page.text
    assert "Earth mover" not in page.text  # it is null: prototypes from the head have no scale


def test_distances_are_shown_where_they_have_a_scale(make_tune):
    folder = make_tune()
    edit(folder / "similarity.json", lambda it: it.update(distance=7.5, similarity=0.928))
    text = page_of(folder).text
    assert "Earth mover's distance 7.5" in text
    assert "Similarity, γ = 0.01 0.928" in text


def test_every_run_has_a_row_with_its_reason(make_tune):
    text = page_of(make_tune()).text
    assert "aaaa00000002 selected recommended 14.0 % 0.05 0.005 0.9 0.0001 32 6" in text
    assert "aaaa00000003 usual default 19.0 %" in text
    assert "aaaa00000004 – 10 1" in text
    assert "diverged loss is not finite" in text


def test_settings_are_named_where_they_differ(make_tune):
    folder = make_tune()
    alike = page_of(folder).text
    assert "Settings" not in alike
    assert "momentum 0.9, statistics of each batch" in alike
    assert "recommended random_resized_crop augmentation" not in alike

    def change(summary: dict[str, Any]) -> None:
        for run in summary["runs"]:
            run["proposed_because"] = "to begin with"
            run["hyperparameters"]["augmentation"] = "flip"
        summary["runs"][1]["hyperparameters"]["augmentation"] = "random_resized_crop"

    edit(folder / "summary.json", change)
    page = page_of(folder)
    assert "Settings" in page.text
    assert "recommended random_resized_crop augmentation" in page.text
    assert "momentum 0.9, statistics of each batch, random_resized_crop augmentation" in page.text
    assert "usual default, flip augmentation" in page.text


def test_runs_that_the_summary_does_not_name_are_left_out(make_tune):
    folder = make_tune()
    edit(
        folder / "summary.json",
        lambda it: it.update(runs=[run for run in it["runs"] if run["id"] != DIVERGED]),
    )
    text = page_of(folder).text
    assert "The selected run of 3" in text
    assert DIVERGED not in text
    assert "Crosses: runs that diverged" not in text


def test_mistakes_are_counted_and_pictured(make_tune):
    page = page_of(make_tune())
    assert "40 images of the test split: 20.0 % wrong" in page.text
    assert "Most often confused" in page.text
    pictures = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    assert len(pictures) == 12 + 8 + 4 * 3  # right, wrong, three of each target class
    image = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert image.size == (112, 112)


def test_data_facts(make_tune):
    text = page_of(make_tune()).text
    assert "Training images 160 Validation images 40 Test images 40 Classes 4" in text
    assert "1 file skipped, would not load /photos/torn.jpg truncated" in text
    assert "validation: 20 % of train drawn, stratified, seed 0" in text
    assert "device cpu torch 2.15.0 python 3.11.7" in text


def test_same_folder_gives_the_same_page(make_tune):
    folder = make_tune()
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_hundred_classes_stay_small_and_ask_for_nothing(make_tune):
    classes = tuple(f"class {index:03d}" for index in range(100))
    folder = make_tune(classes, images=300)
    page = page_of(folder)
    assert (folder / "report.html").stat().st_size < 5_000_000
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert "92 more classes" in page.text
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", source)


@pytest.mark.parametrize("name", [EVIL, "a|b", "{{ 7 * 7 }}", "ünïcode 猫"])
def test_names_are_text_and_never_markup(make_tune, name):
    folder = make_tune(("coat", name), images=10)
    edit(folder / "summary.json", lambda it: it.update(command=name, labels={DIVERGED: name}))
    edit(folder / "summary.json", lambda it: it["facts"]["data"].update(name=name))
    edit(folder / "recommendation.json", lambda it: it["warnings"].append(name))
    page = page_of(folder)
    assert page.tags.count("script") == 1
    assert f"pocket on {name}" in page.text
    assert f"were trained for longer. {name}" in page.text
    assert f"{DIVERGED} {name} –" in page.text
    assert f"taken for {name}" in page.descriptions


def test_control_characters_in_names_are_escapes(make_tune):
    folder = make_tune(("coat", "a\x1b[31m\x9b\u202e"), images=10)
    source = write_report(folder).read_text(encoding="utf-8")
    assert not set(source) & set("\x1b\x9b\u202e")
    assert r"a\x1b[31m\x9b\u202e" in source


def test_gone_images_are_left_out_and_said(make_tune):
    folder = make_tune()
    for path in (folder / "photos").glob("*.jpg"):
        path.unlink()
    page = page_of(folder)
    assert not [address for address in page.addresses if address.startswith("data:image/jpeg")]
    assert "40 images could not be opened any more and are not shown" in page.text


def test_search_that_is_still_going(make_tune):
    folder = make_tune()
    for name in ("summary.json", "evaluation.json"):
        (folder / name).unlink()
    (folder / "runs/aaaa00000003/result.json").unlink()
    metrics = folder / "runs/aaaa00000003/metrics.csv"
    metrics.write_text(metrics.read_text()[:-12])  # killed while writing a line
    text = page_of(folder).text
    assert "The best run so far is wrong on 14.0 % of the validation images" in text
    assert "aaaa00000003 – 0.1 0.01 0.9 0.0001 32 6 – unfinished" in text
    assert "Mistakes" not in text


def test_recommendation_alone(make_tune, tmp_path):
    folder = make_tune()
    alone = tmp_path / "recommended"
    alone.mkdir()
    (folder / "recommendation.json").rename(alone / "recommendation.json")
    text = page_of(alone).text
    assert "nothing has been trained yet" in text
    assert "0.008 to 0.12" in text


def test_without_similarity_and_test_split(make_tune):
    folder = make_tune()
    (folder / "similarity.json").unlink()
    edit(folder / "summary.json", lambda it: it["best"].update(test_top1_error=None))
    edit(folder / "evaluation.json", lambda it: it.update(split="val"))
    text = page_of(folder).text
    assert "wrong on 14.0 % of the validation images" in text
    assert "the data has no test split" in text
    assert "Similarity to the source" not in text


def test_all_runs_diverged(make_tune):
    folder = make_tune()
    for path in folder.glob("runs/*/result.json"):
        lost = {"validation_top1_error": None, "status": "diverged", "reason": "loss is not finite"}
        edit(path, lambda it, lost=lost: it.update(lost))
    edit(
        folder / "summary.json", lambda it: it.update(runs=[], best=None, status="no run completed")
    )
    (folder / "evaluation.json").unlink()
    text = page_of(folder).text
    assert "No run reached the end of its training" in text
    assert "Crosses: runs that diverged" in text


def test_single_run(run_folder):
    text = page_of(run_folder).text
    assert "The run is wrong on 20.0 % of the test images" in text
    assert "Training curves" in text
    assert "Recommendation" not in text


def test_foreign_folder_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"holds no output of Kintune.*--output"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("evaluation.json", "labels", [0]),
        ("evaluation.json", "predictions", [9] * 40),
        ("recommendation.json", "reference_coverage", 3),
        ("recommendation.json", "confidence", "very high"),
    ],
)
def test_file_that_cannot_be_shown_is_named(make_tune, name, key, value):
    folder = make_tune()
    edit(folder / name, lambda it: it.update({key: value}))
    with pytest.raises(OptionError, match=name):
        write_report(folder)


def test_diverged_values_leave_the_curves_readable(make_tune):
    folder = make_tune()
    with (folder / "runs/aaaa00000004/metrics.csv").open() as stream:
        assert any(row["validation_top1_error"] == "nan" for row in csv.DictReader(stream))
    source = write_report(folder).read_text(encoding="utf-8")
    lines = re.findall(r'<polyline points="([^"]*)"', source)
    assert len(lines) == 4 + 3  # losses, errors
    assert all(re.fullmatch(r"[\d., -]+", line) for line in lines)
    assert "10 ↑" in Page(source).text


def test_an_image_without_a_confidence_is_shown_last(run_folder: Path):
    path = run_folder / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["confidences"][0] = None
    path.write_text(json.dumps(evaluation))
    assert "report.html" in str(write_report(run_folder))


def test_the_distance_is_explained_class_by_class(make_tune):
    folder = make_tune()
    text = page_of(folder).text
    assert "Class distance (part of it) 0.5" in text
    assert "Half the domain shift (the rest) 0.12" in text
    assert "95 % of the source's own classes are from their neighbors: shoe" in text
    assert "Transported from" not in text  # a head gives no plan

    def add_plan(measured):
        flow = {"target_class": "coat", "source_class": "wolf", "share": 0.2, "cost": 7.5}
        measured["transport"] = [flow]

    edit(folder / "similarity.json", add_plan)
    text = page_of(folder).text
    assert "Transported from" in text
    assert "wolf 80 % at 7.5" in text  # of the class's own quarter

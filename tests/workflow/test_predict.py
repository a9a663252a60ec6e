import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintune.backbones import BackboneOverrides, load_backbone, with_new_head
from kintune.base.errors import DataError, ModelError
from kintune.cli import main
from kintune.training import load_model_folder, write_model_folder
from kintune.workflow.predict import BATCH_SIZE, predict

CLASSES = ("cat", "dog", "eel")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    backbone = load_backbone("pocket", overrides=BackboneOverrides(image_size=16), pretrained=False)
    network = with_new_head(backbone, 3, seed=0)
    write_model_folder(folder, network, backbone, CLASSES)
    return folder


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """Three noisy images: square, wide and gray."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, shape) for shape in ((16, 16, 3), (20, 50, 3), (16, 16))]
    paths = [tmp_path / f"{index}.png" for index in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array.astype(np.uint8)).save(path)
    return paths


def test_equals_the_network_on_the_image(model_folder, images):
    model = load_model_folder(model_folder)
    pixels = torch.from_numpy(np.asarray(Image.open(images[0])).copy()).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.input.mean, model.input.std))
    expected = model.network(((pixels - mean) / std)[None]).softmax(1)[0]

    prediction = predict(model_folder, images[:1]).predictions[0]

    assert prediction.path == str(images[0])
    assert prediction.label == CLASSES[int(expected.argmax())]
    assert prediction.confidence == pytest.approx(expected.max().item(), rel=1e-5)
    assert dict(prediction.top) == pytest.approx(
        dict(zip(CLASSES, expected.tolist(), strict=True)), rel=1e-5
    )


def test_keeps_the_order_of_the_files_over_batches(model_folder, images):
    files = [images[0], images[1], images[2]] * (BATCH_SIZE // 3 + 1)
    assert len(files) > BATCH_SIZE

    predictions = predict(model_folder, files, top=1).predictions

    assert [each.path for each in predictions] == [str(file) for file in files]
    confidences = [each.confidence for each in predictions[:3]]
    assert [each.confidence for each in predictions[-3:]] == pytest.approx(confidences, rel=1e-5)
    assert len(set(confidences)) == 3


def test_names_at_most_the_classes_asked_for_best_first(model_folder, images):
    top = predict(model_folder, images, top=2).predictions[0].top

    assert len(top) == 2
    assert top[0][1] >= top[1][1]


def test_classifies_the_others_where_some_do_not_load(model_folder, images, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    os.mkfifo(tmp_path / "fifo.png")
    bad = [text, tmp_path / "missing.png", tmp_path / "fifo.png", tmp_path / "*.gif"]

    found = predict(model_folder, [bad[0], *images, *bad[1:]])

    assert [each.path for each in found.predictions] == [str(path) for path in images]
    assert {each.path for each in found.unreadable} == {str(path) for path in bad}
    reasons = {Path(each.path).name: each.reason for each in found.unreadable}
    assert reasons["missing.png"] == "no such file"
    assert reasons["*.gif"] == "no file matches this pattern"


def test_takes_folders_and_patterns(model_folder, images, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    expected = [str(path) for path in images]

    for given in (tmp_path, tmp_path / "*.png", tmp_path / "[012].png"):
        found = predict(model_folder, [given])
        assert [each.path for each in found.predictions] == expected
        assert not found.unreadable


def test_a_folder_is_read_as_a_data_set_is_and_what_is_left_out_is_said(
    model_folder, images, tmp_path, capsys
):
    folder = tmp_path / "folder"
    (folder / "test").mkdir(parents=True)
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    for image in images[:2]:
        image.rename(tmp_path / "elsewhere" / image.name)
    images[2].rename(folder / "test/2.png")
    (folder / "lost").symlink_to(tmp_path / "missing")
    os.mkfifo(folder / "fifo.png")
    (folder / "photo.heic").touch()

    found = predict(model_folder, [folder])

    names = [Path(each.path).relative_to(folder).as_posix() for each in found.predictions]
    assert names == ["test/2.png", "train/0.png", "train/1.png"]
    assert {Path(each.path).name for each in found.unreadable} == {"lost", "fifo.png"}
    assert ".heic" in capsys.readouterr().err


def test_without_any_image_all_that_was_tried_is_listed(model_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")

    with pytest.raises(DataError) as refused:
        predict(model_folder, [tmp_path / "empty", tmp_path / "text.jpg"])

    assert f"{tmp_path / 'empty'}: no images in this folder" in str(refused.value)
    assert str(tmp_path / "text.jpg") in str(refused.value)


def test_the_command_prints_the_good_ones_and_fails_for_the_bad(
    model_folder, images, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(model_folder), str(images[0]), str(tmp_path / "missing.png")])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{images[0]}\t")
    assert f"{tmp_path / 'missing.png'}: no such file" in printed.err


def test_the_command_wants_images(model_folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(model_folder)])
    assert ended.value.code != 0
    assert "IMAGES" in capsys.readouterr().err


def test_a_folder_without_a_model_is_refused(images, tmp_path):
    with pytest.raises(ModelError, match="not a model folder"):
        predict(tmp_path, images)

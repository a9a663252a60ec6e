from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintune.backbones import BackboneOverrides, load_backbone, with_new_head
from kintune.errors import DataError, ModelError
from kintune.predict import BATCH_SIZE, predict
from kintune.training import load_model_folder, write_model_folder

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
    """Three noisy images: square, wide and grey."""
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


def test_lists_every_file_that_does_not_load(model_folder, images, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    missing = tmp_path / "missing.png"

    with pytest.raises(DataError) as refused:
        predict(model_folder, [text, *images, missing])

    assert "2 of 5 files" in str(refused.value)
    assert str(text) in str(refused.value)
    assert str(missing) in str(refused.value)
    assert str(images[0]) not in str(refused.value)


def test_a_folder_without_a_model_is_refused(images, tmp_path):
    with pytest.raises(ModelError, match="not a model folder"):
        predict(tmp_path, images)

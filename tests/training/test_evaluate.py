import numpy as np
import pytest
import torch
from torch import nn

from kintune.training import evaluate
from kintune.training.evaluate import average_class_error


class Brightest(nn.Module):
    """Says red, green or blue, whichever channel is brightest; class 2 where it is told to."""

    def __init__(self, always: int | None = None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.always = always

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.norm(x)
        logits = x.mean(dim=(2, 3)).flip(1) * 20  # classes are blue, green, red
        if self.always is not None:
            logits[:, self.always] = 100.0
        return logits


def test_a_network_that_knows_makes_no_error(dataset, backbone):
    evaluation = evaluate(Brightest(), dataset, "val", backbone.input)

    assert evaluation.top1_error == 0
    assert evaluation.average_class_error == 0
    assert evaluation.predictions.tolist() == dataset.labels_of("val").tolist()
    assert evaluation.predictions.dtype == np.int64
    assert evaluation.confidences.dtype == np.float32
    assert evaluation.confidences.min() > 0.5
    np.testing.assert_array_equal(evaluation.indices, dataset.splits["val"])


def test_a_network_that_always_says_one_class(dataset, backbone):
    evaluation = evaluate(Brightest(always=2), dataset, "train", backbone.input)

    assert evaluation.top1_error == pytest.approx(2 / 3)
    assert evaluation.average_class_error == pytest.approx(2 / 3)
    assert evaluation.loss > 10


def test_modes_and_batch_statistics_are_put_back(dataset, backbone):
    network = Brightest().train()

    evaluate(network, dataset, "val", backbone.input)

    assert network.training
    assert network.norm.training
    assert network.norm.num_batches_tracked == 0


def test_average_class_error_weighs_classes_not_images():
    labels = np.array([0, 0, 0, 0, 3, 3])
    wrong = np.array([False, False, False, False, True, False])

    assert average_class_error(wrong, labels) == 0.25


def test_an_empty_split_is_refused(dataset, backbone):
    with pytest.raises(ValueError, match="test split"):
        evaluate(Brightest(), dataset, "test", backbone.input)

"""Who is taken for whom: the confusion matrix as a table, as a picture, and its worst entries."""

import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from PIL import Image

from kintune.report.images import data_uri
from kintune.report.parts import Evaluation

TABLE_CLASSES = 24
"""More classes than this are drawn as a picture, a pixel a cell."""
_RIGHT, _WRONG = (37, 110, 190), (214, 90, 20)

ConfusionMatrix = Int64[np.ndarray, "k k"]


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Share of the images of the true class."""


@dataclass(frozen=True)
class ClassScore:
    """How one class fared."""

    name: str
    images: int
    errors: int

    @property
    def error(self) -> float:
        """Share of the class's images that were taken for another."""
        return self.errors / self.images


def confusion_matrix(evaluation: Evaluation) -> ConfusionMatrix:
    """Counts, int64 (k, k): row the true class, column the predicted one."""
    size = len(evaluation.classes)
    matrix = np.zeros((size, size), dtype=np.int64)
    np.add.at(matrix, (list(evaluation.labels), list(evaluation.predictions)), 1)
    return matrix


def confused_pairs(evaluation: Evaluation, limit: int) -> list[ConfusedPair]:
    """The most frequent mistakes, most frequent first."""
    images = Counter(evaluation.labels)
    pairs = zip(evaluation.labels, evaluation.predictions, strict=True)
    mistakes = Counter((true, predicted) for true, predicted in pairs if true != predicted)
    names = evaluation.classes
    return [
        ConfusedPair(names[true], names[predicted], count, count / images[true])
        for (true, predicted), count in mistakes.most_common(limit)
    ]


def class_scores(evaluation: Evaluation) -> list[ClassScore]:
    """Every class that has images, the worst first."""
    matrix = confusion_matrix(evaluation)
    scores = [
        ClassScore(name, int(row.sum()), int(row.sum() - row[index]))
        for index, (name, row) in enumerate(zip(evaluation.classes, matrix, strict=True))
        if row.sum()
    ]
    return sorted(scores, key=lambda score: (-score.error, -score.images, score.name))


def shares_of_rows(matrix: ConfusionMatrix) -> np.ndarray:
    """Each count over its row's sum, float64 (k, k); an empty row stays zero."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def confusion_picture(matrix: ConfusionMatrix) -> str:
    """The matrix as a data URI of a PNG, a pixel a cell.

    Blue where right, orange where wrong, clear where empty: it lies on a light page as on a dark.
    """
    shares = shares_of_rows(matrix)
    pixels = np.zeros((*matrix.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(np.eye(len(matrix), dtype=bool)[..., None], _RIGHT, _WRONG)
    pixels[..., 3] = np.where(matrix > 0, np.round(120 + 135 * np.sqrt(shares)), 0)
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "PNG", optimize=True)
    return data_uri(stream.getvalue(), "image/png")

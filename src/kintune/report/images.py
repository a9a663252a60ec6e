"""Sample images as small thumbnails inside the page."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from PIL import Image, ImageOps

from kintune.data.decode import ImageScale, decode_file
from kintune.report.parts import Evaluation

_SIDE = 112
_QUALITY = 78


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image with what the winner made of it."""

    image: str
    true: str
    predicted: str
    confidence: float | None


@dataclass(frozen=True)
class Gallery:
    """Thumbnails of evaluated images; the files that could not be shown gather in `missing`."""

    evaluation: Evaluation
    missing: set[str] = field(default_factory=set[str])

    def right(self, limit: int) -> list[Sample]:
        """The most confident right predictions, each class in turn."""
        labels, turns = self.evaluation.labels, Counter[int]()
        order: list[tuple[int, int]] = []
        for rank, index in enumerate(i for i in self._by_confidence() if self._is_right(i)):
            order.append((turns[labels[index]] * len(labels) + rank, index))
            turns[labels[index]] += 1
        return self._samples((index for _, index in sorted(order)), limit)

    def wrong(self, limit: int) -> list[Sample]:
        """The mistakes, the most confident first."""
        return self._samples((i for i in self._by_confidence() if not self._is_right(i)), limit)

    def of_class(self, name: str, limit: int) -> list[str]:
        """Images of one class, as data URIs."""
        names = self.evaluation.classes
        indices = (i for i, label in enumerate(self.evaluation.labels) if names[label] == name)
        return [image for _, image in islice(self._shown(indices), limit)]

    def _by_confidence(self) -> list[int]:
        confidences = self.evaluation.confidences
        return sorted(range(len(confidences)), key=lambda index: -(confidences[index] or 0.0))

    def _is_right(self, index: int) -> bool:
        return self.evaluation.labels[index] == self.evaluation.predictions[index]

    def _samples(self, order: Iterable[int], limit: int) -> list[Sample]:
        evaluation, names = self.evaluation, self.evaluation.classes
        return [
            Sample(
                image=image,
                true=names[evaluation.labels[index]],
                predicted=names[evaluation.predictions[index]],
                confidence=evaluation.confidences[index],
            )
            for index, image in islice(self._shown(order), limit)
        ]

    def _shown(self, order: Iterable[int]) -> Iterator[tuple[int, str]]:
        for index in order:
            path = self.evaluation.paths[index]
            thumbnail = _square_jpeg(path)
            if thumbnail is None:
                self.missing.add(path)
            else:
                yield index, data_uri(thumbnail, "image/jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _square_jpeg(path: str) -> bytes | None:
    pixels = decode_file(path, ImageScale(_SIDE, "bicubic")).pixels
    if pixels is None:
        return None
    stream = io.BytesIO()
    square = ImageOps.fit(Image.fromarray(pixels), (_SIDE, _SIDE))
    square.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()

"""Where architectures come from. Names are those behind the loader's prefix."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn
from typing_extensions import override

from kintune.backbones.facts import WeightsFacts
from kintune.backbones.pocket import POCKET_CLASSES, POCKET_IMAGE_SIZE, PocketNet
from kintune.base.errors import ModelError


class Loader(ABC):
    """One place that architectures come from."""

    label: str
    """How the place is called in messages."""
    prefix: str = ""
    """Prefix of the name of an architecture in `--model`."""

    @abstractmethod
    def names(self) -> list[str]:
        """Every name that it knows."""

    @abstractmethod
    def build(self, name: str, model_kwargs: dict[str, Any], num_classes: int | None) -> nn.Module:
        """The network with random weights; `num_classes` None takes the architecture's default.

        Raises:
            TypeError: an argument that the architecture does not take.
        """

    @abstractmethod
    def pretrained(
        self, name: str, model_kwargs: dict[str, Any], revision: str | None
    ) -> nn.Module:
        """The network with its published weights, of a commit of their repository; None takes the
        newest.

        Raises:
            ModelError: there are none, or they are not available.
            TypeError: an argument that the architecture does not take.
        """

    def origin(self, name: str, revision: str | None) -> str:  # noqa: ARG002 - for those that know
        """Where the published weights on this machine are from, exactly; empty where not known."""
        return ""

    @abstractmethod
    def defaults(self, name: str) -> WeightsFacts:
        """Facts about the published weights; the input is always among it."""


class PocketLoader(Loader):
    """The embedded network; its published weights are a local file, of this package."""

    label = "kintune"

    @override
    def names(self) -> list[str]:
        return ["pocket"]

    @override
    def build(self, name: str, model_kwargs: dict[str, Any], num_classes: int | None) -> nn.Module:
        return PocketNet(num_classes or POCKET_CLASSES, **model_kwargs)

    @override
    def pretrained(
        self, name: str, model_kwargs: dict[str, Any], revision: str | None
    ) -> nn.Module:
        raise ModelError(f"{name}: its weights come with the package, as a file.")

    @override
    def defaults(self, name: str) -> WeightsFacts:
        return WeightsFacts(
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            input_size=(3, POCKET_IMAGE_SIZE, POCKET_IMAGE_SIZE),
            crop_pct=1.0,
            interpolation="bilinear",
        )

"""How a worker finds the network and the images again, in another process or on another machine."""

from pathlib import Path

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.base.records import Record
from kintune.data import ImageDataset, limit_decoding, load_dataset
from kintune.runs import defaults


class TaskSource(Record):
    """The arguments of `load_backbone` and `load_dataset`, as one record."""

    model: str
    weights: Path | None = None
    overrides: BackboneOverrides = BackboneOverrides()
    pretrained: bool = True
    data: str
    skip_unreadable: bool = False
    decode_memory: float = defaults.DECODE_GIGABYTES
    val_fraction: float = 0.2
    seed: int = 0

    def load_backbone(self) -> Backbone:
        """The network.

        Raises:
            ModelError, OptionError: see `kintune.backbones.load_backbone`.
        """
        return load_backbone(
            self.model,
            weights=self.weights,
            overrides=self.overrides,
            pretrained=self.pretrained,
        )

    def load_dataset(self, backbone: Backbone) -> ImageDataset:
        """The images at the network's size; decoded ones come from the cache.

        Raises:
            DataError, OptionError: see `kintune.data.load_dataset`.
        """
        limit_decoding(gigabytes=self.decode_memory)
        return load_dataset(
            self.data,
            backbone.input,
            skip_unreadable=self.skip_unreadable,
            val_fraction=self.val_fraction,
            seed=self.seed,
        )

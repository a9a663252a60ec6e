"""Prototypes of a source domain that nobody has images of: from the network's own head."""

import numpy as np

from kintune.backbones import Backbone, head_rows, mean_feature
from kintune.base.errors import ModelError
from kintune.similarity.prototypes.prototypes import Prototypes


def head_prototypes(backbone: Backbone) -> Prototypes:
    """Prototypes of the source domain without its images.

    A linear head trained on balanced classes points, for each class, from the mean of all features
    towards the class's: its row minus the mean row is the direction. The mean of all features comes
    from the last normalization (`mean_feature`). The length of a direction is a convention, so
    only angles of these prototypes mean something.

    Raises:
        ModelError: no head was loaded, or the construction does not hold for this network.
    """
    if backbone.num_source_classes is None:
        raise ModelError(
            f"{backbone.name}: no source head was loaded, so it does not know its source classes. "
            "Pass --source with a folder of source images or a prototype file."
        )
    mean = mean_feature(backbone)
    rows = head_rows(backbone.network, backbone.head_name).double().numpy()
    center = None if mean.values is None else mean.values.numpy()
    directions = rows - rows.mean(axis=0)
    means = directions if center is None else center + directions
    count = len(means)
    return Prototypes(
        means=means.astype(np.float32),
        weights=np.full(count, 1 / count),
        counts=None,
        classes=backbone.source_labels,
        center=None if center is None else center.astype(np.float32),
        extractor=backbone.extractor,
        origin="head",
        domain=backbone.domain,
        notes=(f"Source prototypes from the head's rows; {mean.note}.",),
    )

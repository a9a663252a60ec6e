"""fastai's `fine_tune`, run by the library itself, on its own crops, head and augmentation."""

import copy
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch.nn.functional as F
from fastai.vision import all as fastai  # pyright: ignore[reportMissingImports]
from fastai.vision.learner import add_head, default_split  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from studies.head_to_head.plain_loop import Outcome, Task

FINDER_STEPS = 100
"""Default number of steps of `lr_find`."""


class Body(nn.Module):
    """The network up to its last feature map, as `vision_learner` cuts it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Maps (n, 3, h, w) to (n, features, h', w')."""
        if hasattr(self.network, "forward_features"):
            return self.network.forward_features(images)
        return F.relu(self.network.norm(self.network.stages(self.network.stem(images))))  # pocket


def fine_tuned(task: Task, *, with_finder: bool) -> Outcome:
    """As fastai's tutorials do: images resized and cropped, `aug_transforms`, `fine_tune` with its
    defaults (one frozen epoch, then all layers at discriminative rates), with `with_finder` at the
    rate that `lr_find` suggests. As many epochs as there are steps for.
    """
    fastai.set_seed(task.seed)
    dataset, spec, backbone = task.whole, task.backbone.input, task.backbone
    train, test = dataset.splits["train"], dataset.splits["test"]
    labels = dict(zip(dataset.paths, dataset.labels.tolist(), strict=True))
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.CategoryBlock(vocab=range(len(dataset.classes)))),
        get_y=lambda path: labels[path],
        # Nothing is chosen on validation images; the first ones stand where fastai wants some.
        splitter=lambda items: (list(range(len(items))), [0]),
        item_tfms=fastai.Resize(spec.image_size),
        batch_tfms=[*fastai.aug_transforms(), fastai.Normalize.from_stats(spec.mean, spec.std)],
    )
    files = [dataset.paths[i] for i in train]
    loaders = block.dataloaders(files, bs=task.batch_size, num_workers=0)
    body = Body(copy.deepcopy(backbone.network))
    model = add_head(body, backbone.num_features, len(dataset.classes))
    with TemporaryDirectory() as folder:
        learner = fastai.Learner(
            loaders, model, splitter=default_split, path=Path(folder), metrics=[]
        )
        learner.freeze()
        steps, arguments = 0, {}
        with learner.no_bar(), learner.no_logging():
            if with_finder:
                found = learner.lr_find(num_it=FINDER_STEPS, show_plot=False)
                steps, arguments = len(learner.recorder.lrs), {"base_lr": found.valley}
            epochs = max(1, math.floor((task.steps - steps) / len(loaders.train)) - 1)
            learner.fine_tune(epochs, **arguments)
            logits, _ = learner.get_preds(
                dl=loaders.test_dl([dataset.paths[i] for i in test]), reorder=True
            )
    wrong = logits.argmax(1).numpy() != dataset.labels[test]
    steps += (epochs + 1) * len(loaders.train)
    return Outcome(float(wrong.mean()), steps, {"epochs": epochs, **arguments})

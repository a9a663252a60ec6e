"""`pocket`: the embedded network, small enough to ship and to fine-tune in seconds on a CPU.

A pre-activation residual network (He et al. 2016, "Identity mappings in deep residual networks",
arXiv:1603.05027): normalization, ReLU and global average pooling stand directly before the linear
head, as in the paper's ResNet-101-V2. Its weights, labels and class prototypes are made by
`scripts/train_pocket.py`; `pocket.md` beside them is the model card.
"""

import torch
import torch.nn.functional as F
from torch import nn

POCKET_WIDTHS = (16, 48, 96, 192)
POCKET_IMAGE_SIZE = 32
POCKET_CLASSES = 80


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after normalization and ReLU, around a shortcut.

    Maps (n, in_channels, h, w) to (n, out_channels, h / stride, w / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x))
        residual = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return self.shortcut(active) + residual


class PocketNet(nn.Module):
    """Four blocks, each after the first halving the resolution; 0.7 M parameters.

    Args:
        num_classes: rows of the linear head.

    Maps float32 images (n, 3, h, w), h and w at least 8, to logits (n, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, POCKET_WIDTHS[0], 3, padding=1, bias=False)
        widths = (POCKET_WIDTHS[0], *POCKET_WIDTHS)
        self.stages = nn.Sequential(
            *(
                PreActivationBlock(before, after, stride=1 if index == 0 else 2)
                for index, (before, after) in enumerate(zip(widths, POCKET_WIDTHS, strict=False))
            )
        )
        self.norm = nn.BatchNorm2d(POCKET_WIDTHS[-1])
        self.fc = nn.Linear(POCKET_WIDTHS[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stages(self.stem(x))))
        return self.fc(x.mean(dim=(2, 3)))

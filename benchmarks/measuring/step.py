"""Steps of MobileNetV2 on a batch in memory; as a script, the rate of one kind of them alone.

    python benchmarks/measuring/step.py {training,forward} IMAGES {kept,returned}

Freed memory is kept as `kintune` does, or left to the defaults.
"""

import os
import sys
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.base.processor import keep_large_blocks

SIZE = 96
STEPS = 4
WORKS = ("training", "forward")


class Step:
    """A network and a batch in one layout."""

    def __init__(self, layout: torch.memory_format, images: int = 32) -> None:
        network: nn.Module = timm.create_model("mobilenetv2_100", num_classes=10)
        self.network = network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True)
        self.images = torch.randn(images, 3, SIZE, SIZE).contiguous(memory_format=layout)
        self.labels = torch.randint(10, (images,))

    def rate(self, work: str, *, bfloat16: bool = False) -> float:
        """Images a second of training steps, or of forward passes in evaluation mode."""
        do: Callable[[], Tensor] = self._train if work == "training" else self._forward
        steps = 1 if bfloat16 else STEPS
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            began = time.perf_counter()
            for _ in range(steps):
                do()
        return steps * len(self.labels) / (time.perf_counter() - began)

    def _train(self) -> Tensor:
        self.network.train()
        loss = F.cross_entropy(self.network(self.images).float(), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @torch.inference_mode()
    def _forward(self) -> Tensor:
        return self.network.eval()(self.images)


def main() -> None:
    work, images, memory = sys.argv[1:]
    if memory == "kept":
        keep_large_blocks()
    torch.set_num_threads(os.cpu_count() or 1)
    step = Step(torch.channels_last, int(images))
    step.rate(work)
    print(step.rate(work))


if __name__ == "__main__":
    main()

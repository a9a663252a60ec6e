"""Steps of MobileNetV2 on a batch in memory; as a script, the rate of one kind of them alone."""

import os
import sys
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGES = 32
SIZE = 96
STEPS = 4
WORKS = ("training", "forward")


class Step:
    """A network and a batch in one layout."""

    def __init__(self, layout: torch.memory_format) -> None:
        network: nn.Module = timm.create_model("mobilenetv2_100", num_classes=10)
        self.network = network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True)
        self.images = torch.randn(IMAGES, 3, SIZE, SIZE).contiguous(memory_format=layout)
        self.labels = torch.randint(10, (IMAGES,))

    def rate(self, work: str, *, bfloat16: bool = False) -> float:
        """Images a second of training steps, or of forward passes in evaluation mode."""
        do: Callable[[], Tensor] = self._train if work == "training" else self._forward
        steps = 1 if bfloat16 else STEPS
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            began = time.perf_counter()
            for _ in range(steps):
                do()
        return steps * IMAGES / (time.perf_counter() - began)

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
    torch.set_num_threads(os.cpu_count() or 1)
    step = Step(torch.channels_last)
    step.rate(sys.argv[1])
    print(step.rate(sys.argv[1]))


if __name__ == "__main__":
    main()

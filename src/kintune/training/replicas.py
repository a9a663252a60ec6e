"""Copies of a network that train together, one a process and device, as torchrun starts them.

Each takes its share of every batch, the gradients are averaged (`DistributedDataParallel`), and the
weights stay the same everywhere. Batch statistics are each copy's own, as in the paper (32 images a
device, no SyncBN); those of the first are evaluated and saved. The first alone writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Replicas:
    """This process among those that train together."""

    rank: int
    """From 0."""
    count: int

    @property
    def is_first(self) -> bool:
        """Whether this one evaluates and writes."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network whose backward pass averages gradients over the replicas."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, forward_sync_buffers=False)

    def total(self, value: Tensor) -> Tensor:
        """Sum over the replicas, a new tensor; the same on all."""
        total = value.clone()
        if self.count > 1:
            torch.distributed.all_reduce(total)
        return total

    def largest(self, value: int, device: torch.device) -> int:
        """Largest of the replicas' values; the same answer on all."""
        if self.count == 1:
            return value
        found = torch.tensor(value, device=device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return int(found.item())

    def from_first(self, value: T) -> T:
        """The first one's value, a plain object, on all."""
        if self.count == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def joined_replicas() -> Iterator[Replicas]:
    """Join the process group that torchrun's environment describes; alone without one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    joins = count > 1 and not torch.distributed.is_initialized()
    if joins:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend)
    try:
        yield replicas()
    finally:
        if joins:
            torch.distributed.destroy_process_group()


def replicas() -> Replicas:
    """This process among those of the process group; alone where there is none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Replicas(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Replicas(rank=0, count=1)

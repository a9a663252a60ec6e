"""Regularizers: the R(θ) whose gradient stands in equation (2)."""

# pyright: reportPrivateImportUsage=false
# torch's own optimizers are written in these functions over lists, and there are no public ones.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from kintune.runs.hyperparameters import Hyperparameters


class Regularizer(Protocol):
    """A penalty R on the parameters. Training needs its gradient, a record of training its value.

    A new one is a class here and a case in `regularizer_for`.
    """

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """R at the parameters' present values, a float64 scalar."""
        ...

    def gradients(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """∇R at the parameters' present values, new tensors in their shapes and order."""
        ...


@dataclass(frozen=True)
class L2:
    """R(θ) = λ1/2 |θ'|² + λ2/2 |θ''|², section 3; zero at the origin.

    θ'' is the new part and θ' the rest; without a new part this is λ/2 |θ|².
    """

    coefficient: float
    """λ1"""
    new: float = 0.0
    """λ2"""
    new_part: frozenset[Tensor] = frozenset()
    """The parameters of θ''."""

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """See `Regularizer.value`."""
        return _half_weighted_squares(parameters, self._coefficients(parameters))

    def gradients(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """See `Regularizer.gradients`."""
        return torch._foreach_mul(list(parameters), self._coefficients(parameters))

    def _coefficients(self, parameters: Sequence[Tensor]) -> list[float]:
        return [self.new if p in self.new_part else self.coefficient for p in parameters]


@dataclass(frozen=True)
class L2SP:
    """R(θ) = α/2 |θ' - θ'₀|² + β/2 |θ''|², Li et al., "Explicit inductive bias for transfer
    learning with convolutional networks", ICML 2018; section 3.4 prints it without the halves.

    θ' is the part shared with the source network and θ'₀ its starting weights; θ'' is the rest.
    """

    shared: float
    """α"""
    new: float
    """β"""
    start: Mapping[Tensor, Tensor]
    """θ'₀ of every parameter of the shared part."""

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """See `Regularizer.value`."""
        return _half_weighted_squares(self._offsets(parameters), self._coefficients(parameters))

    def gradients(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """See `Regularizer.gradients`."""
        return torch._foreach_mul(self._offsets(parameters), self._coefficients(parameters))

    def _offsets(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        starts = [self.start.get(parameter) for parameter in parameters]
        pairs = zip(parameters, starts, strict=True)
        return [p if start is None else p - start for p, start in pairs]

    def _coefficients(self, parameters: Sequence[Tensor]) -> list[float]:
        return [self.shared if p in self.start else self.new for p in parameters]


def regularizer_for(
    settings: Hyperparameters, network: nn.Module, head_name: str
) -> Regularizer | None:
    """The regularizer of a fine-tuning that starts from the network's present weights."""
    named = list(network.named_parameters())
    head = frozenset(p for name, p in named if name.startswith(f"{head_name}."))
    new = settings.new_part_coefficient
    match settings.regularizer:
        case "none":
            return None
        case "l2":
            return L2(settings.weight_decay, new, head)
        case "l2-sp":
            start: dict[Tensor, Tensor] = {
                p: p.detach().clone() for _, p in named if p not in head and p.requires_grad
            }
            return L2SP(shared=settings.weight_decay, new=new, start=start)


def _half_weighted_squares(tensors: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    squared = torch.stack([t.detach().double().square().sum() for t in tensors])
    return squared @ squared.new_tensor(coefficients) / 2

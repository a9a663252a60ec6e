"""What the weights are pulled towards: the R(θ) whose gradient stands in equation (2)."""

# pyright: reportPrivateImportUsage=false
# torch's own optimisers are written in these functions over lists, and there are no public ones.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from kintune.hyperparameters import RegularizerName

NEW_PART_DECAY = 0.01
"""β of L2-SP for the new head: the constant of Li et al. (2018), kept in appendix D."""


class Regularizer(Protocol):
    """A penalty R on the parameters, of which training needs the gradient alone."""

    def gradients(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """∇R at the parameters' present values, new tensors in their shapes and order."""
        ...


@dataclass(frozen=True)
class L2:
    """R(θ) = λ/2 |θ|², section 3; zero at the origin."""

    coefficient: float

    def gradients(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """See `Regularizer.gradients`."""
        return torch._foreach_mul(list(parameters), self.coefficient)


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

    def gradients(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """See `Regularizer.gradients`."""
        return torch._foreach_mul(
            [self._offset(p) for p in parameters], [self._coefficient(p) for p in parameters]
        )

    def _offset(self, parameter: Tensor) -> Tensor:
        start = self.start.get(parameter)
        return parameter if start is None else parameter - start

    def _coefficient(self, parameter: Tensor) -> float:
        return self.shared if parameter in self.start else self.new


def regularizer_for(
    name: RegularizerName, weight_decay: float, network: nn.Module, head_name: str
) -> Regularizer | None:
    """The regulariser of a fine-tuning that starts from the network's present weights.

    `weight_decay` is λ of L2 and α of L2-SP; the new head's β is `NEW_PART_DECAY`.
    """
    match name:
        case "none":
            return None
        case "l2":
            return L2(weight_decay)
        case "l2-sp":
            start: dict[Tensor, Tensor] = {
                parameter: parameter.detach().clone()
                for parameter_name, parameter in network.named_parameters()
                if not parameter_name.startswith(f"{head_name}.") and parameter.requires_grad
            }
            return L2SP(shared=weight_decay, new=NEW_PART_DECAY, start=start)

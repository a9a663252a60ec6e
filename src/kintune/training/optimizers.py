"""Nesterov's accelerated gradient as the paper writes it, equations (1) and (2).

    v_{t+1} = m v_t - η ∇l(θ_t + m v_t)          (1)
    θ_{t+1} = θ_t + v_{t+1} - η ∇R(θ_t)          (2)

∇R(θ) is λθ for L2. torch's convention, which timm uses, has the learning rate outside the velocity
and the decay inside it:

    b_{t+1} = m b_t + g,   p_{t+1} = p_t - η (g + m b_{t+1}),   g = ∇l(p_t) + ∇R(p_t)

The two part after a change of learning rate, and what stays the same when m moves at equal
η / (1 - m) is ηλ in the paper's and λ in torch's.
"""

# pyright: reportPrivateImportUsage=false
# torch's own optimizers are written in these functions over lists, and there are no public ones.

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from kintune.runs.hyperparameters import UpdateConvention
from kintune.training.regularizers import L2, Regularizer


class NesterovSGD(torch.optim.Optimizer):
    """Equations (1) and (2) of the paper, for `backward()` followed by `step()`.

    Between steps a parameter holds the look-ahead point p = θ + m v, so that the next gradient is
    taken there, as (1) asks. The decay of (2) acts on θ = p - m v; θ stays the same when `lr` or
    `momentum` of a parameter group is changed. A parameter without a gradient is left alone.

    Args:
        params: parameters or parameter groups, as for every torch optimizer. A group with
            `decays=False` is exempt from `weight_decay` and `regularizer`.
        lr: learning rate η > 0.
        momentum: m in [0, 1).
        weight_decay: λ >= 0 of L2, whose gradient is λθ.
        regularizer: gives the gradient that takes the place of λθ; asks for `weight_decay` 0.
        convention: `paper`, or `torch` for the update of `torch.optim.SGD(nesterov=True)`; at
            momentum 0 that is plain SGD.

    Raises:
        ValueError: a value is out of range, or both `weight_decay` and `regularizer` are given.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = NesterovSGD([weight], lr=0.5, momentum=0.9)
    >>> weight.square().sum().backward()
    >>> optimizer.step()                     # v = -0.5 * 2 = -1, θ = 1 - 1 = 0, p = 0 - 0.9
    >>> round(weight.item(), 4), round(optimizer.theta(weight).item(), 4)
    (-0.9, 0.0)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        regularizer: Regularizer | None = None,
        convention: UpdateConvention = "paper",
    ) -> None:
        self.regularizer = regularizer
        self.convention = convention
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "decays": True}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own `lr`, `momentum` or `weight_decay`."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        _check(group, self.regularizer)
        group.setdefault("held_momentum", group["momentum"])

    def velocity(self, parameter: Tensor) -> Tensor:
        """The velocity v of a parameter, in torch's convention the buffer b = -v/η, in its shape
        and dtype; zero before the first step."""
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter, requires_grad=False)
        return state["velocity"]

    @torch.no_grad()
    def theta(self, parameter: Tensor) -> Tensor:
        """θ = p - m v of a parameter, a new tensor; in torch's convention p + η m b at the group's
        present rate.

        Raises:
            KeyError: the parameter is not one of this optimizer's.
        """
        for group in self.param_groups:
            if any(parameter is member for member in group["params"]):
                scale = 1.0 if self.convention == "paper" else -group["lr"]
                return parameter - scale * group["held_momentum"] * self.velocity(parameter)
        raise KeyError("the parameter is not one of this optimizer's")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of (1) and (2) from the gradients that the parameters hold.

        Args:
            closure: computes the gradients anew and returns the loss, which is then returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        moves = self._paper_step if self.convention == "paper" else self._torch_step
        self._look_ahead_by(group, group["momentum"])
        params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
        if params:
            gradients = [p.grad for p in params if p.grad is not None]
            moves(group, params, gradients, [self.velocity(p) for p in params])

    def _paper_step(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        gradients: list[Tensor],
        velocities: list[Tensor],
    ) -> None:
        lr, m = group["lr"], group["momentum"]
        torch._foreach_add_(params, velocities, alpha=-m)  # params hold θ
        if group["decays"] and self.regularizer is not None:
            torch._foreach_add_(params, list(self.regularizer.gradients(params)), alpha=-lr)
        elif group["decays"] and group["weight_decay"]:
            torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        torch._foreach_mul_(velocities, m)
        torch._foreach_add_(velocities, gradients, alpha=-lr)
        torch._foreach_add_(params, velocities, alpha=1 + m)  # θ + v, then m v ahead of it

    def _torch_step(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        gradients: list[Tensor],
        buffers: list[Tensor],
    ) -> None:
        lr, m = group["lr"], group["momentum"]
        if group["decays"]:
            regularizer = self.regularizer or L2(group["weight_decay"])
            penalty = list(regularizer.gradients(params))
            gradients = list(torch._foreach_add(gradients, penalty))
        torch._foreach_mul_(buffers, m)
        torch._foreach_add_(buffers, gradients)
        torch._foreach_add_(params, gradients, alpha=-lr)
        torch._foreach_add_(params, buffers, alpha=-lr * m)

    def _look_ahead_by(self, group: dict[str, Any], momentum: float) -> None:
        """Move the held points from θ + m v of the last step to θ + `momentum` v."""
        change = momentum - group["held_momentum"]
        if change and self.convention == "paper":
            params: list[Tensor] = group["params"]
            torch._foreach_add_(params, [self.velocity(p) for p in params], alpha=change)
        group["held_momentum"] = momentum


def _check(group: dict[str, Any], regularizer: Regularizer | None) -> None:
    if not group["lr"] > 0:
        raise ValueError(f"lr must be greater than 0, got {group['lr']}")
    if not 0 <= group["momentum"] < 1:
        raise ValueError(f"momentum must be in [0, 1), got {group['momentum']}")
    if not group["weight_decay"] >= 0:
        raise ValueError(f"weight_decay must be 0 or more, got {group['weight_decay']}")
    if regularizer is not None and group["weight_decay"]:
        raise ValueError("weight_decay and regularizer exclude each other: weights decay once")

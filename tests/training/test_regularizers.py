"""Gradients against finite differences of the penalty, written out, and where they are zero."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from kintune.hyperparameters import RegularizerName
from kintune.training.regularizers import L2, L2SP, NEW_PART_DECAY, Regularizer, regularizer_for


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 2, dtype=torch.float64)
        self.head = nn.Linear(2, 4, dtype=torch.float64)
        self.heading = nn.Linear(1, 1, dtype=torch.float64)  # its name begins like the head's


@pytest.fixture
def network() -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small()


def moved(network: nn.Module) -> list[Tensor]:
    """The parameters, no longer where they began."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return list(network.parameters())


def penalty(regularizer: Regularizer, parameters: list[Tensor]) -> float:
    """R, with the halves that make its gradient the term of equation (2)."""
    if isinstance(regularizer, L2):
        return sum(regularizer.coefficient / 2 * p.square().sum().item() for p in parameters)
    assert isinstance(regularizer, L2SP)
    start = regularizer.start
    shared = sum((p - start[p]).square().sum().item() for p in parameters if p in start)
    new = sum(p.square().sum().item() for p in parameters if p not in start)
    return regularizer.shared / 2 * shared + regularizer.new / 2 * new


def finite_differences(regularizer: Regularizer, parameters: list[Tensor]) -> list[Tensor]:
    gradients, step = [], 1e-5
    for parameter in parameters:
        gradient = torch.empty_like(parameter)
        values, slopes = parameter.data.view(-1), gradient.view(-1)
        for index in range(len(values)):
            middle = values[index].item()
            values[index] = middle + step
            above = penalty(regularizer, parameters)
            values[index] = middle - step
            below = penalty(regularizer, parameters)
            values[index] = middle
            slopes[index] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("name", ["l2", "l2-sp"])
def test_gradient_equals_finite_differences(network, name):
    regularizer = regularizer_for(name, 0.3, network, "head")
    assert regularizer is not None
    parameters = moved(network)

    with torch.no_grad():
        gradients = regularizer.gradients(parameters)

    expected = finite_differences(regularizer, parameters)
    assert len(gradients) == len(expected)
    for gradient, slope in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, slope, rtol=1e-7, atol=1e-8)
        assert slope.abs().max() > 1e-3


def test_l2sp_is_zero_at_the_pretrained_weights(network):
    regularizer = regularizer_for("l2-sp", 0.3, network, "head")
    assert isinstance(regularizer, L2SP)
    shared = [*network.body.parameters(), *network.heading.parameters()]

    assert all(gradient.eq(0).all() for gradient in regularizer.gradients(shared))


def test_l2sp_pulls_the_new_head_to_zero_by_its_own_coefficient(network):
    regularizer = regularizer_for("l2-sp", 0.3, network, "head")
    assert regularizer is not None

    with torch.no_grad():
        (gradient,) = regularizer.gradients([network.head.weight])

    torch.testing.assert_close(gradient, NEW_PART_DECAY * network.head.weight.detach())


def test_l2sp_equals_l2_where_it_starts_at_zero():
    parameters = [torch.tensor([1.0, -2.0])]
    zero = L2SP(shared=0.3, new=0.3, start={parameters[0]: torch.zeros(2)})

    assert torch.equal(zero.gradients(parameters)[0], L2(0.3).gradients(parameters)[0])


def test_none_is_no_regulariser(network):
    assert regularizer_for("none", 0.3, network, "head") is None


def test_every_name_is_known(network):
    built = {
        name: regularizer_for(name, 0.1, network, "head") for name in get_args(RegularizerName)
    }

    assert {name for name, regularizer in built.items() if regularizer is None} == {"none"}

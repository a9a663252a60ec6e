"""Gradients against finite differences of the penalty, written out, and where they are zero."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from kintune.runs.hyperparameters import NEW_PART_DECAY, Hyperparameters, RegularizerName
from kintune.training.regularizers import L2, L2SP, Regularizer, regularizer_for


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


def settings(name: str, decay: float = 0.3, **others: object) -> Hyperparameters:
    values = {"lr": 0.1, "batch_size": 8, "epochs": 1, "regularizer": name, "weight_decay": decay}
    return Hyperparameters.model_validate(values | others)


def penalty(regularizer: Regularizer, parameters: list[Tensor]) -> float:
    """R, with the halves that make its gradient the term of equation (2)."""
    if isinstance(regularizer, L2):
        part = regularizer.new_part
        rest = sum(p.square().sum().item() for p in parameters if p not in part)
        new = sum(p.square().sum().item() for p in parameters if p in part)
        return regularizer.coefficient / 2 * rest + regularizer.new / 2 * new
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


@pytest.mark.parametrize("new_part_decay", [None, 0.7])
@pytest.mark.parametrize("name", [name for name in get_args(RegularizerName) if name != "none"])
def test_gradient_equals_finite_differences(network, name, new_part_decay):
    regularizer = regularizer_for(settings(name, new_part_decay=new_part_decay), network, "head")
    assert regularizer is not None
    parameters = moved(network)

    with torch.no_grad():
        gradients = regularizer.gradients(parameters)

    expected = finite_differences(regularizer, parameters)
    assert len(gradients) == len(expected)
    for gradient, slope in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, slope, rtol=1e-7, atol=1e-8)
        assert slope.abs().max() > 1e-3
    assert regularizer.value(parameters).item() == pytest.approx(penalty(regularizer, parameters))


def test_l2sp_is_zero_at_the_pretrained_weights(network):
    regularizer = regularizer_for(settings("l2-sp"), network, "head")
    assert isinstance(regularizer, L2SP)
    shared = [*network.body.parameters(), *network.heading.parameters()]

    assert all(gradient.eq(0).all() for gradient in regularizer.gradients(shared))
    assert regularizer.value(shared).item() == 0


def test_l2sp_pulls_the_new_head_to_zero_by_its_own_coefficient(network):
    regularizer = regularizer_for(settings("l2-sp"), network, "head")
    assert regularizer is not None

    with torch.no_grad():
        (gradient,) = regularizer.gradients([network.head.weight])

    torch.testing.assert_close(gradient, NEW_PART_DECAY * network.head.weight.detach())


def test_l2sp_equals_l2_where_it_starts_at_zero():
    parameters = [torch.tensor([1.0, -2.0])]
    zero = L2SP(shared=0.3, new=0.3, start={parameters[0]: torch.zeros(2)})

    assert torch.equal(zero.gradients(parameters)[0], L2(0.3).gradients(parameters)[0])


def test_none_is_no_regularizer(network):
    assert regularizer_for(settings("none"), network, "head") is None


def test_every_name_is_known(network):
    built = {
        name: regularizer_for(settings(name), network, "head") for name in get_args(RegularizerName)
    }

    assert {name for name, regularizer in built.items() if regularizer is None} == {"none"}


def test_l2_is_zero_at_the_origin(network):
    regularizer = regularizer_for(settings("l2"), network, "head")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()

    parameters = list(network.parameters())
    assert regularizer.value(parameters).item() == 0
    assert all(gradient.eq(0).all() for gradient in regularizer.gradients(parameters))


def test_the_new_head_has_its_own_coefficient_of_l2(network):
    regularizer = regularizer_for(settings("l2", new_part_decay=0.01), network, "head")

    with torch.no_grad():
        body, head = regularizer.gradients([network.body.weight, network.head.weight])

    torch.testing.assert_close(body, 0.3 * network.body.weight.detach())
    torch.testing.assert_close(head, 0.01 * network.head.weight.detach())

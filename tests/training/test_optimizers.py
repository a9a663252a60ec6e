"""Equations (1) and (2) against an independent transcription, and the optimizer's own promises."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from kintune.training import NesterovSGD
from kintune.training.regularizers import L2

MATRIX = np.diag([1.0, 3.0, 0.2]) + 0.1
START = np.array([1.0, -2.0, 0.5])


def gradient(point: np.ndarray) -> np.ndarray:
    """Of x'Ax/2 + sum(cos x), which is no quadratic."""
    return MATRIX @ point - np.sin(point)


def loss(parameter: torch.Tensor) -> torch.Tensor:
    matrix = torch.from_numpy(MATRIX)
    return parameter @ matrix @ parameter / 2 + parameter.cos().sum()


def paper(lrs: list[float], momentum: float, decay: float) -> np.ndarray:
    """θ after each step of equations (1) and (2), written from the paper."""
    theta, v = START.copy(), np.zeros(3)
    thetas = []
    for lr in lrs:
        v = momentum * v - lr * gradient(theta + momentum * v)
        theta = theta + v - lr * decay * theta
        thetas.append(theta)
    return np.array(thetas)


def ours(lrs: list[float], momentum: float, decay: float, **options: object) -> np.ndarray:
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = NesterovSGD([parameter], lrs[0], momentum, decay, **options)  # pyright: ignore[reportArgumentType] - keywords of one test
    thetas = []
    for lr in lrs:
        optimizer.param_groups[0]["lr"] = lr
        take_step(optimizer, parameter)
        thetas.append(optimizer.theta(parameter).numpy())
    return np.array(thetas)


def take_step(optimizer: NesterovSGD, parameter: nn.Parameter) -> None:
    optimizer.zero_grad()
    loss(parameter).backward()
    optimizer.step()


DECAYED = [0.1] * 10 + [0.01] * 10 + [0.001] * 5


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_equals_the_equations_through_decays_of_the_rate(momentum, decay):
    expected = paper(DECAYED, momentum, decay)

    np.testing.assert_allclose(ours(DECAYED, momentum, decay), expected, rtol=0, atol=1e-12)


def test_a_regularizer_takes_the_place_of_the_decay():
    decayed = ours(DECAYED, 0.9, 0.3)

    regularized = ours(DECAYED, 0.9, 0.0, regularizer=L2(0.3))

    np.testing.assert_allclose(regularized, decayed, rtol=0, atol=1e-14)


def torch_convention(lrs: list[float], momentum: float, decay: float) -> np.ndarray:
    """The held point after each step, written from the documentation of torch.optim.SGD."""
    p, buffer = START.copy(), np.zeros(3)
    points = []
    for lr in lrs:
        g = gradient(p) + decay * p
        buffer = momentum * buffer + g
        p = p - lr * (g + momentum * buffer)
        points.append(p)
    return np.array(points)


def held(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> np.ndarray:
    points = []
    for lr in DECAYED:
        optimizer.param_groups[0]["lr"] = lr
        take_step(optimizer, parameter)
        points.append(parameter.detach().numpy().copy())
    return np.array(points)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_torchs_convention_is_its_equations_and_its_optimizer(momentum, decay):
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    found = held(NesterovSGD([parameter], 0.1, momentum, decay, convention="torch"), parameter)

    other = nn.Parameter(torch.from_numpy(START.copy()))
    sgd = torch.optim.SGD([other], 0.1, momentum, weight_decay=decay, nesterov=momentum > 0)

    np.testing.assert_allclose(
        found, torch_convention(DECAYED, momentum, decay), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(found, held(sgd, other), rtol=0, atol=1e-12)


def test_a_regularizer_adds_to_the_gradient_in_torchs_convention():
    ends = []
    for options in ({"weight_decay": 0.3}, {"regularizer": L2(0.3)}):
        parameter = nn.Parameter(torch.from_numpy(START.copy()))
        optimizer = NesterovSGD([parameter], 0.1, 0.9, convention="torch", **options)
        ends.append(held(optimizer, parameter)[-1])

    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-14)


def test_at_equal_effective_rate_torch_keeps_the_path_at_equal_decay_and_the_paper_does_not():
    """What stays the same when m moves is λ there and ηλ here."""

    def end(momentum: float, convention: str) -> np.ndarray:
        parameter = nn.Parameter(torch.from_numpy(START.copy()))
        lr = 1e-3 * (1 - momentum)
        optimizer = NesterovSGD([parameter], lr, momentum, 3.0, convention=convention)
        for _ in range(3000):
            take_step(optimizer, parameter)
        return parameter.detach().numpy()

    np.testing.assert_allclose(end(0.9, "torch"), end(0.0, "torch"), rtol=0, atol=0.01)
    assert np.abs(end(0.9, "paper") - end(0.0, "paper")).max() > 0.1


def test_exempt_groups_do_not_decay():
    weight, bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    for options in ({"weight_decay": 0.5}, {"regularizer": L2(0.5)}):
        for convention in ("paper", "torch"):
            with torch.no_grad():
                weight.fill_(1)
                bias.fill_(1)
            groups = [{"params": [weight]}, {"params": [bias], "decays": False}]
            optimizer = NesterovSGD(groups, 0.1, 0.0, convention=convention, **options)
            optimizer.zero_grad()
            (0 * (weight + bias)).sum().backward()
            optimizer.step()

            assert weight.item() == pytest.approx(0.95)
            assert bias.item() == 1


def test_differs_from_torch_only_after_the_rate_is_divided():
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = torch.optim.SGD([parameter], DECAYED[0], 0.9, nesterov=True)
    held = nn.Parameter(torch.from_numpy(START.copy()))
    other = NesterovSGD([held], DECAYED[0], 0.9)
    gaps = []
    for lr in DECAYED:
        optimizer.param_groups[0]["lr"] = other.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss(parameter).backward()
        optimizer.step()
        take_step(other, held)
        gaps.append((parameter - held).abs().max().item())

    assert max(gaps[:10]) < 1e-12
    assert min(gaps[10:15]) > 1e-4


def test_between_steps_a_parameter_holds_the_look_ahead_point():
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = NesterovSGD([parameter], 0.1, 0.9, 0.3)
    for _ in range(3):
        take_step(optimizer, parameter)

    ahead = optimizer.theta(parameter) + 0.9 * optimizer.velocity(parameter)

    torch.testing.assert_close(parameter.detach(), ahead, rtol=0, atol=1e-15)


def test_theta_stays_when_momentum_changes_and_the_next_step_uses_the_new_one():
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = NesterovSGD([parameter], 0.1, 0.9, 0.3)
    for _ in range(3):
        take_step(optimizer, parameter)
    theta, v = optimizer.theta(parameter).numpy(), optimizer.velocity(parameter).numpy().copy()
    slope = gradient(parameter.detach().numpy())

    optimizer.param_groups[0]["momentum"] = 0.5

    np.testing.assert_array_equal(optimizer.theta(parameter).numpy(), theta)
    take_step(optimizer, parameter)
    v = 0.5 * v - 0.1 * slope
    expected = theta + v - 0.1 * 0.3 * theta
    np.testing.assert_allclose(optimizer.theta(parameter).numpy(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(parameter.detach().numpy(), expected + 0.5 * v, rtol=0, atol=1e-14)


def test_equal_effective_rate_and_decay_per_step_give_the_same_path_in_the_small():
    """At equal η/(1-m) and ηλ the limit is one flow, whatever m."""
    ends = []
    for momentum in (0.0, 0.5, 0.9):
        lr = 1e-3 * (1 - momentum)
        ends.append(ours([lr] * 500, momentum, decay=1e-4 / lr)[-1])

    np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=0.01)
    np.testing.assert_allclose(ends[2], ends[0], rtol=0, atol=0.01)
    assert np.abs(ends[0] - START).max() > 0.3


def test_a_parameter_without_gradient_is_left_alone():
    moved, kept = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = NesterovSGD([moved, kept], 0.1, 0.9, 0.5)

    moved.sum().backward()
    optimizer.step()

    assert kept.tolist() == [1, 1]
    assert moved.tolist() != [1, 1]


def test_groups_have_their_own_rate_and_decay():
    body, head = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups = [{"params": [body]}, {"params": [head], "lr": 1.0, "weight_decay": 0.0}]
    optimizer = NesterovSGD(groups, 0.1, 0.0, 0.5)

    (body + head).sum().backward()
    optimizer.step()

    assert body.item() == pytest.approx(1 * (1 - 0.1 * 0.5) - 0.1)
    assert head.item() == pytest.approx(0.0)


def test_goes_on_the_same_after_its_state_was_saved_and_loaded():
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = NesterovSGD([parameter], 0.1, 0.9, 0.3)
    take_step(optimizer, parameter)
    other = nn.Parameter(parameter.detach().clone())
    restored = NesterovSGD([other], 1.0)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    take_step(optimizer, parameter)
    take_step(restored, other)

    assert torch.equal(parameter, other)


def test_a_closure_gives_the_gradients_and_the_loss():
    parameter = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = NesterovSGD([parameter], 0.1, 0.9)

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(parameter)
        value.backward()
        return value.item()

    before = loss(parameter).item()

    assert optimizer.step(closure) == before
    assert loss(parameter).item() < before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lr": 0.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": 0.1, "momentum": 1.0}, "momentum"),
        ({"lr": 0.1, "momentum": -0.1}, "momentum"),
        ({"lr": 0.1, "weight_decay": -1.0}, "weight_decay"),
        ({"lr": 0.1, "weight_decay": 0.1, "regularizer": L2(0.1)}, "decay once"),
    ],
)
def test_refuses_what_is_out_of_range(options, named):
    with pytest.raises(ValueError, match=named):
        NesterovSGD([nn.Parameter(torch.ones(1))], **options)


def test_theta_of_a_foreign_parameter_is_refused():
    optimizer = NesterovSGD([nn.Parameter(torch.ones(1))], 0.1)

    with pytest.raises(KeyError):
        optimizer.theta(nn.Parameter(torch.ones(1)))

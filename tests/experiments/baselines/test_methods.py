import pytest
import torch

from kintune.errors import OptionError
from kintune.experiments.baselines import methods
from kintune.experiments.baselines.methods import (
    BIT_LR,
    METHODS,
    OPTIMIZERS,
    bit_rule,
    require_packages,
    settings_of,
)
from kintune.experiments.reference_study import Point, settings
from kintune.training.schedules import lr_factor

STUDY = settings("pocket", "long", Point(-4))


def test_the_rule_of_bit_on_its_own_scale_gives_the_published_rates():
    """500 steps of 512: warm-up over 100, then 0.003, a tenth at 200, 300 and 400."""
    rule = bit_rule(STUDY.replace(batch_size=512, epochs=500), BIT_LR)
    rates = [rule.lr * lr_factor(rule, step, 1) for step in range(500)]
    warm = [0.003 * (step + 1) / 100 for step in range(100)]
    stairs = [0.003] * 100 + [3e-4] * 100 + [3e-5] * 100 + [3e-6] * 100
    assert rates == pytest.approx(warm + stairs)
    assert (rule.momentum, rule.weight_decay) == (0.9, 0)


def test_the_rule_of_bit_scales_with_the_batch_size_only_where_it_says_so():
    assert settings_of("bit", STUDY).lr == 0.003
    assert settings_of("bit-scaled", STUDY).lr == pytest.approx(0.003 / 16)


@pytest.mark.parametrize("method", METHODS)
def test_steps_batches_and_augmentation_are_the_study_s(method):
    used = settings_of(method, STUDY)
    for name in ("epochs", "batch_size", "augmentation", "iterations", "freeze_bn_stats"):
        assert getattr(used, name) == getattr(STUDY, name)


def test_prodigy_has_its_cosine_and_dog_no_schedule():
    def factors(method):
        used = settings_of(method, STUDY)
        return [used.lr * lr_factor(used, step, 15) for step in (0, 450, 899)]

    assert factors("prodigy") == pytest.approx([1, 0.5, 0], abs=1e-4)
    assert factors("dog") == factors("ldog") == [1, 1, 1]


def test_momentum_of_bit_does_not_look_ahead():
    """A gradient of 1 in every step: θ = -η, then -η (1 + 1 + m)."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = OPTIMIZERS["bit"].make([weight], settings_of("bit", STUDY))
    for expected in (-0.003, -0.003 * 2.9):
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()
        assert weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("method", ["prodigy", "dog", "ldog"])
def test_what_finds_its_own_rate_lowers_a_loss(method):
    own = OPTIMIZERS[method]
    pytest.importorskip(own.module, reason=f"{own.package} is not installed")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 5, generator=generator)
    wanted = inputs @ torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0])
    weight = torch.nn.Parameter(torch.zeros(5))
    optimizer = own.make([weight], settings_of(method, STUDY))
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = (inputs @ weight - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_a_missing_package_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(
        methods.importlib.util, "find_spec", lambda name: None if name == "dog" else object()
    )
    with pytest.raises(OptionError, match=r"dog-optimizer: not installed.*kintune\[baselines\]"):
        require_packages(["usual", "dog", "ldog", "prodigy"])
    require_packages(["usual", "range-test", "bit", "prodigy"])

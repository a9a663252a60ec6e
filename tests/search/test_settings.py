"""From flags to a run's hyperparameters."""

import pytest

from kintune.base.errors import OptionError
from kintune.options import FinetuneOptions
from kintune.recommend import TaskFacts
from kintune.search.settings import training_settings

FACTS = TaskFacts(images=1000, classes=10, batch_size=50, epochs=300)


def settings(facts=FACTS, **flags):
    return training_settings(FinetuneOptions(**flags), facts, lr=0.01)


def test_without_flags_statistics_are_frozen_and_gradients_clipped():
    found = settings()

    assert (found.milestones, found.warmup_epochs) == ((1 / 2, 5 / 6), 50)
    assert (found.convention, found.exempt_bias_and_norm) == ("paper", False)
    assert (found.head_lr_factor, found.bn_momentum, found.freeze_bn_stats) == (1, None, True)
    assert (found.head_start, found.clip_grad_norm) == ("probe", 1.0)


@pytest.mark.parametrize(
    ("flags", "frozen"),
    [
        ({"batch_statistics": "batch"}, False),
        ({"batch_statistics": "frozen"}, True),
        ({"freeze_bn_stats": True}, True),
        ({"bn_momentum": 0.9}, False),
        ({"from_scratch": True}, False),
    ],
)
def test_batch_statistics_follow_the_flags(flags, frozen):
    assert settings(**flags).freeze_bn_stats is frozen


def test_a_network_without_batch_normalization_has_nothing_to_freeze():
    assert settings(FACTS.replace(has_batch_norm=False)).freeze_bn_stats is False


def test_zero_clips_nothing():
    assert settings(clip_grad_norm=0.0).clip_grad_norm is None


def test_milestones_in_epochs_in_iterations_and_as_shares_are_one_thing():
    in_epochs = settings(decay_milestones=(150, 250))
    facts = FACTS.replace(epochs=450)
    in_iterations = settings(facts, decay_milestones=(6000,), iterations=9000)

    assert in_epochs == settings(decay_milestones=(0.5, 250 / 300)) == settings(schedule="step")
    assert in_iterations.milestones == (2 / 3,)


@pytest.mark.parametrize("milestones", [(300,), (200, 100), (0.5, 0.5), (0.5, 400)])
def test_milestones_out_of_order_or_of_range_are_refused(milestones):
    with pytest.raises(OptionError, match=r"--decay-milestones .* 300 epochs"):
        settings(decay_milestones=milestones)


def test_the_rule_for_batch_statistics_follows_the_steps_of_an_epoch():
    many = FACTS.replace(images=10_000)

    assert settings(bn_momentum="rule").bn_momentum == 0.9
    assert settings(many, bn_momentum="rule").bn_momentum == 0.95


def test_a_share_that_looks_like_torchs_number_is_asked_about(capsys):
    assert settings(bn_momentum=0.1).bn_momentum == 0.1
    assert "--bn-momentum 0.9" in capsys.readouterr().err

    settings(bn_momentum=0.0)  # the paper's own
    settings(bn_momentum=0.99)
    assert capsys.readouterr().err == ""


def test_every_flag_reaches_the_hyperparameters():
    flags = {
        "momentum": 0.5,
        "weight_decay": 0.3,
        "regularizer": "l2-sp",
        "new_part_decay": 0.02,
        "exempt_bias_and_norm": True,
        "schedule": "cosine",
        "warmup_epochs": 3,
        "head_start": "random",
        "head_lr_factor": 10.0,
        "augmentation": "flip",
        "freeze_bn_stats": True,
        "convention": "torch",
    }
    found = settings(**flags)

    assert {name: getattr(found, name) for name in flags} == flags


def test_a_head_starts_from_the_features_of_pretrained_weights():
    assert settings(momentum=0.0).head_start == "probe"
    assert settings(head_start="random").head_start == "random"
    assert settings(momentum=0.0, from_scratch=True).head_start == "random"
    assert settings(momentum=0.9, head_start="probe").head_start == "probe"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"warmup_epochs": 300.0}, "--warmup-epochs 300"),
        ({"decay_milestones": (150,), "schedule": "cosine"}, "the cosine schedule has none"),
        ({"new_part_decay": 0.1, "regularizer": "none"}, "--new-part-decay"),
        ({"bn_momentum": 0.9, "freeze_bn_stats": True}, "--bn-momentum: frozen"),
        ({"batch_statistics": "batch", "freeze_bn_stats": True}, "exclude each other"),
        ({"freeze_bn_stats": True, "from_scratch": True}, "--from-scratch"),
        ({"head_start": "probe", "from_scratch": True}, "--head-start probe and --from-scratch"),
        ({"head_lr_factor": 10.0, "head_only": True}, "--head-lr-factor and --head-only"),
    ],
)
def test_flags_without_effect_are_refused(flags, named):
    with pytest.raises(OptionError, match=named):
        settings(**flags)

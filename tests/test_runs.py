from kintune.inputs import InputSpec
from kintune.runs import RunConfig


def config(**changes):
    values = {
        "model": "pocket",
        "weights_sha256": "0" * 64,
        "input": InputSpec(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        "data_sha256": "1" * 64,
        "hyperparameters": {"lr": 0.01, "batch_size": 32, "epochs": 10},
    }
    return RunConfig.model_validate(values | changes)


def test_a_field_that_is_added_leaves_the_identity_of_earlier_runs_alone():
    """The id was written down before any of the later fields was there; it never changes."""
    assert config().id == "3a8fd1e9c062"


def test_a_default_that_is_said_is_the_default():
    said = {"lr": 0.01, "batch_size": 32, "epochs": 10, "momentum": 0.9, "schedule": "step"}
    assert config(hyperparameters=said, seed=0).id == config().id


def test_what_differs_from_the_default_has_its_own_identity():
    ids = {config().id, config(seed=1).id, config(threads=2).id, config(trainable="head").id}
    assert len(ids) == 4


def test_a_default_reached_by_a_detour_has_its_identity():
    """0.0001 comes back from another momentum as 9.999999999999999e-05."""
    start = config().hyperparameters
    back = start.with_momentum(0.5).with_momentum(0.9)

    assert back.weight_decay != start.weight_decay
    assert config(hyperparameters=back).id == config().id

import pytest

from kintune.runs.hyperparameters import (
    APPENDIX_D_MILESTONES,
    SCRATCH_MILESTONES,
    SOURCE_MILESTONES,
    Hyperparameters,
)
from kintune.training.schedules import lr_factor, total_steps


def factors(epochs, steps_per_epoch=1, **others):
    values = {"lr": 0.1, "batch_size": 8, "epochs": epochs}
    settings = Hyperparameters.as_in_paper(**values, **others)
    steps = range(total_steps(settings, steps_per_epoch))
    return [lr_factor(settings, step, steps_per_epoch) for step in steps]


def test_step_is_the_papers_shape_at_every_length():
    assert factors(300) == [1.0] * 150 + [0.1] * 100 + [0.01] * 50
    assert factors(6) == [1, 1, 1, 0.1, 0.1, 0.01]
    assert factors(1) == [1]
    assert factors(300, 24) == [1.0] * 3600 + [0.1] * 2400 + [0.01] * 1200


@pytest.mark.parametrize(
    ("epochs", "milestones", "decays"),
    [
        (600, SCRATCH_MILESTONES, [400, 550]),
        (60, SOURCE_MILESTONES, [45]),
        (300, (150 / 300, 250 / 300), [150, 250]),
        (7, (3 / 7, 5 / 7), [3, 5]),
    ],
)
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 47])
def test_the_papers_milestones_fall_on_their_epochs(epochs, milestones, decays, steps_per_epoch):
    found = factors(epochs, steps_per_epoch, milestones=milestones)

    changes = [step for step in range(1, len(found)) if found[step] < found[step - 1]]
    assert changes == [epoch * steps_per_epoch for epoch in decays]
    assert found[-1] == pytest.approx(10.0 ** -len(decays))


def test_iterations_end_training_and_carry_the_shape():
    found = factors(48, 188, iterations=9000, milestones=APPENDIX_D_MILESTONES)

    assert len(found) == 9000
    assert found == [1.0] * 6000 + [0.1] * 3000


def test_cosine_falls_from_one_to_nearly_zero():
    found = factors(100, schedule="cosine")

    assert found[0] == 1
    assert found[50] == pytest.approx(0.5)
    assert 0 < found[99] < 0.001
    assert found == sorted(found, reverse=True)


def test_constant_stays():
    assert set(factors(7, schedule="constant")) == {1.0}


@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_warm_up_grows_linearly_into_the_schedule(schedule):
    cold, warm = (factors(8, 5, schedule=schedule, warmup_epochs=e) for e in (0, 2))

    assert [w / c for w, c in zip(warm, cold, strict=True)] == pytest.approx(
        [0.1 * step for step in range(1, 11)] + [1.0] * 30
    )

import pytest

from kintune.training.schedules import lr_factor


def test_step_is_the_papers_shape_at_every_length():
    paper = [lr_factor("step", epoch, 300) for epoch in range(300)]
    assert paper == [1.0] * 150 + [0.1] * 100 + [0.01] * 50

    assert [lr_factor("step", step, 6) for step in range(6)] == [1, 1, 1, 0.1, 0.1, 0.01]
    assert lr_factor("step", 0, 1) == 1


def test_cosine_falls_from_one_to_nearly_zero():
    factors = [lr_factor("cosine", step, 100) for step in range(100)]

    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.001
    assert factors == sorted(factors, reverse=True)


def test_constant_stays():
    assert {lr_factor("constant", step, 7) for step in range(7)} == {1.0}

from dataclasses import replace

from kintune_paper.engine.declaration import (
    Cell,
    Figure,
    Line,
    Panel,
    Row,
    Table,
    Variation,
    by_value,
    declared_runs,
)


def test_axes_are_multiplied_and_the_rest_is_the_network_s_base(protocol):
    runs = protocol.runs("pocket", "near", lr=(0.1, 0.01), momentum=(0.9, 0.0), seeds=(0, 1))
    assert len({run.key for run in runs}) == 8
    assert {run.settings.batch_size for run in runs} == {8}
    assert {run.settings.augmentation for run in runs} == {"flip"}


def test_a_tuple_of_tuples_is_one_value(protocol):
    assert protocol.runs("pocket", "near", milestones=((2 / 3,),))[0].settings.milestones == (
        2 / 3,
    )


def test_seeds_share_the_key_of_their_setting(protocol):
    first, second = protocol.runs("pocket", "near", seeds=(0, 1))
    assert first.setting_key == second.setting_key
    assert first.key != second.key


def test_epochs_follow_from_iterations_and_make_no_other_run(protocol):
    """How many passes 9,000 iterations are depends on the images, which the set itself tells."""
    (run,) = protocol.runs("pocket", "near", iterations=100)
    longer = replace(run, settings=run.settings.replace(epochs=7))
    assert run.key == longer.key
    (whole,) = protocol.runs("pocket", "near")
    longer = replace(whole, settings=whole.settings.replace(epochs=7))
    assert whole.key != longer.key


def test_the_runs_of_a_view_are_those_of_its_cells_and_lines_once(protocol):
    near = protocol.runs("pocket", "near", lr=(0.1, 0.01))
    varied = Variation(of=near, seed=1)
    table = Table(
        head=("a", "b"), rows=(Row(labels=("x",), cells=(Cell(choice=(*near, varied)),)),)
    )
    assert declared_runs(table) == (*near, varied)
    lines = (
        Line(label="a", points=by_value(near, lambda used: used.lr)),
        Line(label="b", course=near),
    )
    assert set(declared_runs(Figure(panels=(Panel(title="", lines=lines),)))) == set(near)


def test_a_variation_brings_what_it_stands_on(protocol):
    near = protocol.runs("pocket", "near", lr=(0.1, 0.01))
    figure = Figure(
        panels=(Panel(title="", lines=(Line(label="a", course=(Variation(of=near),)),)),)
    )
    assert declared_runs(figure) == (*near, Variation(of=near))


def test_values_that_differ_in_the_last_bits_are_one_point(protocol):
    runs = (
        *protocol.runs("pocket", "near", lr=0.01, momentum=0.9),
        *protocol.runs("pocket", "near", lr=0.1, momentum=0.0),
    )
    assert len({run.settings.effective_lr for run in runs}) == 2
    ((rate, choice),) = by_value(runs, lambda used: used.effective_lr)
    assert (rate, choice) == (0.1, runs)


def test_hours_are_images_over_speed(protocol):
    (run,) = protocol.runs("pocket", "near", epochs=3600)
    assert protocol.hours(run) == 16 / 150
    (counted,) = protocol.runs("pocket", "near", iterations=3600)
    assert protocol.hours(counted) == 8 / 150

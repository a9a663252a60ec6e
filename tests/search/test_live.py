from io import StringIO

import pytest
from rich.console import Console

from kintune.base.progress import announce, live_display, progress_bar
from kintune.search import live_table, search
from kintune.search.live import table_of

from .conftest import failed, u_shaped


def printed(table) -> str:
    text = StringIO()
    Console(file=text, width=100).print(table)
    return text.getvalue()


def test_the_best_so_far_and_what_is_going_on(make_plan, runner):
    runner.outcome = lambda config: failed(config) if len(runner.asked) == 2 else u_shaped(config)
    trials = search(make_plan(runs=4), runner).trials
    lines = printed(table_of(trials)).splitlines()
    assert len(lines) == 5
    assert sum("best so far" in line for line in lines) == 1
    assert "failed" in lines[2]
    going = search(make_plan(runs=4, repeats=2), runner).trials[0]
    assert "best" in printed(table_of([going]))


def test_a_terminal_shows_the_table_above_the_bars(make_plan, runner):
    text = StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    with live_display(console) as display:
        [show] = live_table(display)
        show(search(make_plan(runs=2), runner).trials)
        with progress_bar("fine-tuning", 10) as advance:
            advance(3)
            assert len(display.bars) == 1
        assert display.bars == []
    assert "best so far" in text.getvalue()


@pytest.mark.parametrize("what", ["table", "lines"])
def test_without_a_terminal_there_is_no_table(what, capsys):
    with live_display(Console(file=StringIO())) as display:
        assert display is None
        assert live_table(display) == ()
        announce("a line")
    assert capsys.readouterr().err == "a line\n"

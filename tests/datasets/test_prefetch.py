"""The same items, one made ahead; nothing is left running."""

import threading

import pytest

from kintune.datasets.prefetch import prefetch


def running():
    return [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]


def test_the_next_item_is_made_while_the_present_one_is_used():
    made = {number: threading.Event() for number in range(4)}

    def items():
        for number, event in made.items():
            event.set()
            yield number

    for number in prefetch(items()):
        if number < 3:
            assert made[number + 1].wait(timeout=10)
        if number < 2:
            assert not made[number + 2].is_set()
    assert not running()


def test_nothing_is_made_before_the_first_is_asked_for():
    asked = prefetch(pytest.fail("made") for _ in range(3))
    assert not running()
    asked.close()


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise OSError("the disk went away")

    received = prefetch(items())
    assert next(received) == 1
    with pytest.raises(OSError, match="the disk went away"):
        next(received)
    assert not running()


def test_the_thread_ends_where_its_user_stops():
    received = prefetch(iter(range(1000)))
    assert next(received) == 0
    assert running()
    received.close()
    assert not running()

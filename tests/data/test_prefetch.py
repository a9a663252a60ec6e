"""Work in order, done ahead; nothing is left running."""

import threading

import pytest

from kintune.data.prefetch import prefetch


@pytest.fixture
def running():
    """The threads of this test: those of a generator that another test has not closed, which end
    when it is collected, are not among them."""
    before = set(threading.enumerate())

    def found():
        now = set(threading.enumerate()) - before
        return [thread.name for thread in now if "prefetch" in thread.name]

    return found


def test_the_next_item_is_made_while_the_present_one_is_used(running):
    made = {number: threading.Event() for number in range(4)}

    def work(number):
        made[number].set()
        return number

    for number in prefetch(work, range(4)):
        if number < 3:
            assert made[number + 1].wait(timeout=10)
        if number < 2:
            assert not made[number + 2].is_set()
    assert not running()


def test_several_threads_work_at_once_and_keep_the_order(running):
    together = threading.Barrier(3, timeout=10)

    def work(number):
        together.wait()  # passes when three wait at the same time
        return number

    assert list(prefetch(work, range(9), threads=3)) == list(range(9))
    assert not running()


def test_nothing_is_made_before_the_first_is_asked_for(running):
    asked = prefetch(lambda _: pytest.fail("made"), range(3))
    assert not running()
    asked.close()


def test_an_error_comes_in_its_place(running):
    def work(number):
        if number:
            raise OSError("the disk went away")
        return number

    received = prefetch(work, range(2))
    assert next(received) == 0
    with pytest.raises(OSError, match="the disk went away"):
        next(received)
    assert not running()


def test_the_thread_ends_where_its_user_stops(running):
    received = prefetch(abs, range(1000))
    assert next(received) == 0
    assert running()
    received.close()
    assert not running()

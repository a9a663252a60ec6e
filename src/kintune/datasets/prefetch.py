"""The next item is made while the present one is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items in the same order, each made in a background thread while the one before it
    is used.

    Making one must neither draw random numbers from a shared state nor split over threads of
    torch: two groups of threads on the same cores wait for each other. What it raises is raised
    here, in its place. Where the caller stops early, the thread ends with the item it is at.

    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "prefetch") as pool:
        following = pool.submit(next, iterator, _END)
        while (item := following.result()) is not _END:
            following = pool.submit(next, iterator, _END)
            yield cast("T", item)

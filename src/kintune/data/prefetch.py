"""Work done in background threads ahead of its use, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch(
    work: Callable[[S], T], items: Iterable[S], *, threads: int = 1, ahead: int = 1
) -> Generator[T, None, None]:
    """`work` of each item, in order, done by background threads while earlier results are used.

    Nothing is done before the first result is asked for. An exception of `work` is raised in the
    place of its result. Where the caller stops early, the threads end with the items they are at.

    Args:
        work: must neither draw random numbers from a shared state nor split over threads of torch:
            two groups of threads on the same cores wait for each other.
        items: what is worked on; taken in the caller's thread.
        threads: how many work at the same time.
        ahead: results that each thread may have in memory before their turn.

    >>> list(prefetch(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(threads, "prefetch") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in islice(iterator, threads * ahead):
                waiting.append(pool.submit(work, item))
            while waiting:
                result = waiting.popleft().result()
                for item in islice(iterator, 1):
                    waiting.append(pool.submit(work, item))
                yield result
        finally:
            for future in waiting:
                future.cancel()

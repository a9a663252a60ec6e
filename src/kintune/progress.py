"""What a person sees while waiting: on stderr, and bars only on a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def announce(text: str) -> None:
    """One line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


class Bar(Protocol):
    """What `progress_bar` hands out."""

    def __call__(self, advance: int = 1, note: str = "") -> None: ...


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Bar]:
    """A bar with the time left; silent where stderr is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(advance: int = 1, note: str = "") -> None:
            bar.update(task, advance=advance)
            if note:
                bar.update(task, note=note)

        yield advance


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, with a bar that counts them."""
    with progress_bar(description, total) as advance:
        for item in items:
            yield item
            advance()

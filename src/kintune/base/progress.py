"""Progress: on stderr, and bars only on a terminal."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TextIO, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def is_first_process() -> bool:
    """Whether this is the one process, or the first of those that torchrun started together: only
    it talks to the person."""
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return not together or os.environ.get("RANK", "0") == "0"


def announce(text: str) -> None:
    """One line for the person, on stderr."""
    if is_first_process():
        say(text, sys.stderr)


_verbose: ContextVar[bool] = ContextVar("verbose", default=False)


@contextmanager
def verbosity(*, verbose: bool) -> Iterator[None]:
    """Whether `detail` says anything inside."""
    token = _verbose.set(verbose)
    try:
        yield
    finally:
        _verbose.reset(token)


def detail(text: str) -> None:
    """One line about internals, on stderr, where they were asked for (`--verbose`)."""
    if _verbose.get():
        announce(f"- {text}")


def say(text: str, stream: TextIO) -> None:
    """Print text that may hold names of files and classes: see `printable`. Characters that the
    stream's encoding lacks become escapes, too."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = printable(text, keep="\n\t").encode(encoding, "backslashreplace").decode(encoding)
    print(shown, file=stream, flush=True)


def printable(text: str, keep: str = "") -> str:
    r"""The text with escapes for all that a terminal would obey or cannot show: control characters,
    marks that turn the direction of writing, and bytes of a file name that are not UTF-8.

    Args:
        text: any.
        keep: control characters that are meant.

    >>> printable("\x1b[31mred\n"), printable("gr\udcfcn"), printable("a\tb", keep="\t")
    ('\\x1b[31mred\\n', 'gr\\xfcn', 'a\tb')
    """
    return _UNPRINTABLE.sub(lambda found: _escape(found[0], keep), text)


def _escape(character: str, keep: str) -> str:
    if character in keep:
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def megabytes(size: int) -> str:
    """A size in bytes, for reading.

    >>> megabytes(55_300_000), megabytes(1234)
    ('55 MB', '0.0 MB')
    """
    return f"{size / 1e6:.{0 if size >= 1e7 else 1}f} MB"


class Bar(Protocol):
    """Bar of `progress_bar`."""

    def __call__(self, advance: int = 1, note: str = "") -> None: ...


@dataclass
class Display:
    """A part of the terminal that is drawn anew: a table, and bars of what is going on below."""

    live: Live
    table: RenderableType = ""
    bars: list[Progress] = field(default_factory=list[Progress])

    def show(self, table: RenderableType) -> None:
        """Replace the table."""
        self.table = table
        self._draw()

    @contextmanager
    def holding(self, bar: Progress) -> Iterator[None]:
        """Show a bar below the table for a while."""
        self.bars.append(bar)
        self._draw()
        try:
            yield
        finally:
            self.bars.remove(bar)
            self._draw()

    def _draw(self) -> None:
        self.live.update(Group(self.table, *self.bars), refresh=True)


_display: ContextVar[Display | None] = ContextVar("display", default=None)


@contextmanager
def live_display(console: Console | None = None) -> Iterator[Display | None]:
    """A table on stderr that stays in its place; None where stderr is not a terminal.

    Lines that are announced meanwhile go above it, bars go below.
    """
    console = console or Console(stderr=True)
    if not (console.is_terminal and is_first_process()):
        yield None
        return
    with Live(console=console, transient=True) as live:
        token = _display.set(Display(live))
        try:
            yield _display.get()
        finally:
            _display.reset(token)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Bar]:
    """A bar with the time left; silent where stderr is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    silent = not (console.is_terminal and is_first_process())
    bar = Progress(*columns, console=console, transient=True, disable=silent)
    display = _display.get()
    with display.holding(bar) if display else bar:
        task = bar.add_task(printable(description), total=total, note="")

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


def duration(seconds: float | None) -> str:
    """Words for a length of time; None is one that could not be estimated.

    >>> duration(75), duration(7000)
    ('about 1 min 15 s', 'about 1 h 56 min')
    """
    if seconds is None:
        return "an unknown time: not even a few steps fit into memory"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"about {hours} h {minutes} min"
    return f"about {minutes} min {rest} s" if minutes else f"about {rest} s"

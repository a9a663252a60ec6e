"""Ctrl-C and SIGTERM become a request that the loop honours between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopRequest:
    """Whether, and by which signal, the run was asked to stop."""

    signal_number: int | None = None

    @property
    def made(self) -> bool:
        """Whether a signal came."""
        return self.signal_number is not None

    def obey(self, message: str) -> NoReturn:
        """Raise what the signal stands for, with what the person should know."""
        interrupted = self.signal_number == signal.SIGINT
        self.signal_number = None
        if interrupted:
            raise KeyboardInterrupt(message)
        raise SystemExit(message)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Collect the first Ctrl-C or SIGTERM instead of being torn out of a step.

    A second signal acts at once, as it would have without this. Outside the main thread, where
    Python handles no signals, nothing is collected. A request that came too late for the loop is
    obeyed on leaving.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal_number = number
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
    if request.made:
        request.obey("Stopped. The same command goes on from there.")

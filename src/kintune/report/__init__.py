"""The page that shows what a tuning found: one HTML file that needs nothing beside it."""

from pathlib import Path

from kintune.base.files import write_atomically
from kintune.report.page import render_page
from kintune.report.reading import read_output


def write_report(folder: Path) -> Path:
    """Write `report.html` into the output folder of `tune`, or into the folder of a single run.

    What is not there yet (no evaluation, no similarity, runs still going) is left out and said.

    Returns:
        The path of the page, absolute.

    Raises:
        OptionError: the folder holds no output of Kintune, or a file of it cannot be used.
    """
    path = folder.resolve() / "report.html"
    write_atomically(path, render_page(read_output(folder.resolve())).encode())
    return path

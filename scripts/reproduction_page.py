"""Write docs/reproduction.md and its figures from the recorded runs and the paper's numbers.

    python scripts/reproduction_page.py

Runs are read from `results/iclr2020`; `kintune reproduce all` makes them.
`results/iclr2020/page.toml` holds what is written by hand: the introduction and a conclusion for
each experiment. Tables are also
written to `results/iclr2020`, as Markdown and CSV, figures as SVG and PNG. Seconds.
"""

import argparse
import shutil
import tomllib
from pathlib import Path, PurePosixPath

from kintune_paper.engine.known import KnownRuns
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.engine.rendering import written
from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.iclr2020.page import Page, page_text
from kintune_paper.iclr2020.protocols import SMALL
from kintune_paper.run_records import RunArchive

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results/iclr2020"
PAGE = ROOT / "docs/reproduction.md"
FIGURES = PurePosixPath("_static/reproduction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    known = KnownRuns([RunArchive(args.results)])
    known.refresh()
    measurements = MeasurementArchive(args.results / "measurements")
    figures = args.page.parent / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    drawn: set[str] = set()
    for experiment in EXPERIMENTS.values():
        for path in written(experiment, SMALL, known, measurements, args.results):
            if path.suffix == ".svg":
                shutil.copy(path, figures / path.name)
                drawn.add(experiment.name)
    by_hand = tomllib.loads((RESULTS / "page.toml").read_text(encoding="utf-8"))
    page = Page(
        protocol=SMALL,
        known=known,
        measurements=measurements,
        introduction=by_hand["introduction"],
        conclusions=by_hand["conclusions"],
        figures=FIGURES,
        drawn=frozenset(drawn),
    )
    args.page.write_text(page_text(page), encoding="utf-8")


if __name__ == "__main__":
    main()

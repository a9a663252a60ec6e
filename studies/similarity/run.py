"""The study of distances between domains: measure, judge, write the page.

    python -m studies.similarity.run run --data DATA --models MODELS --work WORK
    python -m studies.similarity.run page

`run` measures every candidate distance of four networks (`pocket`, and in MODELS MobileNetV2 from
ImageNet-1k, iNaturalist birds and insects at 96 px) to the image sets in DATA, at most 500 images a
set, and writes results/similarity_study.json after each network. A stopped run continues with the
networks that are missing. About half an hour on two cores. `page` writes the tables of
docs/studies/similarity.md from it.
"""

import argparse
import json
from pathlib import Path

from kintune.runs import write_json
from studies.similarity import judgement, measures

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results/similarity_study.json"
PAGE = ROOT / "docs/studies/similarity.md"
MARK = "<!-- tables -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/similarity_study"))
    args = parser.parse_args()
    if args.what == "run":
        held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        measures.run(
            args.data, args.models, args.work, held, lambda found: write_json(RESULTS, found)
        )
    else:
        written = PAGE.read_text().partition(MARK)[0]
        tables = judgement.tables(json.loads(RESULTS.read_text()))
        PAGE.write_text(f"{written}{MARK}\n\n{tables}")


if __name__ == "__main__":
    main()

"""Search in effective learning rate: a space around the recommendation, engines, the loop."""

from kintune.search.choice import (
    Mistakes,
    decades_between,
    difference_error,
    paired_standard_error,
    select_rate,
    standard_error,
)
from kintune.search.engines import ENGINES
from kintune.search.explanations import explain_outcomes
from kintune.search.grids import Grid, appendix_d_grid, distinct, paper_grid, scratch_grid
from kintune.search.history import History, Observation, Proposal, SearchEngine
from kintune.search.live import live_table
from kintune.search.search import (
    Budget,
    SearchOutcome,
    SearchPlan,
    describe,
    search,
)
from kintune.search.space import Choices, Point, SearchSpace
from kintune.search.study import StudyView
from kintune.search.trials import Asked, Trial, TrialStore

__all__ = [
    "ENGINES",
    "Asked",
    "Budget",
    "Choices",
    "Grid",
    "History",
    "Mistakes",
    "Observation",
    "Point",
    "Proposal",
    "SearchEngine",
    "SearchOutcome",
    "SearchPlan",
    "SearchSpace",
    "StudyView",
    "Trial",
    "TrialStore",
    "appendix_d_grid",
    "decades_between",
    "describe",
    "difference_error",
    "distinct",
    "explain_outcomes",
    "live_table",
    "paired_standard_error",
    "paper_grid",
    "scratch_grid",
    "search",
    "select_rate",
    "standard_error",
]

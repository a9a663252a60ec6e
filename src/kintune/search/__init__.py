"""Search in effective learning rate: a space around the recommendation, an engine, the loop."""

from kintune.search.engines import Bracket, Observation, SearchEngine
from kintune.search.search import best_run, search
from kintune.search.space import SearchSpace, around

__all__ = [
    "Bracket",
    "Observation",
    "SearchEngine",
    "SearchSpace",
    "around",
    "best_run",
    "search",
]

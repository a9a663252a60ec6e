"""What to train, and how: a model of the errors of recipes, its references, its answer in words."""

from kintune.recommend.recommendation import Recommendation
from kintune.recommend.recommender import LITTLE_LOSS, RANGE, TaskFacts, recommend

__all__ = ["LITTLE_LOSS", "RANGE", "Recommendation", "TaskFacts", "recommend"]

"""The engines by name. A new one is added here, and tested from then on."""

from kintune.runs.defaults import EngineName
from kintune.search.bracket import Bracket
from kintune.search.history import SearchEngine
from kintune.search.optuna_engines import GpEngine, TpeEngine
from kintune.search.recipes import Recipes
from kintune.search.simple_engines import GridEngine, RandomEngine

ENGINES: dict[EngineName, SearchEngine] = {
    "recipes": Recipes(),
    "bracket": Bracket(),
    "tpe": TpeEngine(),
    "gp": GpEngine(),
    "random": RandomEngine(),
    "grid": GridEngine(),
}

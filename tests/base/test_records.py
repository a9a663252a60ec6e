from pathlib import Path

import pytest
from pydantic import ValidationError

import kintune
from kintune.base.errors import OptionError
from kintune.options import FinetuneOptions
from kintune.runs.hyperparameters import Hyperparameters

SETTINGS = Hyperparameters.as_in_paper(lr=0.01, batch_size=32, epochs=1)


def test_replace_changes_a_copy():
    assert SETTINGS.replace(lr=0.1) == Hyperparameters.as_in_paper(lr=0.1, batch_size=32, epochs=1)
    assert SETTINGS.lr == 0.01


@pytest.mark.parametrize("changes", [{"momentum": 7}, {"lr": float("nan")}, {"rate": 0.1}])
def test_replace_validates(changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        SETTINGS.replace(**changes)


def test_replace_names_the_flag_of_an_option():
    with pytest.raises(OptionError, match="--momentum"):
        FinetuneOptions(data="x", model="pocket").replace(momentum=7)


def test_nothing_copies_a_record_without_validation():
    """pydantic's `model_copy` takes any value for any name."""
    files = Path(kintune.__file__).parent.rglob("*.py")
    users = [path.name for path in files if ".model_copy(" in path.read_text()]
    assert users == []

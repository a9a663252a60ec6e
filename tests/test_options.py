import pytest

from kintune.errors import OptionError
from kintune.options import FinetuneOptions, TuneOptions


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("lr", -1.0),
        ("lr", 0.0),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1.0),
        ("epochs", 0),
        ("batch_size", 0),
        ("val_fraction", 1.0),
        ("seed", -1),
        ("threads", 0),
    ],
)
def test_a_value_out_of_range_is_told_with_its_flag(flag, value):
    with pytest.raises(OptionError, match=f"--{flag.replace('_', '-')}: .*got {value}"):
        FinetuneOptions(data="x", model="pocket", **{flag: value})


def test_all_faults_are_told_together():
    with pytest.raises(OptionError) as error:
        TuneOptions(data="x", model="pocket", runs=0, momentum=2.0)
    assert "--runs" in str(error.value)
    assert "--momentum" in str(error.value)


def test_an_unknown_keyword_is_named():
    with pytest.raises(OptionError, match="--learning-rate"):
        TuneOptions(data="x", model="pocket", learning_rate=0.1)

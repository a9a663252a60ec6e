import pytest

from kintune.base.errors import OptionError
from kintune.options import FinetuneOptions, ReproduceOptions, SearchOptions, TuneOptions


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


def numbers(options):
    """Names of the fields that take a number."""
    for name, field in options.model_fields.items():
        if any(kind in str(field.annotation) for kind in ("int", "float")):
            yield name, field


@pytest.mark.parametrize("options", [FinetuneOptions, SearchOptions, ReproduceOptions])
def test_every_number_has_bounds(options):
    """What has none overflows, runs for ever or takes all memory."""
    for name, _ in numbers(options):
        if name in ("mean", "std"):
            continue
        for value in (float("nan"), float("inf"), 1e308, 2**64, -1):
            with pytest.raises(OptionError, match=f"--{name.replace('_', '-')}"):
                options(data="x", model="pocket", **{name: value})


@pytest.mark.parametrize("value", [1e-320, 1e39, 1e308])
def test_a_rate_beyond_float32_is_refused(value):
    with pytest.raises(OptionError, match="--lr"):
        FinetuneOptions(data="x", model="pocket", lr=value)


def test_an_empty_output_is_refused():
    with pytest.raises(OptionError, match=r"--output: .*must not be empty"):
        TuneOptions(data="x", model="pocket", output="")

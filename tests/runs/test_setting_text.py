from kintune.cli.tables import summary_table
from kintune.options.results import BestRun, SettingResult, TrainingSummary
from kintune.runs import RunResult
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.setting_text import SEARCHED, describe_fields, difference, differing_fields
from kintune.search import Choices

FROZEN = Hyperparameters(lr=0.0562, batch_size=32, epochs=6)


def test_every_choice_of_a_search_has_its_words():
    assert set(SEARCHED) == set(Choices.model_fields)
    assert describe_fields(FROZEN.replace(regularizer="none"), SEARCHED) == (
        "frozen batch statistics, flip augmentation, no regularizer, batch size 32, momentum 0.9, "
        "weight decay 0.0001"
    )


def test_a_decay_that_follows_the_momentum_is_not_named():
    assert difference(FROZEN.with_momentum(0.5), FROZEN) == "with momentum 0.5"
    other = FROZEN.replace(momentum=0.5)
    assert difference(other, FROZEN) == "with momentum 0.5, weight decay 0.0001"
    assert differing_fields([FROZEN, other], but=["momentum"]) == ("weight_decay",)
    assert difference(FROZEN.replace(lr=1), FROZEN) == ""


def result(setting, name):
    return SettingResult(
        id=name,
        hyperparameters=setting,
        effective_lr=setting.effective_lr,
        status="complete",
        validation_top1_error=0.1,
        seconds=1,
    )


def test_the_table_of_a_search_names_the_values_that_differ():
    batch = FROZEN.replace(freeze_bn_stats=False)
    runs = (result(FROZEN, "a"), result(batch, "b"))
    best = BestRun(
        **{name: getattr(runs[0], name) for name in RunResult.model_fields},
        test_top1_error=None,
    )
    table = summary_table(
        TrainingSummary(
            status="complete",
            runs=runs,
            best=best,
            model_path="best",
            report_path="report.html",
            command="kintune tune",
            facts={},
            labels={},
            versions={},
            device="cpu",
        )
    )
    assert "effective rate 0.562, frozen batch statistics: validation error 10.00%" in table
    assert table.count("frozen batch statistics") == 2
    assert table.count("statistics of each batch") == 1
    assert "True" not in table

from kintune.training.metrics import EpochMetrics, read_metrics, write_metrics

ROWS = [
    EpochMetrics(epoch=1, lr=0.1, train_loss=1 / 3, weight_norm=2.0, seconds=1.5),
    EpochMetrics(
        epoch=2,
        lr=1e-5,
        train_loss=0.1,
        validation_loss=0.0,
        validation_top1_error=0.0,
        validation_average_class_error=0.25,
        weight_norm=2.0,
        seconds=3.0,
    ),
]


def test_rows_come_back_as_they_were_written(tmp_path):
    write_metrics(tmp_path, ROWS)

    assert read_metrics(tmp_path) == ROWS


def test_nothing_written_is_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []

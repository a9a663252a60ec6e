import pytest

from kintune.base.errors import OptionError
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


@pytest.mark.parametrize("byte", [0x00, 0x1B, 0x2C, 0x41, 0x88, 0xFF])
def test_a_damaged_byte_is_told_with_the_file_and_what_to_do(tmp_path, byte):
    write_metrics(tmp_path, ROWS)
    content = bytearray((tmp_path / "metrics.csv").read_bytes())
    content[-4] = byte
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(OptionError, match=r"metrics\.csv: damaged .* delete the folder"):
        read_metrics(tmp_path)


def test_a_missing_row_is_damage(tmp_path):
    write_metrics(tmp_path, ROWS[1:])
    with pytest.raises(OptionError, match="its epochs are 2"):
        read_metrics(tmp_path)

import pytest

from kintune.backbones.facts import parse_model_kwargs


@pytest.mark.parametrize(
    ("text", "value"),
    [("[3,4,6,3]", [3, 4, 6, 3]), ("null", None), ("true", True), ("same", "same"), ("NaN", "NaN")],
)
def test_model_arguments_are_json_or_text(text, value):
    assert parse_model_kwargs((f"x={text}",)) == {"x": value}

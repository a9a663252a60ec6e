"""A setting in words: the same in the terminal, in the report and in JSON."""

from collections.abc import Iterable
from typing import Any

from kintune.runs.hyperparameters import Hyperparameters

RECIPE_NAMES = {
    "head": "head on the frozen features",
    "frozen": "all weights, frozen batch statistics",
    "batch": "all weights, statistics of each batch",
}
"""Weights that are trained, and how batches are normalized."""
SEARCHED = (
    "freeze_bn_stats",
    "augmentation",
    "regularizer",
    "batch_size",
    "momentum",
    "weight_decay",
)
"""The fields that a search can choose beside the rate, in the order in which they are named."""


def field_name(field: str) -> str:
    """A field of `Hyperparameters` as a person calls it.

    >>> field_name("freeze_bn_stats"), field_name("bn_momentum")
    ('batch statistics', 'BN momentum')
    """
    if field == "freeze_bn_stats":
        return "batch statistics"
    return field.replace("bn_", "BN ").replace("_", " ")


def describe_setting(setting: Hyperparameters, fields: Iterable[str] = ()) -> str:
    """The effective rate and the values of some fields.

    >>> setting = Hyperparameters(lr=0.01, batch_size=32, epochs=1, freeze_bn_stats=True)
    >>> describe_setting(setting, ["freeze_bn_stats", "augmentation"])
    'effective rate 0.1, frozen batch statistics, flip augmentation'
    """
    if setting.epochs == 0:
        return RECIPE_NAMES["head"]
    values = describe_fields(setting, fields)
    return f"effective rate {setting.effective_lr:.4g}" + (f", {values}" if values else "")


def describe_fields(setting: Hyperparameters, fields: Iterable[str]) -> str:
    """The values of some fields.

    >>> setting = Hyperparameters(lr=0.01, batch_size=32, epochs=1, augmentation="none")
    >>> describe_fields(setting, ["augmentation", "weight_decay"])
    'no augmentation, weight decay 0.0001'
    """
    return ", ".join(_describe_value(field, getattr(setting, field)) for field in fields)


def differing_fields(
    settings: Iterable[Hyperparameters], *, but: Iterable[str] = ()
) -> tuple[str, ...]:
    """The fields of `SEARCHED` in which settings differ.

    Args:
        settings: two or more; a weight decay that only follows the momentum does not count.
        but: fields to leave out.
    """
    compared = list(settings)
    left_out = set(but)
    return tuple(
        field
        for field in SEARCHED
        if field not in left_out and len({_compared(each, field) for each in compared}) > 1
    )


def difference(one: Hyperparameters, other: Hyperparameters) -> str:
    """In what one setting differs from another, but for the rate; empty where in nothing.

    >>> base = Hyperparameters(lr=0.1, batch_size=32, epochs=1)
    >>> difference(base.replace(augmentation="random_crop"), base)
    'with random_crop augmentation'
    """
    fields = differing_fields([one, other])
    return f"with {describe_fields(one, fields)}" if fields else ""


def _describe_value(field: str, value: Any) -> str:
    if field == "freeze_bn_stats":
        return "frozen batch statistics" if value else "statistics of each batch"
    if isinstance(value, str):
        return f"{'no' if value == 'none' else value} {field_name(field)}"
    return f"{field_name(field)} {value:g}"


def _compared(setting: Hyperparameters, field: str) -> Any:
    if field == "weight_decay":
        return f"{setting.with_momentum(0).weight_decay:.6g}"
    return getattr(setting, field)

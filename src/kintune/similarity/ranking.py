"""Several sources for one target: which is the nearest, and is the order more than noise?"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from kintune.base.errors import IncomparableError
from kintune.base.records import Record
from kintune.similarity.measure import Similarity

RankedBy = Literal["relative_distance", "distance"]


class SourceRanking(Record):
    """Candidate sources for a target, the nearest first."""

    target: str
    ranked_by: RankedBy
    ranked: tuple[Similarity, ...]
    warnings: tuple[str, ...] = ()
    """Where the order lies inside the noise, or between networks that are hard to compare."""


def rank_sources(
    measured: Sequence[Similarity], *, by: RankedBy = "relative_distance"
) -> SourceRanking:
    """Order sources by their distance to one target.

    `relative_distance` may be compared between networks, within the limits that the documentation
    states; `distance` only where one network measured everything.

    Args:
        measured: one value for each source, all of one target.
        by: which value decides.

    Raises:
        IncomparableError: other targets, gammas, or kinds of prototypes; for `distance`, other
            extractors, or a source that has none.
    """
    _refuse_incomparable(measured, by)
    ranked = sorted(measured, key=lambda each: _value(each, by))
    return SourceRanking(
        target=ranked[0].target,
        ranked_by=by,
        ranked=tuple(ranked),
        warnings=(*_noise(ranked, by), *_across_architectures(ranked)),
    )


def _value(measured: Similarity, by: RankedBy) -> float:
    value = getattr(measured, by)
    if value is None:
        raise IncomparableError(
            f"{measured.source}: has no distance, because its prototypes come from the head. Rank "
            "by relative_distance, or give --source images."
        )
    return value


def _interval(measured: Similarity, by: RankedBy) -> tuple[float, float]:
    interval = measured.interval if by == "relative_distance" else measured.distance_interval
    return interval or (_value(measured, by), _value(measured, by))


def _refuse_incomparable(measured: Sequence[Similarity], by: RankedBy) -> None:
    shared = {
        "target": {f"{each.target}, {each.images} images" for each in measured},
        "gamma": {str(each.gamma) for each in measured},
        "prototypes of the target": {each.target_prototypes_from for each in measured},
        "prototypes of the source": {each.prototypes_from for each in measured},
        "shift of the mean known": {str(each.domain_shift is not None) for each in measured},
    }
    if by == "distance":
        shared["network or input (extractor)"] = {each.extractor for each in measured}
        shared["least images of a source class"] = {str(each.min_images) for each in measured}
    differing = {name: sorted(values) for name, values in shared.items() if len(values) > 1}
    if differing or not measured:
        found = "; ".join(f"{name}: {' and '.join(values)}" for name, values in differing.items())
        raise IncomparableError(
            f"these values cannot be ranked by {by}, they differ in {found or 'everything'}. "
            "Measure them alike."
        )


def _noise(ranked: Sequence[Similarity], by: RankedBy) -> list[str]:
    return [
        f"{near.source} and {far.source} lie within each other's 90 % intervals: their order is "
        "inside the noise."
        for near, far in pairwise(ranked)
        if _interval(near, by)[1] >= _interval(far, by)[0]
    ]


def _across_architectures(ranked: Sequence[Similarity]) -> list[str]:
    models = sorted({each.model for each in ranked})
    if len(models) < 2:
        return []
    named = ", ".join(models)
    return [f"different architectures ({named}): their distances compare only roughly."]

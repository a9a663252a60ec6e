"""Where a measured distance lies among those of known targets."""

from kintune.errors import IncomparableError
from kintune.reference.tables import Origin, rank_among, reference_distances
from kintune.similarity import Similarity


def rank_of(similarity: Similarity) -> float:
    """Place of a target among the known ones of a broad source: 0 nearest, 1 farthest.

    Raises:
        IncomparableError: the source's prototypes are clusters of images.
    """
    return rank_among(reference_distances(origin_of(similarity)), similarity.relative_distance)


def origin_of(similarity: Similarity) -> Origin:
    """Which scale of known targets a measured distance belongs to.

    Raises:
        IncomparableError: none; the source's prototypes are clusters of images.
    """
    match similarity.prototypes_from:
        case "images" | "head" as origin:
            return origin
        case other:
            raise IncomparableError(
                f"prototypes from {other!r} have no reference scale; use prototypes from images or "
                "from the head."
            )

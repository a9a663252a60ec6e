import pytest

from kintune.base.errors import IncomparableError
from kintune.similarity import Similarity, rank_sources


def measured(source, value, **changes):
    facts = {
        "model": "net",
        "extractor": f"net@32px-{source}",
        "source": source,
        "target": "t",
        "distance": 10 * value,
        "similarity": 0.9,
        "relative_distance": value,
        "interval": (value - 0.01, value + 0.01),
        "distance_interval": (10 * value - 0.1, 10 * value + 0.1),
        "prototypes_from": "images",
        "images": 100,
        "classes": 5,
        "domain_shift": 0.1,
    }
    return Similarity(**facts | changes)


def test_the_nearest_source_comes_first():
    ranking = rank_sources([measured("b", 0.6), measured("a", 0.4), measured("c", 0.7)])
    assert [each.source for each in ranking.ranked] == ["a", "b", "c"]
    assert ranking.warnings == ()


def test_an_order_inside_the_noise_is_warned_of():
    ranking = rank_sources([measured("a", 0.40), measured("b", 0.415), measured("c", 0.6)])
    (warning,) = ranking.warnings
    assert "a and b" in warning
    assert "inside the noise" in warning


def test_architectures_are_compared_with_a_warning():
    ranking = rank_sources([measured("a", 0.4), measured("b", 0.6, model="other")])
    assert "net, other" in ranking.warnings[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"gamma": 0.02}, "gamma: 0.01 and 0.02"),
        ({"target": "u"}, "target"),
        ({"images": 99}, "target"),
        ({"prototypes_from": "head"}, "images"),
        ({"target_prototypes_from": "clusters"}, "clusters"),
        ({"domain_shift": None}, "shift of the mean known: False and True"),
    ],
)
def test_what_was_not_measured_alike_is_refused(change, word):
    with pytest.raises(IncomparableError, match=word):
        rank_sources([measured("a", 0.4), measured("b", 0.6, **change)])


def test_the_papers_distance_is_compared_through_one_network_only():
    one, other = measured("a", 0.5), measured("b", 0.4)
    with pytest.raises(IncomparableError, match="extractor"):
        rank_sources([one, other], by="distance")
    same = other.replace(extractor=one.extractor)
    assert rank_sources([one, same], by="distance").ranked[0].source == "b"
    fewer = same.replace(min_images=200)
    with pytest.raises(IncomparableError, match="1 and 200"):
        rank_sources([one, fewer], by="distance")


def test_a_source_without_a_distance_is_not_ranked_by_it():
    heads = [
        measured(name, 0.4, distance=None, prototypes_from="head", extractor="x") for name in "ab"
    ]
    with pytest.raises(IncomparableError, match="head"):
        rank_sources(heads, by="distance")

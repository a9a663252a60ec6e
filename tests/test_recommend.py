import math

import numpy as np
import pytest

from kintune import rate_evidence
from kintune import recommend as module
from kintune.backbones import BackboneOverrides, load_backbone
from kintune.rate_evidence import (
    fit_rates,
    left_out_coverage,
    rank_between,
    rate_examples,
)
from kintune.recommend import Recipe, TaskFacts, highest_rate, recommend, reference_coverage
from kintune.reference import load_reference_tables, reference_distances, shipped_reference_tables
from kintune.similarity import Similarity


def similarity(relative_distance, prototypes_from="head"):
    return Similarity(
        model="m",
        extractor="x",
        source="s",
        target="t",
        distance=None,
        similarity=None,
        relative_distance=relative_distance,
        interval=(relative_distance - 0.02, relative_distance + 0.02),
        prototypes_from=prototypes_from,
        images=1000,
        classes=10,
    )


def task(epochs=40, images=1600, batch_size=32):
    return TaskFacts(images=images, classes=10, batch_size=batch_size, epochs=epochs)


def test_nearer_targets_get_smaller_rates():
    scale = list(reference_distances("head").values())
    advice = [recommend(similarity(d), task(epochs=100)) for d in (scale[0] - 0.1, scale[-1] + 0.1)]
    assert advice[0].effective_lr.best < advice[1].effective_lr.best / 2


def test_the_range_holds_the_best_guess_and_lr_follows_momentum():
    advice = recommend(similarity(0.7), task(), Recipe(momentum=0.0))
    assert advice.effective_lr.low <= advice.effective_lr.best <= advice.effective_lr.high
    assert advice.lr == pytest.approx(advice.effective_lr.best)
    usual = recommend(similarity(0.7), task(), Recipe(momentum=0.9))
    assert usual.effective_lr == advice.effective_lr
    assert usual.lr == pytest.approx(advice.lr / 10)
    assert usual.hyperparameters.effective_lr == pytest.approx(usual.effective_lr.best)


def bests_by_budget():
    return [
        recommend(similarity(0.7), task(epochs=epochs)).effective_lr.best for epochs in (4, 40, 400)
    ]


def test_a_training_that_sees_fewer_images_gets_a_larger_rate():
    bests = bests_by_budget()
    assert bests[0] > bests[1] > bests[2]


def test_how_much_larger_is_what_the_references_say(monkeypatch):
    """The short ones of one network, each again in a tenfold training at a third of the rate."""
    table = own_table()
    table = table.replace(rows=tuple(row for row in table.rows if row.epochs == 12))
    longer = {"target": "longer", "iterations": None}
    rows = [
        row.replace(**(longer | {"epochs": 10 * row.epochs, "effective_lr": row.effective_lr / 3}))
        for row in table.rows
    ]
    both = table.replace(rows=(*table.rows, *rows))
    monkeypatch.setattr(module, "load_reference_tables", lambda: (both,))
    bests = bests_by_budget()
    assert bests[0] > 1.2 * bests[1] > 1.2**2 * bests[2]
    monkeypatch.setattr(module, "load_reference_tables", lambda: (table,))
    alone = bests_by_budget()
    assert bests[0] / bests[2] > 1.5 * alone[0] / alone[2]


def test_steps_that_cut_the_last_epoch_short_count_as_seen():
    cut = task(epochs=3).replace(iterations=120)
    assert cut.images_seen == 120 * 32
    assert task(epochs=3, images=33).images_seen == 99  # a last batch of one image


def test_a_budget_that_is_hardly_one_is_told():
    facts = task(epochs=1, images=64)
    assert facts.steps == 2
    warnings = " ".join(recommend(similarity(0.7), facts).warnings)
    assert "2 steps are hardly a training; give more --epochs." in warnings
    warnings = " ".join(recommend(similarity(0.7), task(epochs=20, images=32)).warnings)
    assert "The training sees 640 images, fewer than any reference's" in warnings


def test_no_rate_is_recommended_near_which_the_measured_networks_break():
    """Large batches ask for more; the range ends where it does, and is not surer for it."""
    large = task(epochs=4).replace(batch_size=4096, trust_ratio=0.1)
    advice = recommend(similarity(0.9), large)
    assert advice.effective_lr.best == advice.effective_lr.high == pytest.approx(0.02)
    assert any("ask for a larger rate than 0.02, near" in text for text in advice.warnings)
    usual = large.replace(batch_size=32, trust_ratio=16.0)
    assert advice.confidence == recommend(similarity(0.9), usual).confidence
    assert advice.effective_lr.high / advice.effective_lr.low == pytest.approx(2, rel=0.01)


def test_rates_are_in_proportion_to_batch_size_and_trust_ratio():
    usual = recommend(similarity(0.7), task(epochs=100)).effective_lr
    facts = task(epochs=100).replace(trust_ratio=0.1)
    assert recommend(similarity(0.7), facts).effective_lr.best == pytest.approx(usual.best / 10)
    larger = recommend(similarity(0.7), task(epochs=100, batch_size=64)).effective_lr
    assert larger.best == pytest.approx(2 * usual.best)
    assert larger.high / larger.low == pytest.approx(usual.high / usual.low)


def own_table():
    return next(t for t in shipped_reference_tables() if t.network == "pocket")


def own_similarity(table, row):
    return similarity(row.relative_distance, table.prototypes_from).replace(
        extractor=table.extractor, source=table.source
    )


def own_task(table, row):
    facts = task(epochs=row.epochs, images=row.images, batch_size=row.batch_size)
    return facts.replace(trust_ratio=table.trust_ratio, weights_sha256=table.weights_sha256)


def test_references_of_the_same_network_narrow_the_range_and_weigh_more(monkeypatch):
    monkeypatch.setattr(module, "EVIDENCE", 1000)
    table = own_table()
    near = min(table.rows, key=lambda row: row.relative_distance or 0)
    facts, own = own_task(table, near), own_similarity(table, near)
    known = recommend(own, facts)
    other = recommend(own, facts.replace(weights_sha256="others"))
    shares = [
        sum(each.weight for each in advice.evidence if each.network == table.network)
        for advice in (known, other)
    ]
    assert shares[0] > 1.3 * shares[1]
    spans = [advice.effective_lr.high / advice.effective_lr.low for advice in (known, other)]
    assert spans[0] < 0.8 * spans[1]
    assert not any("No reference was measured" in warning for warning in known.warnings)
    assert any("No reference was measured" in warning for warning in other.warnings)


@pytest.mark.parametrize("size", [32, 48])
def test_the_references_of_pocket_are_those_of_its_weights_at_any_input_size(size):
    pocket = load_backbone("pocket", overrides=BackboneOverrides(image_size=size))
    assert pocket.weights_sha256 == own_table().weights_sha256
    assert (pocket.extractor == own_table().extractor) == (size == 32)


def test_a_table_without_a_trust_ratio_counts_for_its_network_alone():
    table = own_table().replace(trust_ratio=None)
    (first, *_) = found = rate_examples([table], table.weights_sha256, 0.2)
    assert len(found) == len(table.rows)
    assert first.place == pytest.approx(
        math.log10(first.row.effective_lr / (first.row.batch_size * 0.2))
    )
    assert rate_examples([table], "others", 0.2) == []


def test_a_cut_reference_counts_the_images_that_it_saw():
    table = own_table()
    row = table.rows[0].replace(epochs=1, iterations=5)
    (cut,) = rate_examples([table.replace(rows=(row,))])
    assert cut.inputs[1] == pytest.approx(math.log10(5 * row.batch_size))


def test_a_reference_of_the_same_budget_is_carried_as_it_is(monkeypatch):
    monkeypatch.setattr(module, "EVIDENCE", 1000)
    table = own_table()
    row = table.rows[0]
    advice = recommend(own_similarity(table, row), own_task(table, row))
    same = [
        each
        for each in advice.evidence
        if (each.target, each.reference_effective_lr) == (row.target, row.effective_lr)
    ]
    assert [each.effective_lr for each in same] == pytest.approx([row.effective_lr])


def test_a_reference_of_another_network_is_carried_by_what_the_networks_differ(monkeypatch):
    """A network that bears ten times what its trust ratio says gets larger rates once known."""
    monkeypatch.setattr(module, "EVIDENCE", 1000)
    table = own_table()
    rows = (row.replace(effective_lr=10 * row.effective_lr) for row in table.rows)
    table = table.replace(rows=tuple(rows))
    tables = [table if each == own_table() else each for each in shipped_reference_tables()]
    monkeypatch.setattr(module, "load_reference_tables", lambda: tables)
    own, facts = own_similarity(table, table.rows[0]), own_task(table, table.rows[0])
    unknown = facts.replace(weights_sha256="others")

    def carried(facts):
        others = [each for each in recommend(own, facts).evidence if each.network != "pocket"]
        return {(e.network, e.source, e.target): e.effective_lr for e in others}

    known, plain = carried(facts), carried(unknown)
    assert len(known) == len(plain) >= 35
    assert all(known[key] > 1.5 * plain[key] for key in known)


def test_rank_is_the_place_among_known_targets():
    scale = list(reference_distances("head").values())
    assert rank_between(scale[0] - 0.01, "head") == 0.0
    assert rank_between(scale[-1] + 0.01, "head") == 1.0
    middle = (scale[0] + scale[1]) / 2
    assert rank_between(middle, "head") == pytest.approx(0.5 / (len(scale) - 1))


def test_the_stated_coverage_is_the_left_out_one():
    """A reference far off the line of the others is held by no range that they give."""
    table = own_table()
    scale = reference_distances(table.prototypes_from).values()
    rows = [
        table.rows[0].replace(
            target=f"t{index}", effective_lr=1e-3 * 10 ** (index / 20), relative_distance=distance
        )
        for index, distance in enumerate(np.linspace(min(scale), max(scale), 12).tolist())
    ]
    rows[5] = rows[5].replace(effective_lr=10.0)
    found = rate_examples([table.replace(rows=tuple(rows))])
    assert left_out_coverage(found, 0.8) == pytest.approx(11 / 12)
    both = [*found, *rate_examples([load_reference_tables()[0]])]
    assert left_out_coverage(both, 0.8) == pytest.approx(11 / 12)


def test_no_setting_of_the_model_is_fitted_with_the_target_that_is_left_out(monkeypatch):
    found = rate_examples([own_table(), load_reference_tables()[0]])
    measured = {each.row.target for each in found if each.study == "measured"}
    seen = []

    def spy(examples):
        seen.append({each.row.target for each in examples})
        return fit_rates(examples)

    monkeypatch.setattr(rate_evidence, "fit_rates", spy)
    assert 0 <= left_out_coverage(found, 0.8) <= 1
    every = {each.row.target for each in found}
    assert sorted(map(sorted, (every - each for each in seen))) == [[t] for t in sorted(measured)]


def test_the_stated_coverage_is_that_of_the_references_that_ship(monkeypatch):
    monkeypatch.setattr(module, "shipped_reference_tables", lambda: (own_table(),))
    expected = left_out_coverage(rate_examples([own_table()]), 0.8)
    assert reference_coverage.__wrapped__() == expected


def test_the_paper_table_is_whole():
    paper = [table for table in load_reference_tables() if table.extractor is None]
    assert len(paper) == 5
    assert sum(len(table.rows) for table in paper) == 35
    resnet = {row.target: row for row in paper[0].rows}
    assert (resnet["Dogs"].similarity, resnet["Dogs"].effective_lr) == (0.862, 0.001)
    # The quality that the paper's own tables support: nearest reference in decades, left out.
    errors = [
        abs(math.log10(row.effective_lr) - math.log10(nearest.effective_lr))
        for table in paper
        for row in table.rows
        for nearest in [
            min(
                (other for other in table.rows if other is not row),
                key=lambda other, row=row: abs((other.similarity or 0) - (row.similarity or 0)),
            )
        ]
    ]
    assert sum(errors) / len(errors) == pytest.approx(0.57, abs=0.005)


def test_evidence_and_doubts_are_told():
    advice = recommend(similarity(0.7), task())
    assert advice.evidence[0].weight >= advice.evidence[-1].weight
    assert all(row.origin for row in advice.evidence)
    assert advice.confidence == "medium"
    assert sum(each.weight for each in advice.evidence) <= 1
    assert any("No reference was measured with this network" in w for w in advice.warnings)


def test_the_probe_is_told_where_it_was_made():
    assert "linear classifier" not in recommend(similarity(0.7), task()).explanation
    facts = task().replace(probe_top1_error=0.243)
    assert "errs on about 24% of your images" in recommend(similarity(0.7), facts).explanation


def test_what_would_help_fits_the_doubts():
    unsure = similarity(0.7).replace(interval=(0.5, 0.9), images=12)
    told = " ".join(recommend(unsure, task()).would_help)
    assert all(words in told for words in ("reference build", "--source", "More images than these"))
    assert len(recommend(similarity(0.7, "images"), task()).would_help) == 1


def test_only_the_recommended_setting_is_the_recommended_one():
    advice = recommend(similarity(0.7), task())
    own = advice.hyperparameters
    rounded = own.replace(lr=float(f"{own.lr:.4g}"))
    assert advice.is_tried_by(own)
    assert advice.is_tried_by(rounded)
    changes = ({"lr": 1.01 * own.lr}, {"momentum": 0.5}, {"augmentation": "none"}, {"epochs": 7})
    assert not any(advice.is_tried_by(own.replace(**change)) for change in changes)


@pytest.mark.parametrize("batch_size", [1, 32, 4096, 10**6])
def test_a_range_is_never_a_single_point_and_never_above_the_limit(batch_size):
    facts = task(epochs=4).replace(batch_size=batch_size, trust_ratio=0.1)
    rates = recommend(similarity(0.9), facts).effective_lr
    assert rates.low < rates.high <= highest_rate(0.1)
    assert rates.low <= rates.best <= rates.high

"""From what is known before training to a recipe: what to train, how, and what to expect.

`kintune.recommend.model` gives the joint distribution of the errors of all recipes on the target.
The recipe with the least expected error is recommended, beside it what the others are expected to
reach: the head on the frozen features above all, which needs no training.
"""

import math
from collections.abc import Sequence

import numpy as np

from kintune.recommend.advice import Expected, explanation, reasons
from kintune.recommend.model import (
    GRID,
    UNIT_RATE,
    Floats,
    Mode,
    RecipeModel,
    RecipePoint,
    RecipeReference,
    RecipeTask,
    grid_of_rates,
)
from kintune.recommend.recommendation import (
    SETTINGS,
    Confidence,
    Evidence,
    RecipeAdvice,
    Recommendation,
    TaskFacts,
)
from kintune.recommend.references import (
    load_recipe_references,
    rank_of,
    recipe_deviations,
    recipe_quality,
)
from kintune.runs.hyperparameters import (
    BatchStatistics,
    Hyperparameters,
    RateRange,
    lr_for,
)
from kintune.similarity import Similarity

RANGE = 0.8
"""Nominal share of the cases that an interval holds: errors, and best rates."""
LITTLE_LOSS = 0.01
"""Error, a fraction: what a recommendation may lose against the best recipe and be called good."""
SURE, FAIRLY_SURE = 0.9, 0.7
"""Probability of losing no more than `LITTLE_LOSS` from which confidence is `high` and `medium`."""
MIN_STEPS = 10
"""Optimization steps below which there is no training to speak of."""
WIDE_INTERVAL = 0.1
"""Width of an interval of the relative distance: wider ones are warned of."""
EVIDENCE = 8
"""References that are shown, those of the largest influence."""

__all__ = ["Recommendation", "TaskFacts", "recipe_task", "recommend"]


def recommend(
    similarity: Similarity | None,
    facts: TaskFacts,
    probe_top1_error: float,
    settings: Hyperparameters,
    batch_statistics: BatchStatistics | None = None,
) -> Recommendation:
    """A recipe for a task, what it and the others are expected to reach, and the evidence.

    Args:
        similarity: the target measured against the network's source domain; None where that is not
            known, which makes the expectations less certain.
        facts: size and budget of the fine-tuning.
        probe_top1_error: of a linear probe on the frozen features (`kintune.similarity.probe`), a
            fraction.
        settings: what else is chosen, which is kept; of these the learning rate and the batch
            statistics are recommended.
        batch_statistics: those that are to be used; None leaves them to the recommendation.

    Raises:
        IncomparableError: the similarity was measured with prototypes no reference scale knows.
    """
    references = load_recipe_references()
    model = RecipeModel(references, recipe_deviations())
    task = recipe_task(similarity, facts, probe_top1_error)
    recipes, probability = _ranked(model, task, _modes(facts, batch_statistics))
    best = next(each for each in recipes if each.effective_lr is not None)
    rates = best.effective_lr
    assert rates is not None
    confidence = _confidence(probability, _extrapolations(references, task))
    settings = settings.replace(
        lr=lr_for(rates.best, settings.momentum),
        freeze_bn_stats=best.mode == "frozen" and facts.has_batch_norm,
    )
    return Recommendation(
        similarity=similarity,
        recipes=recipes,
        effective_lr=rates,
        **{name: getattr(settings, name) for name in SETTINGS},
        confidence=confidence,
        probability_of_little_loss=probability,
        reference_coverage=recipe_quality().coverage,
        probe_top1_error=probe_top1_error,
        explanation=explanation(
            similarity,
            [Expected(each.mode, each.expected_top1_error, each.interval) for each in recipes],
            rates,
            momentum=settings.momentum,
            confidence=confidence,
            has_batch_norm=facts.has_batch_norm,
        ),
        evidence=_evidence(model, task, best),
        warnings=_warnings(similarity, facts, _extrapolations(references, task)),
        would_help=_would_help(similarity, confidence),
        reasons=reasons(
            settings,
            rank=task.rank,
            steps=facts.steps,
            steps_per_epoch=math.ceil(facts.images / facts.batch_size),
        ),
        task=task,
    )


def recipe_task(
    similarity: Similarity | None, facts: TaskFacts, probe_top1_error: float
) -> RecipeTask:
    """Facts about a task that the recipe model uses.

    Raises:
        IncomparableError: the source's prototypes are clusters, which have no reference scale.
    """
    return RecipeTask(
        network=facts.weights_sha256,
        target="" if similarity is None else similarity.target,
        probe_top1_error=probe_top1_error,
        images=facts.images,
        classes=facts.classes,
        rank=0.5 if similarity is None else rank_of(similarity),
        steps=max(1, facts.steps),
        batch_size=facts.batch_size,
        size_ratio=facts.size_ratio,
        has_batch_norm=facts.has_batch_norm,
    )


def _modes(facts: TaskFacts, batch_statistics: BatchStatistics | None) -> list[Mode]:
    if not facts.has_batch_norm:
        return ["head", "frozen"]
    return ["head", batch_statistics] if batch_statistics else ["head", "frozen", "batch"]


def _ranked(
    model: RecipeModel, task: RecipeTask, modes: Sequence[Mode]
) -> tuple[tuple[RecipeAdvice, ...], float]:
    """The recipes, the least expected error first, and the probability that the first trained one
    loses no more than `LITTLE_LOSS` against the best of all recipes and rates."""
    rates = grid_of_rates(task)
    asked: list[RecipePoint] = []
    for mode in modes:
        points = [RecipePoint(mode, rate) for rate in rates.tolist()]
        stable = [point for point in points if model.is_stable(task, point)]
        asked += [RecipePoint(mode)] if mode == "head" else stable or points[:1]
    draws = model.posterior(task, asked).draws()
    places = {mode: [i for i, each in enumerate(asked) if each.mode == mode] for mode in modes}
    guesses = {mode: at[int(draws[:, at].mean(0).argmin())] for mode, at in places.items()}
    winners = draws[:, list(guesses.values())].argmin(1)
    found = [
        RecipeAdvice(
            mode=mode,
            expected_top1_error=float(draws[:, guess].mean()),
            interval=_interval(draws[:, guess]),
            effective_lr=None if mode == "head" else _rates(draws[:, places[mode]], rates),
            probability_best=float((winners == number).mean()),
        )
        for number, (mode, guess) in enumerate(zip(modes, guesses.values(), strict=True))
    ]
    ranked = tuple(sorted(found, key=lambda each: each.expected_top1_error))
    first: Mode = next(each.mode for each in ranked if each.mode != "head")
    loss = draws[:, guesses[first]] - draws.min(1)
    return ranked, float((loss <= LITTLE_LOSS).mean())


def _interval(errors: Floats) -> tuple[float, float]:
    low, high = np.quantile(errors, [(1 - RANGE) / 2, (1 + RANGE) / 2]).tolist()
    return low, high


def _rates(draws: Floats, rates: Floats) -> RateRange:
    """Best guess and 80 % range of the best rate, from errors (draws, rates)."""
    low, high = np.quantile(rates[draws.argmin(1)], [(1 - RANGE) / 2, (1 + RANGE) / 2]).tolist()
    best = float(rates[draws.mean(0).argmin()])
    step = 10 ** (GRID[1] - GRID[0])
    return RateRange(
        low=_rounded(min(low, best / step)),
        best=_rounded(best),
        high=_rounded(max(high, best * step)),
    )


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def _confidence(probability: float, extrapolations: Sequence[str]) -> Confidence:
    level = (probability >= FAIRLY_SURE) + (probability >= SURE)
    names: tuple[Confidence, ...] = ("low", "medium", "high")
    return names[max(0, level - bool(extrapolations))]


def _extrapolations(references: Sequence[RecipeReference], task: RecipeTask) -> tuple[str, ...]:
    """In which respects no reference is like the task, in words."""
    found: list[str] = []
    if all(each.task.network != task.network for each in references):
        found.append("no reference was measured with this network")
    names = {
        "images": "training images",
        "steps": "steps",
        "size_ratio": "of the pretraining's image size",
    }
    for name, unit in names.items():
        values = [getattr(each.task, name) for each in references]
        value, low, high = getattr(task, name), min(values), max(values)
        if not low / 2 <= value <= 2 * high:
            said, least, most = (f"{round(each, 2):.9g}" for each in (value, low, high))
            found.append(f"{said} {unit}, where the references have {least} to {most}")
    return tuple(found)


def _evidence(model: RecipeModel, task: RecipeTask, best: RecipeAdvice) -> tuple[Evidence, ...]:
    """The references that move the expected error most."""
    assert best.effective_lr is not None
    influences = model.influences(task, RecipePoint(best.mode, best.effective_lr.best))
    pairs = sorted(zip(influences, model.references, strict=True), key=lambda pair: -pair[0])
    found: list[Evidence] = []
    for weight, each in pairs[:EVIDENCE]:
        runs = [run for run in each.runs if run.mode == best.mode] or each.runs
        run = min(runs, key=lambda run: run.top1_error)
        found.append(
            Evidence(
                source=each.source,
                network=each.network_name,
                target=each.task.target,
                relative_distance=each.relative_distance,
                images_seen=each.task.steps * each.batch_size,
                effective_lr=run.effective_lr or UNIT_RATE,
                top1_error=run.top1_error,
                weight=weight,
                origin=each.origin,
            )
        )
    return tuple(found)


def _would_help(similarity: Similarity | None, confidence: Confidence) -> tuple[str, ...]:
    found: list[str] = []
    if confidence != "high":
        found.append(
            "References of this network: kintune reference build searches on data sets that you "
            "name, kintune reference add takes in a search that you have done."
        )
    if similarity is None or similarity.prototypes_from == "head":
        found.append("Images of the source, or prototypes made from them (--source).")
    if similarity is not None and similarity.interval[1] - similarity.interval[0] > WIDE_INTERVAL:
        found.append(f"More images than these {similarity.images}.")
    return tuple(found)


def _warnings(
    similarity: Similarity | None, facts: TaskFacts, extrapolations: Sequence[str]
) -> tuple[str, ...]:
    found = [f"Extrapolated: {each}." for each in extrapolations]
    if similarity is None:
        found.append(
            "Nothing is known of the network's source domain (it has no classifier): the "
            "recommendation does without the similarity. Pass --source to use it."
        )
    elif similarity.prototypes_from == "head":
        found.append(
            "The source's class prototypes come from the network's head, not from source images: "
            "the distance ranks targets but has no unit."
        )
    if similarity is not None:
        low, high = similarity.interval
        if high - low > WIDE_INTERVAL:
            found.append(f"The distance is uncertain ({low:.2f} to {high:.2f}).")
    if facts.images < 10 * facts.classes:
        found.append(
            f"Only {facts.images} training images for {facts.classes} classes: "
            "errors of single runs will be noisy."
        )
    if facts.steps < MIN_STEPS:
        found.append(f"{facts.steps} steps are hardly a training; give more --epochs.")
    return tuple(found)

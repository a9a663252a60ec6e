"""The tables of `docs/recipe-study.md`, from the records."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from kintune.recommend import LITTLE_LOSS
from kintune.recommend.model import Mode, RecipeReference
from studies.recipes.declared import error_of, recipe_of, records, references
from studies.recipes.judgement import (
    constant_loss,
    has_choice,
    left_out,
    network_of,
    quality_of,
    set_of,
)


def show() -> None:
    """Tables in Markdown."""
    found = references()
    judged = left_out(found)
    modes: tuple[tuple[Mode, float | None], ...] = tuple(
        sorted({(r.mode, r.effective_lr) for ref in found for r in ref.runs}, key=str)
    )
    kinds = dict.fromkeys(map(_kind, found))
    for kind in kinds:
        print("\n{}, {} images, {} epochs\n".format(*kind))
        own = [each for each in judged if _kind(each.reference) == kind]
        shown = [m for m in modes if any(m in _errors(each.reference) for each in own)]
        print("| set | probe | " + " | ".join(f"{m} {r or ''}" for m, r in shown) + " | chosen |")
        print("|---" * (3 + len(shown)) + "|")
        for reference, chosen, sure, _ in own:
            errors = _errors(reference)
            cells = [f"{100 * errors[m]:.1f}" if m in errors else "" for m in shown]
            probe = f"{100 * reference.task.probe_top1_error:.1f}"
            best = f"{chosen.mode} {chosen.effective_lr or ''} ({sure:.0%})"
            print(f"| {set_of(reference)} | {probe} | {' | '.join(cells)} | {best} |")
        print(f"\nchosen on average: {100 * np.mean([e.chosen.top1_error for e in own]):.1f}")
        _show_columns([each.reference for each in own], shown)
    print(f"\nsets left out: {quality_of(judged)}")
    print(f"networks left out: {quality_of(left_out(found, network_of))}")
    blind = [each.replace(task=each.task.replace(rank=0.5)) for each in found]
    print(f"sets left out, without similarity: {quality_of(left_out(blind))}")
    _show_schedules()
    for low, high in ((0.0, 0.7), (0.7, 0.9), (0.9, 1.01)):
        some = [
            each.loss <= LITTLE_LOSS
            for each in judged
            if has_choice(each.reference) and low <= each.sure < high
        ]
        print(f"sure {low:.0%} to {min(high, 1):.0%}: {sum(some)} of {len(some)} lost little")
    for mode, rate in modes:
        if rate is not None:
            loss, tasks = constant_loss(found, mode, rate)
            print(f"always {mode} {rate}: mean loss {loss:.4f} over {tasks} tasks")


def _show_columns(
    found: Sequence[RecipeReference], columns: Sequence[tuple[Mode, float | None]]
) -> None:
    """Mean error of each column that all sets have, and how pairs of rates follow the distance."""
    full = [each for each in columns if all(each in _errors(ref) for ref in found)]
    for mode, rate in full:
        print(f"{mode} {rate or ''}: {100 * np.mean([_errors(r)[mode, rate] for r in found]):.1f}")
    for mode, low in full:
        for other, high in full:
            if mode == other and low and high and low < high and len(found) > 2:
                gains = [_errors(r)[mode, high] - _errors(r)[mode, low] for r in found]
                rho = float(np.asarray(spearmanr([r.task.rank for r in found], gains))[0])
                print(f"{mode}, error at {high} minus at {low}: rank correlation {rho:.2f}")


def _show_schedules() -> None:
    """The cosine against the steps, both after a warm-up."""
    pairs: dict[Any, dict[str, float]] = defaultdict(dict)
    for each in records():
        if each["warmup_epochs"]:
            pairs[recipe_of(each)][each["schedule"]] = error_of(each)
    gains = [pair["cosine"] - pair["step"] for pair in pairs.values() if len(pair) == 2]
    worse = sum(gain > 0 for gain in gains)
    print(f"cosine minus step: {100 * np.mean(gains):.1f} points, worse in {worse} of {len(gains)}")


def _kind(reference: RecipeReference) -> tuple[str, str, int]:
    return reference.network_name, reference.task.target.split(", ")[1].split()[0], reference.epochs


def _errors(reference: RecipeReference) -> dict[tuple[Mode, float | None], float]:
    return {(run.mode, run.effective_lr): run.top1_error for run in reference.runs}

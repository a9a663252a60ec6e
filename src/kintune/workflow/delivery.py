"""Result of a command: the selected model, tested, and whether fine-tuning was worth it."""

from dataclasses import dataclass
from pathlib import Path

from kintune.base.errors import OptionError
from kintune.base.progress import announce
from kintune.data import Split
from kintune.options import FinetuneOptions, TuneOptions
from kintune.options.results import BestRun, SettingResult, Verdict
from kintune.search.choosing import compared, lowest_seed
from kintune.search.settings import will_retrain
from kintune.search.tuning import retrained
from kintune.similarity.task import Task
from kintune.training import evaluate_model_folder
from kintune.workflow.outputs import evaluate_best, keep_model

FROZEN_HEAD = "frozen_head"
"""Name of the folder of that run in an output folder."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The selected model; all None where no run trained to its end."""

    best: BestRun | None = None
    model_path: Path | None = None
    verdict: Verdict | None = None
    """None without a head on frozen features to compare with."""


def deliver(
    task: Task,
    options: TuneOptions | FinetuneOptions,
    folder: Path,
    selected: SettingResult | None,
    head: SettingResult | None,
) -> Delivery:
    """Test the selected setting's model, keep a copy of a search's where it is easily found, and
    compare it with the head on the frozen features.

    Args:
        task: the network and the images; the test split is read here, for the selected run and the
            head, or validation where there is none.
        options: of the command.
        folder: its output folder.
        selected: the selected setting; None where none trained to its end.
        head: the head on the frozen features; None where there is none.
    """
    (folder / "evaluation.json").unlink(missing_ok=True)
    if selected is None:
        return Delivery()
    run = lowest_seed(selected)
    if isinstance(options, FinetuneOptions):
        best, _ = evaluate_best(task, run, folder / "model", folder)
        return Delivery(best=best, model_path=folder / "model")
    is_head = head is not None and run.id == head.id
    run_folder = folder / FROZEN_HEAD if is_head else folder / "runs" / run.id
    again = _trained_again(task, options, run_folder, folder / "retrained")
    has_test = bool(len(task.dataset.splits["test"]))
    # Validation images tell nothing of a model that was trained on them.
    tested = again if again is not None and has_test else run_folder / "model"
    best, evaluation = evaluate_best(task, run, tested, folder)
    verdict = None
    if head is not None:
        head_folder = folder / FROZEN_HEAD
        other = head_folder / "model"
        if again is not None and has_test:
            other = retrained(task, head_folder, head_folder / "retrained")
        split: Split = "test" if has_test else "val"
        frozen = evaluate_model_folder(other, task.dataset, split, device=task.device)
        verdict = compared(evaluation, frozen, split, is_head=is_head)
    keep_model(again or run_folder / "model", folder / "best")
    return Delivery(
        best=best.replace(retrained=again is not None),
        model_path=folder / "best",
        verdict=verdict,
    )


def _trained_again(task: Task, options: TuneOptions, run_folder: Path, folder: Path) -> Path | None:
    """The model of a run's settings trained on training and validation images together; None where
    it is not wanted, or does not train to its end though nobody asked for it.

    Raises:
        OptionError: it was asked for, and does not train to its end.
    """
    if not will_retrain(task, options):
        return None
    announce("training once more, on training and validation images together")
    try:
        return retrained(task, run_folder, folder)
    except OptionError as error:
        if options.retrain:
            raise
        announce(f"- The run that was validated is kept. {error}")
        return None

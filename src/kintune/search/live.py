"""Live view of a search: a table of its settings, the best so far marked."""

from collections.abc import Sequence

from rich.table import Table

from kintune.base.progress import Display
from kintune.runs.setting_text import describe_fields, differing_fields
from kintune.search.search import Watcher
from kintune.search.trials import Trial


def live_table(display: Display | None) -> tuple[Watcher, ...]:
    """Watchers that keep the table of a display up to date; none where there is no display."""
    if display is None:
        return ()

    def show(trials: Sequence[Trial]) -> None:
        display.show(table_of(trials))

    return (show,)


def table_of(trials: Sequence[Trial]) -> Table:
    """One row a setting in the order in which they were tried."""
    complete = [trial for trial in trials if trial.is_complete]
    best = min(complete, key=lambda trial: (trial.error, trial.point.effective_lr), default=None)
    settings = [trial.asked.config.hyperparameters for trial in trials]
    varied = differing_fields(settings, but=["momentum"])  # which has a column
    named = ("settings",) if varied else ()
    columns = ("run", "effective lr", "momentum", *named, "validation error", "status")
    table = Table(*columns, box=None)
    for number, (trial, setting) in enumerate(zip(trials, settings, strict=True), start=1):
        row = (
            str(number),
            f"{setting.effective_lr:.4g}",
            f"{setting.momentum:g}",
            *((describe_fields(setting, varied),) if varied else ()),
            f"{trial.error:.2%}" if trial.is_complete else "",
            "best so far" if trial is best else _status(trial),
        )
        table.add_row(*row, style="bold" if trial is best else None)
    return table


def _status(trial: Trial) -> str:
    if not trial.is_finished:
        done = f", {len(trial.ended)} of {len(trial.configs)} seeds" if trial.ended else ""
        return f"training{done}"
    return ", ".join(dict.fromkeys(result.status for result in trial.ended))

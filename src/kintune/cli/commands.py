"""The command line: one record of options, one call and one way to print for each command."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tyro

from kintune.base.errors import KintuneError, OptionError
from kintune.base.processor import prepare_processor
from kintune.base.progress import is_first_process, say, verbosity
from kintune.base.records import Record
from kintune.base.streams import lost_output, prepare_streams
from kintune.base.unexpected import unexpected
from kintune.cli import tables
from kintune.cli.flags import unknown_flags
from kintune.options import (
    CacheOptions,
    CheckOptions,
    DemoOptions,
    FinetuneOptions,
    Options,
    PredictOptions,
    PrototypesOptions,
    RecommendOptions,
    ReferenceOptions,
    ReportOptions,
    ReproduceOptions,
    SearchOptions,
    SimilarityOptions,
    TuneOptions,
)

DESCRIPTION = """How should I fine-tune it? Give a folder of images and a pretrained network.

kintune tune photos/ --model resnet50 measures how similar the images are to what the network was
trained on, recommends a recipe with an expected error, tries a handful of runs and keeps the best
model with the evidence. kintune demo shows it on embedded data."""
INTERRUPTED, MISSPELT = 130, 2


@dataclass(frozen=True)
class Command:
    """One command: what it takes, what it does, how a person reads the answer."""

    options: type[Options]
    call: Callable[[Any], Record]
    show: Callable[[Any], str]
    succeeded: Callable[[Any], bool]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 on success, 1 when it could not, 2 when it was misspelt.

    Whatever happens ends in one message on stderr; a traceback goes to a file.
    """
    prepare_streams()
    prepare_processor()
    code = _guarded(list(sys.argv[1:] if arguments is None else arguments))
    failure = lost_output()
    if failure is not None:
        code = _complain(f"error: stdout: {failure.strerror}. The answer was not printed whole.")
    sys.exit(code)


def _guarded(words: list[str]) -> int:
    """Run a command; every exception becomes a message and an exit code."""
    try:
        return _run(words)
    except SystemExit as end:  # of tyro, which has said why
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KintuneError as error:
        return _complain(f"error: {error}")
    except KeyboardInterrupt as stop:
        _complain(str(stop) or "stopped; the same command continues from here.")
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the last handler
        return _complain(f"error: {unexpected(error)}")


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"kintune {version('kintune')}")
        return 0
    _refuse_empty(words)
    _require_current_folder()
    _refuse_unknown_flags(words)
    options: Options = tyro.extras.subcommand_cli_from_dict(
        {name: command.options for name, command in COMMANDS.items()},
        prog="kintune",
        description=DESCRIPTION,
        args=words,
    )
    command = next(c for c in COMMANDS.values() if type(options) is c.options)
    # Whatever a library prints must not end up in the answer.
    with redirect_stdout(sys.stderr), verbosity(verbose=options.verbose):
        result = command.call(options)
    if is_first_process():
        text = json.dumps(result.to_json(), indent=1) if options.as_json else command.show(result)
        say(text, sys.stdout)
    return 0 if command.succeeded(result) else 1


def _refuse_empty(words: list[str]) -> None:
    """An empty word, as of a variable without a value, would be taken for the working folder."""
    for before, word in zip(["DATA or FOLDER", *words], words, strict=False):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            name = word.removesuffix("=") or before
            raise OptionError(f"{name}: the value is empty. Give one, or omit the flag.")


def _refuse_unknown_flags(words: list[str]) -> None:
    if not words or words[0] not in COMMANDS:
        return
    name = words[0]
    commands = {name: command.options for name, command in COMMANDS.items()}
    messages = list(unknown_flags(words[1:], name, commands))
    if messages:
        lines = "\n".join([*messages, f"kintune {name} --help lists all."])
        say(f"kintune {name}: {lines}", sys.stderr)
        raise SystemExit(MISSPELT)


def _require_current_folder() -> None:
    """Relative paths need one, and it may have been removed."""
    try:
        Path.cwd()
    except OSError as error:
        raise OptionError(
            f"the current folder cannot be used ({error.strerror}). Change to another folder (cd) "
            "and give the same command again."
        ) from None


def _complain(text: str) -> int:
    say(f"kintune: {text}", sys.stderr)
    return 1


# Each call imports what it needs, so that --help does not wait for torch.


def _tune(options: TuneOptions) -> Record:
    from kintune.workflow.pipeline import tune

    return tune(options)


def _search(options: SearchOptions) -> Record:
    from kintune.workflow.pipeline import search

    return search(options)


def _finetune(options: FinetuneOptions) -> Record:
    from kintune.workflow.pipeline import finetune

    return finetune(options)


def _similarity(options: SimilarityOptions) -> Record:
    from kintune.workflow.pipeline import similarity

    return similarity(options)


def _prototypes(options: PrototypesOptions) -> Record:
    from kintune.workflow.pipeline import prototypes

    return prototypes(options)


def _recommend(options: RecommendOptions) -> Record:
    from kintune.workflow.pipeline import recommendation

    return recommendation(options)


def _check(options: CheckOptions) -> Record:
    from kintune.data import check_dataset, limit_decoding

    limit_decoding(threads=options.threads, gigabytes=options.decode_memory)
    return check_dataset(options.data)


def _predict(options: PredictOptions) -> Record:
    from kintune.workflow.pipeline import predictions

    return predictions(options)


def _report(options: ReportOptions) -> Record:
    from kintune.workflow.pipeline import report

    return report(options)


def _cache(options: CacheOptions) -> Record:
    from kintune.data import cache_contents, clear_cache

    return clear_cache() if options.clear else cache_contents()


def _reference(options: ReferenceOptions) -> Record:
    from kintune.recommend.own_references import add_reference, list_references

    if options.action == "list":
        return list_references()
    if options.action == "build":
        from kintune.workflow.reference_builder import build_references

        return build_references(options)
    if len(options.folders) != 1:
        raise OptionError(
            "kintune reference add needs one FOLDER, the output folder of kintune tune."
        )
    return add_reference(options.folders[0])


def _reproduce(options: ReproduceOptions) -> Record:
    from kintune_paper.reproduce import reproduce

    return reproduce(options)


def _reproduction_table(result: Any) -> str:
    from kintune_paper.engine.state import reproduction_table

    return reproduction_table(result)


def _demo(options: DemoOptions) -> Record:
    from kintune.workflow.pipeline import demo

    return demo(options)


def _always(_: Any) -> bool:
    return True


COMMANDS = {
    "tune": Command(TuneOptions, _tune, tables.summary_table, lambda run: run.succeeded),
    "search": Command(SearchOptions, _search, tables.summary_table, lambda run: run.succeeded),
    "similarity": Command(SimilarityOptions, _similarity, tables.similarity_table, _always),
    "prototypes": Command(PrototypesOptions, _prototypes, tables.prototypes_line, _always),
    "recommend": Command(RecommendOptions, _recommend, tables.recommendation_table, _always),
    "finetune": Command(
        FinetuneOptions, _finetune, tables.summary_table, lambda run: run.succeeded
    ),
    "check": Command(CheckOptions, _check, tables.health_table, lambda health: not health.problems),
    "predict": Command(
        PredictOptions, _predict, tables.prediction_table, lambda found: not found.unreadable
    ),
    "report": Command(ReportOptions, _report, tables.report_line, _always),
    "cache": Command(CacheOptions, _cache, tables.cache_table, _always),
    "reference": Command(ReferenceOptions, _reference, tables.reference_table, _always),
    "reproduce": Command(
        ReproduceOptions, _reproduce, _reproduction_table, lambda done: not done.failed
    ),
    "demo": Command(DemoOptions, _demo, tables.summary_table, lambda run: run.succeeded),
}

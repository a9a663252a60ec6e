"""Misspelt flags: which one was meant."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from kintune.options import Options

NAMES_ELSEWHERE = {
    "learning-rate": "lr",
    "wd": "weight-decay",
    "bs": "batch-size",
    "arch": "model",
    "network": "model",
    "checkpoint": "weights",
    "pretrained": "weights",
    "img-size": "image-size",
    "resolution": "image-size",
    "num-epochs": "epochs",
    "trials": "runs",
    "output-dir": "output",
    "out": "output",
    "data-dir": "data",
    "num-workers": "threads",
    "gpu": "device",
    "optimizer": "convention",
}
"""What other tools call our flags."""


def flags_of(options: type[Options]) -> list[str]:
    """The flags of a command, without their first dashes."""
    return [
        next((part.name for part in field.metadata if getattr(part, "name", None)), name).replace(
            "_", "-"
        )
        for name, field in options.model_fields.items()
    ]


def unknown_flags(
    words: Sequence[str], command: str, commands: Mapping[str, type[Options]]
) -> Iterator[str]:
    """A message for each word that looks like a flag of a command and is none.

    Args:
        words: that follow the command.
        command: its name.
        commands: options of all commands by name.
    """
    known = flags_of(commands[command])
    for word in words:
        flag = word.partition("=")[0].removeprefix("--").replace("_", "-")
        if word.startswith("--") and flag and flag not in (*known, "help"):
            yield f"--{flag}: no such flag.{_hint(flag, known, commands)}"


def _hint(flag: str, known: Sequence[str], commands: Mapping[str, type[Options]]) -> str:
    meant = NAMES_ELSEWHERE.get(flag, flag)
    near = [meant] if meant in known else get_close_matches(meant, known, n=1)
    if near:
        return f" Did you mean --{near[0]}?"
    others = [name for name, options in commands.items() if meant in flags_of(options)]
    return f" kintune {others[0]} has --{meant}." if others else ""

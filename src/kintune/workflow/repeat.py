"""A recorded run again: from its `config.json` to the network, the images and the configuration."""

import json
from pathlib import Path

from kintune.backbones import BackboneOverrides
from kintune.base.errors import OptionError
from kintune.base.progress import announce
from kintune.options import FinetuneOptions, OutputOptions
from kintune.runs import RunConfig, RunResult, defaults, device_kind
from kintune.similarity.task import Task, load_task
from kintune.training import Inputs, recorded_environment

FREE = {
    *OutputOptions.model_fields,
    *("data", "weights", "device", "threads", "skip_unreadable", "verify_cache", "val_fraction"),
    *("from_config", "dry_run"),
}
"""Options that may stand beside --from: none of them changes what is trained."""


def repeated(options: FinetuneOptions, path: Path) -> tuple[Task, RunConfig]:
    """The task and the configuration of a recorded run.

    Where images and weights are is taken from the options, else from the `environment.json` beside
    the configuration.

    Args:
        options: of the command; `path` is its --from.
        path: a `config.json` of a run's folder.

    Raises:
        OptionError: it is no configuration, options contradict it, or images and weights are not
            those it was made with.
    """
    _refuse_contradictions(options)
    config = RunConfig.read(path)
    there = recorded_environment(path.parent)
    inputs = there and there.inputs
    data = options.data or (inputs and inputs.data)
    if not data:
        raise OptionError(
            f"--from {path}: no environment.json beside it says where the images are. Pass DATA."
        )
    update: dict[str, object] = {
        "data": data,
        "model": config.model,
        "threads": options.threads or (there and there.threads),
        # Where nothing was recorded, a command's seed is that of its run and of its split.
        "seed": inputs.split_seed if inputs else config.seed,
    }
    if inputs is not None:
        _refuse_other_split(options, inputs)
        update["skip_unreadable"] = options.skip_unreadable or inputs.skip_unreadable
        update["val_fraction"] = inputs.val_fraction or options.val_fraction
        if options.weights is None and inputs.weights is not None:
            update["weights"] = Path(inputs.weights)
    task = load_task(
        options.replace(**update),
        overrides=_overrides(config),
        pretrained=config.initialization == "pretrained",
    )
    here = device_kind(task.device)
    if config.device != here:
        announce(
            f"- The recorded run was on {config.device}, this one is on {here}: the last bits may "
            "differ."
        )
    return task, config.replace(device=here)


def say_repeated(recorded: RunResult | None, again: RunResult) -> None:
    """The recorded validation error beside the one found now, on stderr."""
    if recorded is None or recorded.validation_top1_error is None:
        announce("- The recorded run has no result to compare with.")
    elif again.validation_top1_error is None:
        announce(f"- Recorded {recorded.validation_top1_error:.2%}, now {again.status}.")
    else:
        same = recorded.validation_top1_error == again.validation_top1_error
        announce(
            f"- Validation error recorded {recorded.validation_top1_error:.2%}, now "
            f"{again.validation_top1_error:.2%}: {'the same' if same else 'not the same'}."
        )


def _overrides(config: RunConfig) -> BackboneOverrides:
    spec = config.input
    return BackboneOverrides(
        image_size=spec.image_size,
        mean=spec.mean,
        std=spec.std,
        crop_pct=spec.crop_pct,
        interpolation=spec.interpolation,
        model_kwargs=tuple(
            f"{key}={json.dumps(value)}" for key, value in config.model_kwargs.items()
        ),
    )


def _refuse_other_split(options: FinetuneOptions, inputs: Inputs) -> None:
    given, drawn = options.val_fraction, inputs.val_fraction
    if drawn is not None and given not in (defaults.VAL_FRACTION, drawn):
        raise OptionError(
            f"--val-fraction {given}: the recorded run drew {drawn} of each class. "
            "Leave this flag away."
        )


def _refuse_contradictions(options: FinetuneOptions) -> None:
    default = FinetuneOptions()
    given = [
        f"--{field.replace('_', '-')}"
        for field in FinetuneOptions.model_fields
        if field not in FREE | {"as_json", "verbose"}
        and getattr(options, field) != getattr(default, field)
    ]
    if given:
        raise OptionError(
            f"{', '.join(given)}: --from repeats a recorded configuration, which says this "
            "already. Omit these flags, or omit --from to train something else."
        )

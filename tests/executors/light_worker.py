"""A worker that trains nothing and starts at once: the protocol alone, in the standard library.

`model_kwargs` of a configuration says what happens: `seconds` an epoch, `dies` (so many times),
`complains`. It keeps what a run folder promises: one writer, a checkpoint after every epoch.
"""

import fcntl
import json
import math
import os
import sys
import threading
import time
from pathlib import Path

lines = []
arrived = threading.Condition()


def read() -> None:
    for line in sys.stdin:
        with arrived:
            lines.append(line)
            arrived.notify()
    os._exit(1)


def next_line() -> dict:
    with arrived:
        arrived.wait_for(lambda: lines)
        return json.loads(lines.pop(0))


def replace(path: Path, value: object) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value))
    fresh.replace(path)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hold(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def train(config: dict, folder: Path) -> dict:
    settings, behavior = config["hyperparameters"], config["model_kwargs"]
    result_path, checkpoint = folder / "result.json", folder / "checkpoint"
    if result_path.exists():
        return json.loads(result_path.read_text())
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(done, settings["epochs"]):
        time.sleep(behavior.get("seconds", 0.01))
        with (folder / "ledger").open("a") as ledger:
            ledger.write(f"{epoch}\n")
        replace(checkpoint, epoch + 1)
    rate = settings["lr"] / (1 - settings["momentum"])
    result = {
        "id": folder.name,
        "hyperparameters": settings,
        "effective_lr": rate,
        "status": "complete",
        "validation_top1_error": min(1.0, 0.1 + 0.1 * math.log10(rate / 0.2) ** 2),
        "seed": config["seed"],
        "seconds": 0.1,
    }
    replace(result_path, result)
    return result


def main() -> None:
    threading.Thread(target=read, daemon=True).start()
    assignment = next_line()
    say(json.dumps({"ready": True}))
    while True:
        order = next_line()
        config, folder = order["config"], Path(order["folder"])
        behavior = config["model_kwargs"]
        if behavior.get("complains"):
            say(json.dumps({"complaint": "fix this", "kind": "OptionError"}))
            sys.exit(1)
        handle = hold(folder)
        deaths = folder / "deaths"
        died = len(deaths.read_text()) if deaths.exists() else 0
        if died < behavior.get("dies", 0):
            deaths.write_text("x" * (died + 1))
            os.kill(os.getpid(), 9)
        (folder / "device").write_text(f"{assignment['device']} {assignment['memory_share']}")
        result = train(config, folder)
        os.close(handle)
        say(json.dumps(result))


if __name__ == "__main__":
    main()

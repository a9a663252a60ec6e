"""What the command line costs before it does anything."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "ot", "optuna", "ray", "sklearn"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tune", "--help"]])
def test_asking_for_help_imports_nothing_heavy(arguments):
    program = (
        "import sys\n"
        "from kintune.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout
    assert HEAVY.isdisjoint(done.stderr.split())


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, kintune; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert HEAVY.isdisjoint(done.stdout.split())

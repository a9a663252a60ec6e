"""What the command line costs before it does anything, and how many packages there are."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "timm", "ot", "optuna", "ray", "sklearn", "kintune_paper"}
MAX_PACKAGES, MAX_LAYERS = 20, 10


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["tune", "--help"], ["reproduce", "--help"]]
)
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


def node_of(module):
    """Top-level file or package under `kintune`, or another package as a whole."""
    return ".".join(module.split(".")[: 2 if module.startswith("kintune.") else 1])


def imported(path):
    """Absolute names that a file imports anywhere, those for type checking included."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


@cache
def imports_between_packages():
    """Packages that each package imports."""
    graph = {}
    for top in ("src/kintune", "src/kintune_paper", "studies", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            names = path.relative_to(ROOT / top).with_suffix("").parts
            node = node_of(".".join((Path(top).name, *names)))
            graph.setdefault(node, set()).update(node_of(name) for name in imported(path))
    return {
        node: {other for other in found if other in graph} - {node} for node, found in graph.items()
    }


def test_there_are_few_packages_in_few_layers_and_no_cycle():
    graph = imports_between_packages()
    sorter = TopologicalSorter(graph)
    sorter.prepare()  # raises for a cycle
    layers = []
    while sorter.is_active():
        layers.append(sorter.get_ready())
        sorter.done(*layers[-1])
    assert len(graph) <= MAX_PACKAGES
    assert len(layers) <= MAX_LAYERS


def test_nothing_in_the_wheel_imports_studies_or_benchmarks():
    graph = imports_between_packages()
    for node, found in graph.items():
        assert node.startswith(("studies", "benchmarks")) or found.isdisjoint(
            {"studies", "benchmarks"}
        )

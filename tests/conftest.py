"""What every test stands on: checked array shapes, a cache of its own, and the real data."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from kintune.similarity import Similarity

# Before the modules are first imported: from then on a wrong shape or dtype is an error.
install_import_hook("kintune.similarity", "beartype.beartype")

# Before torch is imported, and for child processes: the last bits depend on the thread count.
os.environ["OMP_NUM_THREADS"] = "2"
# As `kintune` does: beside another busy process, a thread that spins takes its core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test is a failure")
    parser.addoption(
        "--allow-skip",
        action="append",
        default=[],
        metavar="TEXT",
        help="with --fail-on-skip: a skip whose reason holds this text is expected (repeatable)",
    )
    parser.addoption("--fuzz-cases", type=int, default=3000, help="how many cases tests/fuzz tries")


def pytest_sessionfinish(session: pytest.Session) -> None:
    unexpected = _unexpected_skips(session.config)
    if unexpected and session.exitstatus in (
        pytest.ExitCode.OK,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    unexpected = _unexpected_skips(config)
    if unexpected:
        terminalreporter.section("skipped, and not expected to be", red=True)
        for reason in unexpected:
            terminalreporter.line(reason)


def _unexpected_skips(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not config.getoption("fail_on_skip"):
        return []
    reasons = [
        f"{report.nodeid}: {report.longreprtext}" for report in reporter.stats.get("skipped", [])
    ]
    allowed: list[str] = config.getoption("allow_skip") or []
    return [reason for reason in reasons if not any(text in reason for text in allowed)]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the person's own cache or references is read or changed; child processes inherit
    it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KINTUNE_REFERENCES", str(tmp_path_factory.mktemp("own") / "none.json"))
        yield


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The folder with `data/` and `models/` that the real-data tests read."""
    root = os.environ.get("KINTUNE_TEST_DATA")
    if not root:
        pytest.skip("KINTUNE_TEST_DATA is not set")
    return Path(root)


@pytest.fixture(scope="session")
def real_data(real_root: Path) -> Path:
    """A folder of image sets, `NAME/{train,test}/CLASS/*.jpg`."""
    return real_root / "data"


@pytest.fixture(scope="session")
def real_models(real_root: Path) -> Path:
    """A folder of pretrained networks, each a `.safetensors` with its `.json`."""
    return real_root / "models"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that playwright can drive."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on PATH")
    return path


@pytest.fixture
def make_similarity() -> Callable[..., "Similarity"]:
    """Similarities of made-up images to ImageNet, from the head of a ResNet-50."""
    from kintune.similarity import Similarity

    def make(
        target: str = "photos", distance: float = 0.7, extractor: str = "resnet50@224px-1"
    ) -> Similarity:
        return Similarity(
            model="resnet50",
            extractor=extractor,
            source="ImageNet-1k",
            target=target,
            distance=None,
            similarity=None,
            relative_distance=distance,
            interval=(distance - 0.02, distance + 0.02),
            prototypes_from="head",
            images=1000,
            classes=10,
        )

    return make


@pytest.fixture
def finished_search(
    tmp_path: Path, make_similarity: Callable[..., "Similarity"]
) -> Callable[..., Path]:
    """Writes what a search of the weights `w1` leaves: errors at effective rates; an error of None
    has diverged."""
    from kintune.runs import RunConfig, RunResult
    from kintune.runs.hyperparameters import Hyperparameters, lr_for
    from kintune.runs.inputs import InputSpec

    def write(
        errors: Mapping[float, float | None],
        target: str = "photos",
        folder: Path | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Path:
        folder = folder or tmp_path / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "similarity.json").write_text(make_similarity(target).model_dump_json())
        for rate, error in errors.items():
            config = RunConfig(
                model="resnet50",
                weights_sha256="w1",
                input=InputSpec(image_size=224, mean=(0, 0, 0), std=(1, 1, 1)),
                data_sha256="d1",
                hyperparameters=Hyperparameters.as_in_paper(
                    lr=lr_for(rate, 0.9), batch_size=32, epochs=30, **settings
                ),
                seed=seed,
            )
            result = RunResult(
                id=config.id,
                hyperparameters=config.hyperparameters,
                effective_lr=rate,
                status="diverged" if error is None else "complete",
                validation_top1_error=error,
                validation_images=400,
                seconds=1,
            )
            run = folder / "runs" / result.id
            run.mkdir(parents=True, exist_ok=True)
            (run / "result.json").write_text(result.model_dump_json())
            (run / "config.json").write_text(config.model_dump_json())
        return folder

    return write

"""A run that must not skip fails on a skip, unless its reason is expected."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).parent / "conftest.py"

SKIPPING = "import pytest\ndef test_it(): pytest.skip('no Chromium on PATH')\ndef test_ok(): pass\n"


@pytest.mark.parametrize(
    ("allowed", "exit_code"),
    [
        ("Chromium", pytest.ExitCode.OK),
        ("KINTUNE_TEST_DATA", pytest.ExitCode.TESTS_FAILED),
    ],
)
def test_skips_fail_unless_expected(pytester, allowed, exit_code):
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(SKIPPING)
    options = ("--fail-on-skip", f"--allow-skip={allowed}", "-p", "no:hypothesispytest")
    assert pytester.runpytest_subprocess(*options).ret == exit_code

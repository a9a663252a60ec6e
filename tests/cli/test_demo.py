"""`kintune demo` as a new user meets it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_ends_in_time_and_its_last_line_is_the_report(tmp_path):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "kintune", "demo", "--output", str(tmp_path / ("a long name " * 8))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - began < 180
    report = Path(done.stdout.splitlines()[-1])
    assert report.name == "report.html"
    assert report.stat().st_size < 5e6
    assert "usual default" in done.stdout
    assert "recommended" in done.stdout

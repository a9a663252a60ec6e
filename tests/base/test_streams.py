"""What the standard streams may be, and what is told of an exception that nobody foresaw."""

import subprocess
import sys
from pathlib import Path

import pytest

from kintune.base.unexpected import MAX_LENGTH, unexpected
from kintune.cli import commands as cli

KINTUNE = f"{sys.executable} -m kintune"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("{} --help | true", 0, ""),
        ("{} --version > /dev/full", 1, "stdout: No space left on device"),
        ("{} --version 2> /dev/full", 0, ""),
        ("{} check nowhere 2> /dev/full", 1, ""),
        ("{} --version >&-", 0, ""),
        ("{} check nowhere <&- >&- 2>&-", 1, ""),
        ("PYTHONIOENCODING=ascii {} similarity --help > /dev/null", 0, ""),
    ],
)
def test_no_stream_ends_a_command_in_a_traceback(line, code, said):
    command = ["bash", "-o", "pipefail", "-c", line.format(KINTUNE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_exception_that_nobody_foresaw_is_a_line_and_a_file(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "_run", lambda words: {}["a\x1b\nb"])
    with pytest.raises(SystemExit) as end:
        cli.main(["check", "x"])
    assert end.value.code == 1
    said = capsys.readouterr().err
    [file] = tmp_path.iterdir()
    assert said.startswith("kintune: error: an unexpected KeyError: ")
    assert f"The traceback is in {file}." in said
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "line" in Path(file).read_text()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_want_of_memory_is_said_as_such(error):
    assert unexpected(error).startswith("memory is too small")


def test_a_file_that_cannot_be_used_is_named_without_a_traceback():
    said = unexpected(OSError(36, "File name too long", "aaa"))
    assert said == "aaa: File name too long. Use a shorter name."


def test_a_long_text_is_cut():
    assert len(unexpected(ValueError("x" * 10_000))) < MAX_LENGTH + 300


@pytest.mark.parametrize(
    "words", [["finetune", "x", "--output", ""], ["check", ""], ["tune", "x", "--output="]]
)
def test_an_empty_word_is_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 1
    assert "the value is empty" in capsys.readouterr().err

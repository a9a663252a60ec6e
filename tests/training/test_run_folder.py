import os
import re
import signal
import subprocess
import sys

import pytest

from kintune.base.errors import OptionError
from kintune.runs import OUTPUT_MARK
from kintune.training.run_folder import claim, exclusive, note_environment, this_environment

HOLD = """
import sys, time
from pathlib import Path
from kintune.training.run_folder import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_holds_it(tmp_path):
    with (
        exclusive(tmp_path),
        pytest.raises(OptionError, match=f"process {os.getpid()} on "),
        exclusive(tmp_path),
    ):
        pass


def test_is_free_afterwards(tmp_path):
    with exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_death_frees_it(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OptionError, match=f"process {process.pid} on "), exclusive(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()

    with exclusive(tmp_path):
        pass


@pytest.mark.parametrize("name", ["model", "runs", "runs/0123456789ab", "tensorboard"])
def test_nothing_is_written_through_a_link_to_a_folder(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    link = out / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OptionError, match=f"{link}: is a symbolic link"), exclusive(out):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_other_links_beside_the_output_are_left_alone(tmp_path):
    (tmp_path / "photos").symlink_to(tmp_path.parent)
    with exclusive(tmp_path):
        pass
    assert (tmp_path / "photos").is_symlink()


def test_the_mark_of_an_output_folder_does_not_follow_a_link(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / OUTPUT_MARK).symlink_to(tmp_path / "elsewhere")
    with exclusive(tmp_path / "out"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"

    with pytest.raises(OptionError, match=re.escape(str(folder))), exclusive(folder):
        pass


def test_claim_names_every_difference(tmp_path, make_config):
    claim(tmp_path, make_config())
    claim(tmp_path, make_config())

    with pytest.raises(OptionError) as refused:
        claim(tmp_path, make_config(seed=3, momentum=0.5))

    assert "seed is 0 there and 3 here" in str(refused.value)
    assert "hyperparameters.momentum is 0.9 there and 0.5 here" in str(refused.value)
    assert "lr" not in str(refused.value)


def test_environments_are_kept_and_changes_noted(tmp_path):
    assert note_environment(tmp_path, this_environment("cpu")) == ()
    assert note_environment(tmp_path, this_environment("cpu")) == ()
    (note,) = note_environment(tmp_path, this_environment("cuda"))

    assert "device cpu -> cuda" in note
    assert note_environment(tmp_path, this_environment("cuda")) == (note,)

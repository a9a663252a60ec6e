import os
import stat

import pytest

from kintune.base.errors import OptionError
from kintune.base.files import is_temporary, locked, remove_temporaries, write_atomically
from kintune.runs import RunConfig, is_output
from kintune.training.metrics import csv_rows
from kintune.training.run_folder import exclusive
from kintune.workflow.outputs import keep_model


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "kept"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_fifo_or_a_folder_in_place_of_a_file_of_a_run_is_named(tmp_path, make):
    make(tmp_path / "config.json")
    assert not is_output(tmp_path)
    with pytest.raises(OptionError, match=r"config\.json: cannot be read \(not a regular file"):
        RunConfig.read(tmp_path / "config.json")
    with pytest.raises(OSError, match=r"not a regular file.*config\.json"):
        csv_rows(tmp_path / "config.json")


def test_a_lock_that_is_a_link_is_refused_and_its_target_kept(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / "lock").symlink_to("target")
    with pytest.raises(OptionError, match="lock is a symbolic link"), exclusive(tmp_path):
        pass
    assert (tmp_path / "target").read_text() == "kept"


def test_what_a_kill_left_goes_when_the_folder_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: 1 / 0)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "file", b"text")
    monkeypatch.undo()
    assert [is_temporary(path) for path in tmp_path.iterdir()] == [True]

    with exclusive(tmp_path):
        assert not any(is_temporary(path) for path in tmp_path.iterdir())


def test_temporaries_alone_are_removed(tmp_path):
    for name in (".kintune-0123456789ab.tmp", "kept.json", ".kept"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kept", "kept.json"]


def test_several_may_share_a_lock_and_none_beside_one_who_holds_it_alone(tmp_path):
    path = tmp_path / "lock"
    with locked(path, shared=True), locked(path, shared=True, wait=False) as second:
        assert second is not None
        with locked(path, wait=False) as alone:
            assert alone is None


def test_a_model_that_cannot_be_copied_leaves_the_one_that_is_there(tmp_path, monkeypatch):
    for name in ("model", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OptionError, match=r"No space left on device.*finished runs are kept"):
        keep_model(tmp_path / "model", tmp_path / "best")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "model"]
    assert (tmp_path / "best/file").read_text() == "best"

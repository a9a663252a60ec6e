import os
import time

import pytest

from kintune.base.errors import OptionError
from kintune.executors import lease
from kintune.executors.lease import LOST, give_lease, holds_lease, under_lease


def test_the_last_lease_is_the_one_that_holds(tmp_path):
    first = give_lease(tmp_path)
    assert holds_lease(tmp_path, first)
    second = give_lease(tmp_path)
    assert not holds_lease(tmp_path, first)
    assert holds_lease(tmp_path, second)


def test_a_process_that_lost_its_lease_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.02)
    token = give_lease(tmp_path)
    pid = os.fork()
    if pid == 0:
        with under_lease(tmp_path, token):
            time.sleep(30)
        os._exit(0)
    time.sleep(0.1)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "as long as it holds the lease it works"
    give_lease(tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == LOST


def test_a_folder_that_this_machine_does_not_see_is_told(tmp_path):
    with pytest.raises(OptionError, match="share"), under_lease(tmp_path / "elsewhere", "token"):
        pass

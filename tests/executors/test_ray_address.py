"""Which cluster a search goes to, and what is told where none answers. Ray itself is not needed."""

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from kintune.base.errors import OptionError
from kintune.executors import ray as module
from kintune.executors.ray import connected


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)


@contextmanager
def server(answer):
    """Accept one connection and send `answer`, or nothing at all where it is None."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                if answer is not None:
                    connection.sendall(answer)
                is_done.wait(10)

        is_done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            is_done.set()
            thread.join()


def refusal(address):
    with pytest.raises(OptionError) as raised, connected(address):
        pass
    return str(raised.value)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_is_told_at_once(scheme):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = refusal(f"{scheme}127.0.0.1:{port}")
    assert text.startswith(f"--ray-address {scheme}127.0.0.1:{port}: no Ray cluster answers there")
    assert "refused" in text
    assert "\n" not in text


def test_a_server_that_never_answers_is_given_up():
    with server(None) as address:
        assert "(timed out)" in refusal(address)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"no"])
def test_a_server_of_another_kind_is_no_cluster(answer):
    with server(answer) as address:
        text = refusal(address)
    assert "what listens there is no Ray cluster" in text or "(timed out)" in text


@pytest.mark.parametrize("address", [None, "auto"])
def test_the_address_of_the_environment_is_followed_and_named(monkeypatch, address):
    with socket.create_server(("127.0.0.1", 0)) as free:
        named = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", named)
    text = refusal(address)
    assert text.startswith(f"RAY_ADDRESS={named}: no Ray cluster answers there")
    assert "--ray-address" in text


@pytest.mark.parametrize("address", ["somewhere", "host:", ":6379", "ray://host", "host:99999"])
def test_an_address_that_is_none_is_told(address):
    assert "must be auto, HOST:PORT or ray://HOST:PORT" in refusal(address)


LOOPBACK = """
import socket
from kintune.executors.ray import connected

with connected(None) as ray:
    host, port = ray.get_runtime_context().gcs_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5):
        print(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # sends nothing: it only chooses an interface
        own = outward.getsockname()[0]
    nodes = [node["NodeManagerPort"] for node in ray.nodes()]
    nodes += [node["ObjectManagerPort"] for node in ray.nodes()]
    for each in (int(port), *nodes):
        try:
            socket.create_connection((own, each), 5).close()
        except OSError:
            continue
        print("open to the network:", each)
"""


def has_network():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
            outward.connect(("192.0.2.1", 9))
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(not has_network(), reason="this machine has no interface but loopback")
def test_a_cluster_that_is_started_listens_on_the_loopback_interface_alone():
    pytest.importorskip("ray", reason="Ray is not installed")
    done = subprocess.run(
        [sys.executable, "-c", LOOPBACK], capture_output=True, text=True, timeout=220, check=False
    )
    assert done.stdout.split("\n") == ["127.0.0.1", ""], done.stderr[-2000:]

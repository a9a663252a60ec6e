import hashlib
import socket
import threading
import time

import pytest
import torch
from safetensors.torch import save_file

from kintune.backbones import downloads, load_backbone
from kintune.backbones.architectures import build_network
from kintune.backbones.weights import weights_sha256
from kintune.base.errors import ModelError


@pytest.fixture
def silent_server():
    """Takes connections and never answers, as a firewall that swallows packets does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def empty_caches(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.mark.usefixtures("empty_caches")
@pytest.mark.parametrize("model", ["mobilenetv2_050", "torchvision:mobilenet_v2"])
def test_without_a_network_one_message_within_five_seconds(
    model, silent_server, monkeypatch, capfd
):
    ask, waits = downloads.is_reachable, []

    def timed(_url):
        started = time.monotonic()
        found = ask(silent_server)
        waits.append(time.monotonic() - started)
        return found

    # Only the waiting is timed: on a busy machine the rest may take seconds too.
    monkeypatch.setattr(downloads, "is_reachable", timed)
    with pytest.raises(ModelError, match="--weights FILE"):
        load_backbone(model)
    assert 0 < sum(waits) < 5
    assert capfd.readouterr().err == ""


def test_a_server_that_answers_is_reachable_even_with_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert downloads.is_reachable(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_a_refused_connection_is_not_reachable_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = time.monotonic()
    assert not downloads.is_reachable(f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 2


def test_weights_in_the_hubs_cache_are_used_without_a_network(empty_caches, monkeypatch):
    monkeypatch.setattr(downloads, "is_reachable", lambda _url: pytest.fail("asked the network"))
    folder = empty_caches / "hub/models--timm--mobilenetv2_050.lamb_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    (folder / "snapshots/abc").mkdir(parents=True)
    published = build_network("mobilenetv2_050", {}, 1000)
    save_file(published.state_dict(), folder / "snapshots/abc/model.safetensors")
    backbone = load_backbone("mobilenetv2_050")
    assert backbone.weights_sha256 == weights_sha256(published)
    assert backbone.notes[0] == (
        "Weights: published weights of mobilenetv2_050 "
        "(timm/mobilenetv2_050.lamb_in1k at commit abc)."
    )
    assert backbone.domain == "ImageNet-1k"
    assert backbone.num_source_classes == 1000
    assert backbone.source_labels[0] == "tench, Tinca tinca"
    assert backbone.warnings == ()


def test_a_revision_names_the_commit_that_is_loaded(empty_caches, monkeypatch):
    monkeypatch.setattr(downloads, "is_reachable", lambda _url: pytest.fail("asked the network"))
    folder = empty_caches / "hub/models--timm--mobilenetv2_050.lamb_in1k"
    (folder / "refs").mkdir(parents=True)
    newest, older = "a" * 40, "b" * 40
    (folder / "refs/main").write_text(newest)
    published = build_network("mobilenetv2_050", {}, 1000)
    for commit in (newest, older):
        (folder / "snapshots" / commit).mkdir(parents=True)
        file = folder / "snapshots" / commit / "model.safetensors"
        save_file(published.state_dict(), file)
        published = build_network("mobilenetv2_050", {}, 1000)
    backbone = load_backbone(f"mobilenetv2_050@{older}")
    assert backbone.weights_sha256 != load_backbone("mobilenetv2_050").weights_sha256
    assert backbone.name == "mobilenetv2_050"
    assert f"at commit {older}" in backbone.notes[0]


@pytest.mark.parametrize(
    ("model", "pretrained"),
    [("torchvision:resnet18@abc", True), ("pocket@abc", True), ("mobilenetv2_050@abc", False)],
)
def test_a_revision_of_what_has_none_is_refused(model, pretrained):
    with pytest.raises(ModelError, match=f"--model {model}: .*Omit @ and what follows"):
        load_backbone(model, pretrained=pretrained)


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_download_is_compared_with_the_checksum_of_its_repository(
    empty_caches, monkeypatch, is_whole
):
    content = b"weights"
    blob = empty_caches / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content if is_whole else b"others")
    (empty_caches / "snapshots/abc").mkdir(parents=True)
    link = empty_caches / "snapshots/abc/model.safetensors"
    link.symlink_to(blob)
    monkeypatch.setattr(downloads, "is_reachable", lambda _url: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(link))
    if is_whole:
        assert downloads.hub_weights("timm/some") == link
        return
    with pytest.raises(ModelError, match="as its repository states"):
        downloads.hub_weights("timm/some")
    assert not blob.exists()


@pytest.mark.usefixtures("empty_caches")
@pytest.mark.parametrize("model", ["mobilenetv2_050", "torchvision:mobilenet_v2"])
def test_a_download_and_the_way_without_one_are_said_before_it_starts(model, monkeypatch, capfd):
    said: list[str] = []

    def fail(*_: object, **__: object) -> None:
        said.append(capfd.readouterr().err)
        raise OSError("no\nroute")

    monkeypatch.setattr(downloads, "is_reachable", lambda _url: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(ModelError, match=r"cannot be downloaded \(no route\)"):
        load_backbone(model)
    assert "Downloading" in said[0]
    assert "--weights FILE" in said[0]


def test_weights_in_torchs_cache_are_used_without_a_network(empty_caches, monkeypatch):
    monkeypatch.setattr(downloads, "is_reachable", lambda _url: pytest.fail("asked the network"))
    folder = empty_caches / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    published = build_network("torchvision:mobilenet_v2", {}, 1000)
    torch.save(published.state_dict(), folder / "mobilenet_v2-7ebf99e0.pth")
    backbone = load_backbone("torchvision:mobilenet_v2")
    assert backbone.weights_sha256 == weights_sha256(published)
    assert backbone.domain == "ImageNet-1k"
    assert backbone.source_labels[0] == "tench"
    assert backbone.input.image_size == 224
    assert backbone.input.crop_pct == pytest.approx(224 / 232)


def test_a_cached_file_that_would_run_code_is_refused(empty_caches):
    folder = empty_caches / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    torch.save({"state_dict": threading.Thread}, folder / "mobilenet_v2-7ebf99e0.pth")
    with pytest.raises(ModelError, match="unpickling"):
        load_backbone("torchvision:mobilenet_v2")

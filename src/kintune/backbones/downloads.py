"""Published weights: from the hub's or torch's own cache, else from the network, tried briefly."""

import hashlib
import logging
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import huggingface_hub
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from kintune.base.errors import ModelError, one_line
from kintune.base.progress import announce

REACHABLE_WITHIN_SECONDS = 4.0
WITHOUT_A_NETWORK = (
    "Without a network, fetch them elsewhere and pass --weights FILE (.safetensors, or .pth), or "
    "use --model pocket, which comes with the package."
)
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def hub_weights(repository: str, filename: str | None = None, revision: str | None = None) -> Path:
    """The weights file of a Hugging Face repository: out of the cache, else downloaded.

    Without a `revision` the download takes the newest one, and the cache keeps to it; `hub_commit`
    tells which it is. What is downloaded, and the way without a network, is said before it starts.

    Raises:
        ModelError: not in the cache, and no network within about five seconds; no such revision; or
            what was downloaded has not the checksum that the repository states.
    """
    filenames = (filename,) if filename else HUB_FILES
    for candidate in filenames:
        cached = huggingface_hub.try_to_load_from_cache(repository, candidate, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    address = f"{constants.ENDPOINT}/{repository}"
    if constants.HF_HUB_OFFLINE or not is_reachable(constants.ENDPOINT):
        raise ModelError(_no_network(address))
    which = f"revision {revision} of the weights" if revision else "the newest weights"
    announce(f"- Downloading {which} from {address}. {WITHOUT_A_NETWORK}")
    with _quiet_hub():
        for candidate in filenames:
            try:
                path = huggingface_hub.hf_hub_download(repository, candidate, revision=revision)
            except EntryNotFoundError:
                continue
            except RevisionNotFoundError:
                raise ModelError(
                    f"{address}: has no revision {revision}. Name a commit, as the notes on the "
                    "weights and the repository's history give it."
                ) from None
            except (OSError, RuntimeError) as error:
                raise ModelError(_no_network(address, error)) from None
            return _verified(Path(path))
    raise ModelError(f"{address}: holds none of {', '.join(filenames)}. Pass --weights FILE.")


def _verified(path: Path) -> Path:
    """A download, compared with its checksum, which names the file in the hub's cache."""
    file = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", file.name):
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.name:
            file.unlink()
            raise ModelError(
                f"{path}: the download has the SHA-256 {found} and not {file.name}, as its "
                "repository states. It was removed: give the same command again."
            )
    return path


def hub_commit(path: Path) -> str | None:
    """The commit of the repository that a file of the hub's cache is from; None for other files."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def url_weights(url: str) -> Path:
    """A checkpoint with a checksum in its name: out of torch's hub cache, else downloaded.

    Raises:
        ModelError: not in the cache, and no network within about five seconds, or a wrong checksum.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.exists():
        return path
    if not is_reachable(url):
        raise ModelError(_no_network(url))
    announce(f"- Downloading {url}. {WITHOUT_A_NETWORK}")
    checksum = torch.hub.HASH_REGEX.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), checksum and checksum.group(1), progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError) as error:
        raise ModelError(_no_network(url, error)) from None
    return path


def is_reachable(url: str, within_seconds: float = REACHABLE_WITHIN_SECONDS) -> bool:
    """Whether a server answers at all; proxies of the environment are used.

    Asked in a thread: the look-up of a name has no time limit of its own.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=within_seconds).close()
        except urllib.error.HTTPError:
            pass
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_seconds)
    return answered.is_set()


def _no_network(address: str, error: Exception | None = None) -> str:
    reason = f" ({one_line(error)})" if error else ""
    return (
        f"{address}: the weights are not in the cache and cannot be downloaded{reason}. "
        f"{WITHOUT_A_NETWORK}"
    )


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """No log lines from the hub's client, and no bar where nobody watches."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        enable_progress_bars()

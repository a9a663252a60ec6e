"""Memory that does not suffice, and the smaller parts that a batch is then taken in."""

from kintune.training.replicas import replicas
from kintune.training.steps import MIN_IMAGES


def halved_micro_batch(before: int, error: Exception) -> int:
    """Half of the `before` images for which memory was too small at once.

    Raises:
        MemoryError: they cannot be halved, or several devices would have to agree on it.
    """
    here, half = replicas(), -(-before // 2)
    if half < MIN_IMAGES or half == before:
        raise MemoryError(
            f"too small for {before} images at once ({error}). Choose a smaller --image-size or "
            "another --model."
        ) from error
    if here.count > 1:
        raise MemoryError(
            f"too small for {before} images at once on device {here.rank} ({error}). Pass "
            f"--micro-batch-size {half}: the same batch in parts."
        ) from error
    return half

"""Batches in parts: the same gradient, and what happens where memory is too small."""

import pytest
import torch

from kintune.base.errors import is_out_of_memory
from kintune.runs import read_result
from kintune.training import evaluate, fine_tune, head_start, loop
from kintune.training.memory import halved_micro_batch
from kintune.training.optimizers import NesterovSGD
from kintune.training.start import starting_network
from kintune.training.steps import Batch, batch_bounds, training_step


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 3, 16, 16, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(10) % 3)


def gradients(backbone, config, batch: Batch, micro_batch_size: int | None) -> torch.Tensor:
    network = starting_network(backbone, 3, config, "cpu").double().eval()
    optimizer = NesterovSGD(network.parameters(), 1e-3)
    training_step(network, optimizer, batch, micro_batch_size=micro_batch_size)
    return torch.cat([p.grad.flatten() for p in network.parameters()])


@pytest.mark.parametrize("micro_batch_size", [2, 3, 4, 10, 64])
def test_parts_give_the_gradient_of_the_whole_with_frozen_statistics(
    backbone, make_config, batch, micro_batch_size
):
    whole = gradients(backbone, make_config(), batch, None)

    parts = gradients(backbone, make_config(), batch, micro_batch_size)

    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


def test_parts_have_their_own_batch_statistics(backbone, dataset, make_config, tmp_path):
    for size in (None, 4):
        fine_tune(backbone, dataset, make_config(micro_batch_size=size), tmp_path / str(size))

    whole, parts = (read_result(tmp_path / str(size)) for size in (None, 4))
    assert whole.train_loss != parts.train_loss
    assert whole.notes == parts.notes == ()


def too_small_for(images: int, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Let steps fail that put more images through at once; returns the sizes as they are tried."""
    tried = []

    def step(
        network,
        optimizer,
        batch,
        *,
        micro_batch_size=None,
        **settings,
    ):
        tried.append(micro_batch_size)
        if (micro_batch_size or len(batch.labels)) > images and len(tried) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return training_step(
            network, optimizer, batch, micro_batch_size=micro_batch_size, **settings
        )

    monkeypatch.setattr(loop, "training_step", step)
    return tried


def test_memory_too_small_halves_the_parts_and_says_so(
    backbone, dataset, make_config, tmp_path, monkeypatch, capsys
):
    tried = too_small_for(2, monkeypatch)

    result = fine_tune(backbone, dataset, make_config(), tmp_path)

    assert result.status == "complete"
    assert list(dict.fromkeys(tried)) == [None, 4, 2]
    # The first epoch's three steps were kept, the fourth was done again in parts of 4.
    assert tried.count(None) == 5
    assert tried.count(2) == 6
    assert "micro-batches of at most 2 images" in result.notes[0]
    assert result.hyperparameters.batch_size == 8
    assert "Going on from the last checkpoint in micro-batches of 4" in capsys.readouterr().err


def test_the_start_of_the_head_is_halved_too(backbone, dataset, make_config, tmp_path, monkeypatch):
    tried = []

    def batches(images, size):
        tried.append(size)
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch_bounds(images, size)

    monkeypatch.setattr(head_start, "batch_bounds", batches)
    result = fine_tune(backbone, dataset, make_config(head_start="probe"), tmp_path)
    assert result.status == "complete"
    assert tried == [8, 4]
    assert "micro-batches of at most 4 images" in result.notes[0]


def test_parts_that_cannot_be_halved_end_the_run_with_advice(
    backbone, dataset, make_config, tmp_path, monkeypatch
):
    too_small_for(0, monkeypatch)

    with pytest.raises(MemoryError, match="smaller --image-size"):
        fine_tune(backbone, dataset, make_config(), tmp_path)


def test_another_failure_is_not_taken_for_memory(
    backbone, dataset, make_config, tmp_path, monkeypatch
):
    def step(*_arguments, **_keywords):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(loop, "training_step", step)

    with pytest.raises(RuntimeError, match="shapes differ"):
        fine_tune(backbone, dataset, make_config(), tmp_path)


def test_halves_round_up_and_end_at_two():
    assert halved_micro_batch(7, MemoryError()) == 4
    assert halved_micro_batch(3, MemoryError()) == 2
    with pytest.raises(MemoryError, match="2 images"):
        halved_micro_batch(2, MemoryError())


def test_parts_never_hold_a_single_image(backbone, make_config, batch):
    seen = []
    network = starting_network(backbone, 3, make_config(), "cpu")
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    optimizer = NesterovSGD(network.parameters(), 1e-3)

    odd = Batch(batch.images[:9].float(), batch.labels[:9])
    training_step(network, optimizer, odd, micro_batch_size=2)

    assert sorted(seen) == [2, 2, 2, 3]


def test_evaluation_takes_fewer_images_where_memory_is_too_small(backbone, dataset, make_config):
    network = starting_network(backbone, 3, make_config(), "cpu")
    whole = evaluate(network, dataset, "train", backbone.input)
    seen = []

    def too_many(_module, inputs):
        seen.append(len(inputs[0]))
        if seen[-1] > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")

    network.register_forward_pre_hook(too_many)
    parts = evaluate(network, dataset, "train", backbone.input)

    # 128, 64, 32 and 16 were asked for, and there are 24.
    assert seen == [24, 24, 24, 16, 8, 8, 8]
    assert parts.top1_error == whole.top1_error
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: an illegal memory access was encountered",
        "unsupported memory format option Preserve",
    ],
)
def test_another_word_of_memory_is_not_a_lack_of_it(text):
    assert not is_out_of_memory(RuntimeError(text))


def test_the_allocators_own_error_is_a_lack_of_memory():
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(10**17)
    assert is_out_of_memory(too_large.value)

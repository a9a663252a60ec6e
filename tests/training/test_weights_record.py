import csv

import pytest
import torch
from torch import nn

from kintune.backbones import with_new_head
from kintune.training import fine_tune, load_model_folder
from kintune.training.optimizers import NesterovSGD
from kintune.training.start import starting_network
from kintune.training.weights_record import WeightsRecord, scale_invariant_weights


def rows(folder) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def squares(network: nn.Module, names) -> float:
    return sum(p.double().square().sum().item() for n, p in network.named_parameters() if names(n))


def test_figure_6a_is_the_squared_norm_over_its_start(backbone, dataset, make_config, tmp_path):
    config = make_config(weight_decay=1.0)

    fine_tune(backbone, dataset, config, tmp_path)

    start = squares(starting_network(backbone, 3, config, "cpu"), lambda _: True)
    end = squares(load_model_folder(tmp_path / "model").network, lambda _: True)
    last = rows(tmp_path)[-1]
    assert float(last["normalised_l2"]) == pytest.approx(end / start)
    assert float(last["normalised_penalty"]) == pytest.approx(end / start)
    assert end / start < 0.99


def test_figure_6b_is_the_penalty_of_l2sp_over_its_start(backbone, dataset, make_config, tmp_path):
    """(λ1 |θ' - θ'0|² + λ2 |θ''|²) / (λ2 |θ''0|²), as under the figure."""
    config = make_config(regularizer="l2-sp", weight_decay=0.1, new_part_decay=0.02)

    fine_tune(backbone, dataset, config, tmp_path)

    begun = starting_network(backbone, 3, config, "cpu")
    ended = load_model_folder(tmp_path / "model").network
    before = dict(begun.named_parameters())
    moved = sum(
        (p - before[n]).double().square().sum().item()
        for n, p in ended.named_parameters()
        if not n.startswith("fc.")
    )
    head = [squares(network, lambda n: n.startswith("fc.")) for network in (begun, ended)]
    expected = (0.1 * moved + 0.02 * head[1]) / (0.02 * head[0])
    assert float(rows(tmp_path)[-1]["normalised_penalty"]) == pytest.approx(expected, rel=1e-5)


def test_the_rate_over_the_squared_norm_of_what_only_has_a_direction(
    backbone, dataset, make_config, tmp_path
):
    config = make_config(lr=0.02, momentum=0.5, schedule="constant")

    fine_tune(backbone, dataset, config, tmp_path)

    network = load_model_folder(tmp_path / "model").network
    squared = sum(w.detach().square().sum().item() for w in scale_invariant_weights(network))
    found = float(rows(tmp_path)[-1]["effective_lr_per_squared_norm"])
    assert found == pytest.approx(0.04 / squared, rel=1e-5)


def test_scale_invariant_weights_change_nothing_when_scaled(backbone):
    """In training mode, where batches normalize: with running statistics a scale would show."""
    network = with_new_head(backbone, 3, seed=0).train()
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = network(images)

    weights = scale_invariant_weights(network)
    with torch.no_grad():
        for weight in weights:
            weight.mul_(3.0)

    assert weights
    torch.testing.assert_close(network(images), before, rtol=1e-3, atol=1e-3)


def test_what_starts_at_zero_or_has_no_penalty_has_no_ratio():
    network = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()

    facts = WeightsRecord.at_start(network, NesterovSGD(network.parameters(), 0.1)).now(0.1)

    assert facts == (0.0, None, None, None)

from __future__ import annotations

import torch
from torch import nn

from adavid.loading import without_weights


def build() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LSTM(4, 5), nn.Linear(5, 2))
    nn.init.trunc_normal_(network[-1].weight, std=0.01)
    nn.init.constant_(network[-1].bias, 7.0)
    return network


def test_networks_without_weights_have_their_shapes_and_those_after_them_their_values() -> None:
    torch.manual_seed(0)
    expected = build().state_dict()
    torch.manual_seed(0)
    with without_weights():
        described = build().state_dict()
    assert {key: value.shape for key, value in described.items()} == {key: of.shape for key, of in expected.items()}
    assert all(value.is_meta for value in described.values())
    assert all(torch.equal(value, expected[key]) for key, value in build().state_dict().items())  # nothing was drawn

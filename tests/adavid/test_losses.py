from __future__ import annotations

import torch

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.losses import consensus_loss
from adavid.networks.backbones import BackboneSpec, FrameClassifier


def test_the_loss_of_the_average_of_all_frames() -> None:
    """Of frames that are there, each paid once; of several labels each is an equal part of the target."""
    torch.manual_seed(0)
    network, frames_BTCHW = FrameClassifier(BackboneSpec("narrow/4-8-8", 16), 3).eval(), torch.rand(2, 4, 3, 16, 16)
    mask_BT = torch.tensor([[True] * 4, [True, False, False, False]])
    label_BK, ledger = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), Ledger(2)
    batch = VideoBatch({"frames": frames_BTCHW}, {"frames": mask_BT}, label_BK, ["a", "b"], torch.zeros(2))
    loss = consensus_loss(ledger, "network", network, batch)
    first_K, second_K = network(frames_BTCHW[0]).mean(0).log_softmax(0), network(frames_BTCHW[1, :1])[0].log_softmax(0)
    torch.testing.assert_close(loss, -((first_K[0] + first_K[2]) / 2 + second_K[1]) / 2)
    row = price(network, torch.zeros(1, 3, 16, 16)).macs
    assert ledger.macs["network"].tolist() == [4 * row, row]

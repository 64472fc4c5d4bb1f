"""TSM: a video's frames through a network that shifts channels between them, predictions averaged. TSM+ has two.

Lin, Gan, Han: "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019. Official code:
https://github.com/mit-han-lab/temporal-shift-module (MIT; read, not used). The shift is
`adavid.networks.temporal_shift`; the shared backbones of methods with temporal shift are fine-tuned in this form.

TSM+ is the baseline of AdaFocus-TSM (Wang et al., ICCV 2021, appendix B.2) for its policy: both kinds of network on
whole frames, 8 of each (the same 8, as views of one length are), and "exactly the same training procedure". Their
averaged logits add up, as in AdaFocus's code.

Departures: a video is one clip, as its networks see it, in training and in evaluation, its centre crop of 224 of 256
pixels (TSM's tables also have two whole clips of 256 pixels, and ten clips, a video); one of T frames or fewer is
spread over them (the code takes its first frame T times: `data.short_videos`); the linear layers learn as fast as the
rest (the code's 5 times, biases 10 times); MobileNetV2's ImageNet weights are torchvision's (the code's are others,
and its latest revision does not build that network with a shift); after TSM's own epochs, which are the warm-up here,
TSM trains on for as many as TSM+; TSM+'s networks start with the linear layers of their fine-tuning (AdaFocus's code
makes f_L's anew).

B videos, T frames (CHW: channels, height, width), D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    FrameClassifier,
    Ledger,
    MethodOutput,
    VideoBatch,
    clip_view,
    run_on_videos,
)


class TSM(AdaptiveMethod):
    """Sum of networks' averaged predictions.

    Args:
        num_classes: K.
        networks: by name, each with temporal shift over its own number of frames.
        frame_size: pixels at which frames are read, before the device resizes them; 0 means each network's.
        dropout: before the linear heads.
    """

    def __init__(
        self,
        num_classes: int,
        networks: Mapping[str, BackboneSpec],
        frame_size: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not networks or any("." in name for name in networks):
            raise ValueError(f"tsm: networks: expected one or more, names without dots, got {list(networks)}")
        self.specs = dict(networks)
        self.views = {name: clip_view("tsm", spec, frame_size) for name, spec in self.specs.items()}
        sizes = [spec.size for spec in self.specs.values()]
        self.actions = ActionSpace(("+".join(map(str, sizes)),), (max(sizes),))
        self.networks = nn.ModuleDict(
            {name: FrameClassifier(spec, num_classes, dropout) for name, spec in self.specs.items()}
        )

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {f"networks.{name}": spec for name, spec in self.specs.items()}

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        mask_BT = next(iter(batch.mask.values()))
        owner_B = torch.arange(len(mask_BT), device=mask_BT.device)
        logits_BK = torch.zeros_like(batch.label_BK)
        for name, spec in self.specs.items():
            frames_BTCHW = batch.frames[name][:, : spec.num_segments]  # beyond it is padding
            network = self.networks[name]
            assert isinstance(network, FrameClassifier)
            feature_BTD = run_on_videos(ledger, name, network.backbone, frames_BTCHW, spec.size, view=name)
            logits_BK = logits_BK + ledger.run(name, network.head, feature_BTD, owner_N=owner_B).mean(1)
        return MethodOutput(logits_BK, mask_BT.long() - 1, {})

"""Weights to start profile tiny's networks from, as ImageNet's are for the papers': `make pretrain` makes them anew.

A network names glyphs on still pictures (datamodules.sprites_stills) that it sees in turn at each resolution of the
pyramid, so that one file serves them all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import trange

from adavid.data.transforms import Crop, crop_frames, normalize
from adavid.networks.backbones import BackboneSpec, FrameClassifier, own_weights
from datamodules import sprites_drawing as drawing
from datamodules import sprites_stills as stills

WIDTHS = ("8-16-32", "16-32-64")
TAG = "glyphs"  # another one for other weights: records name it
SIZES = (64, 48, 32, 24)  # px, the resolutions of the pyramid
NUM_PICTURES, NUM_UNSEEN = 60_000, 20 * stills.NUM_CLASSES
STEPS, BATCH_SIZE, LR, WEIGHT_DECAY = 16_000, 64, 0.01, 0.02


def pretrain(widths: str, pictures_NHWC: Tensor, label_N: Tensor) -> FrameClassifier:
    """Train narrow/`widths` from random weights on pictures (N, 72, 72, 3) uint8 and their classes (N,)."""
    torch.manual_seed(0)
    spec = BackboneSpec(f"narrow/{widths}", SIZES[0])
    network = FrameClassifier(spec, stills.NUM_CLASSES).to(memory_format=torch.channels_last)
    optimizer = AdamW(network.parameters(), LR, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimizer, LR, total_steps=STEPS)
    for step in trange(STEPS, desc=str(spec), unit="step"):
        index_N = torch.randint(len(label_N), (BATCH_SIZE,))
        top, left = torch.randint(drawing.CANVAS - drawing.CROP + 1, (2,)).tolist()
        logits_NK = network(as_seen(pictures_NHWC[index_N], top, left, SIZES[step % len(SIZES)]))
        optimizer.zero_grad()
        F.cross_entropy(logits_NK, label_N[index_N]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def as_seen(pictures_NHWC: Tensor, top: int, left: int, size: int) -> Tensor:
    """The crop of 64 x 64 pixels of each picture at a resolution, as `sprites`' frames are read: (N, 3, size, size)."""
    crop = Crop(top, left, drawing.CROP, drawing.CROP)
    return normalize(crop_frames(pictures_NHWC.permute(0, 3, 1, 2), crop, size)).contiguous(
        memory_format=torch.channels_last
    )


@torch.inference_mode()
def accuracy(network: nn.Module, pictures_NHWC: Tensor, label_N: Tensor, size: int) -> float:
    """Share of the pictures whose glyph the network names at a resolution."""
    margin = (drawing.CANVAS - drawing.CROP) // 2
    logits_NK = network(as_seen(pictures_NHWC, margin, margin, size))
    return float((logits_NK.argmax(1) == label_N).float().mean())


def main() -> None:
    """Writes the weights of all networks, and prints how well each names glyphs at every resolution."""
    pictures, labels = map(torch.from_numpy, stills.draw_all(0, NUM_PICTURES))
    unseen, truth = map(torch.from_numpy, stills.draw_all(NUM_PICTURES, NUM_UNSEEN))
    for widths in WIDTHS:
        network = pretrain(widths, pictures, labels)
        print(widths, " ".join(f"{size} px {accuracy(network, unseen, truth, size):.3f}" for size in SIZES))
        state = {key: value.contiguous() for key, value in network.backbone.state_dict().items()}
        save_file(state, own_weights(f"{widths}.{TAG}"))


if __name__ == "__main__":
    main()

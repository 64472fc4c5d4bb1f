"""The weights that profile tiny starts from, and the pictures that they are trained on."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from adavid.networks.backbones import WEIGHTS, BackboneSpec, FrameClassifier, build_backbone, own_weights
from benchmarks.compose import compose
from benchmarks.pretrain import SIZES, TAG, WIDTHS, as_seen, pretrain
from datamodules import sprites_drawing as drawing
from datamodules import sprites_stills as stills

DIGESTS = {"16-32-64.glyphs.safetensors": "72679150", "8-16-32.glyphs.safetensors": "368fcdda"}


def test_no_glyph_is_a_symbol_of_sprites_or_another_glyph() -> None:
    symbols = [*drawing.CLASS_NAMES, *drawing.BOARD_SYMBOLS, *stills.GLYPHS]
    inks = [stills._ink(symbol) for symbol in symbols]
    for i, ink in enumerate(inks):
        assert ink.any()
        for j, other in enumerate(inks[:i]):
            if i >= len(symbols) - stills.NUM_GLYPHS:
                assert (ink & other).sum() <= stills.LARGEST_OVERLAP * (ink | other).sum(), (symbols[i], symbols[j])
    assert len(stills.GLYPHS) == stills.NUM_GLYPHS and stills.glyphs() == stills.GLYPHS


def test_a_picture_follows_from_its_index() -> None:
    picture_HWC, label = stills.draw(45)
    assert picture_HWC.shape == (72, 72, 3) and picture_HWC.dtype == np.uint8 and label == 4
    assert (stills.draw(45)[0] == picture_HWC).all() and (stills.draw(86)[0] != picture_HWC).any()
    assert stills.draw(stills.NUM_GLYPHS)[1] == stills.NUM_CLASSES - 1


def test_records_name_the_weights_by_their_tag() -> None:
    """Other weights make other records: they need another tag, which is in the hash of a run."""
    files = sorted(WEIGHTS.iterdir())
    assert files == sorted(own_weights(f"{widths}.{TAG}") for widths in WIDTHS)
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:8] for file in files} == DIGESTS


@pytest.mark.parametrize("widths", WIDTHS)
def test_pretrained_features_tell_glyphs(widths: str) -> None:
    """A new linear head, fitted in closed form to a few pictures of each glyph, names those of others."""
    pictures, labels = zip(*map(stills.draw, range(100_000, 100_000 + 16 * stills.NUM_CLASSES)), strict=True)
    x_NCHW = as_seen(torch.from_numpy(np.stack(pictures)), 4, 4, 64)
    target_NK = torch.nn.functional.one_hot(torch.tensor(labels)).float()
    half = len(labels) // 2
    right = {}
    for pretrained in (False, True):
        backbone = build_backbone(f"narrow/{widths}.{TAG}", pretrained).eval()
        with torch.inference_mode():
            feature_ND = backbone(x_NCHW)
        feature_ND = torch.cat([feature_ND, torch.ones(len(feature_ND), 1)], 1)
        weight_DK = torch.linalg.lstsq(feature_ND[:half], target_NK[:half]).solution
        guess_N = (feature_ND[half:] @ weight_DK).argmax(1)
        right[pretrained] = float((guess_N == target_NK[half:].argmax(1)).float().mean())
    assert right[True] > 0.4 > 5 * right[False], right


def test_every_network_of_profile_tiny_has_weights() -> None:
    run = compose("cascade")
    assert run.recipe.pretrained and {spec.size for spec in run.recipe.pyramid} == {*SIZES}


def test_training_moves_every_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.pretrain.STEPS", 4)
    pictures, labels = zip(*map(stills.draw, range(8)), strict=True)
    network = pretrain("8-16-32", torch.from_numpy(np.stack(pictures)), torch.tensor(labels))
    torch.manual_seed(0)
    before = dict(FrameClassifier(BackboneSpec("narrow/8-16-32", SIZES[0]), stills.NUM_CLASSES).named_parameters())
    assert not network.training
    assert not [name for name, weight in network.named_parameters() if torch.equal(weight, before[name])]

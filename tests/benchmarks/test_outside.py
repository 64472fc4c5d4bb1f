"""Methods from outside, each in two files, run from training to their record with no edit elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from adavid.evaluation.records import Record
from adavid.evaluation.schema import read_json
from benchmarks.__main__ import main
from tests.adavid.data.videos import write_video
from tests.test_readme import outside

TWO_VIEWS = '''
import torch
from torch import Tensor, nn

from adavid import ActionSpace, AdaptiveMethod, BackboneSpec, FrameClassifier, MethodOutput, View, run_on_frames


class TwoViews(AdaptiveMethod):
    """Many small frames and a few large ones; of either the mean. B videos, T frames, K classes, CHW."""

    def __init__(self, num_classes: int, small: BackboneSpec, large: BackboneSpec, num_frames: int = 8) -> None:
        super().__init__()
        self.specs, self.num_classes = {"small": small, "large": large}, num_classes
        self.views = {"small": small.view(num_frames), "large": large.view(num_frames // 2)}
        self.actions = ActionSpace(("look",), (small.size,))
        self.networks = nn.ModuleDict({name: FrameClassifier(spec, num_classes) for name, spec in self.specs.items()})

    def shared_backbones(self):
        return {f"networks.{name}": spec for name, spec in self.specs.items()}

    def forward(self, batch, ledger, forced=None, dense=False):
        logits_BK = torch.zeros_like(batch.label_BK)
        for name, network in self.networks.items():
            frames_BTCHW, mask_BT = batch.frames[name], batch.mask[name]
            zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
            size = self.specs[name].size
            seen_BTK = run_on_frames(ledger, name, network, frames_BTCHW, mask_BT, size, zeros_BTK, view=name)
            logits_BK = logits_BK + seen_BTK.sum(1) / mask_BT.sum(1, keepdim=True)
        return MethodOutput(logits_BK, batch.mask["small"].long() - 1, {})
'''
TWO_VIEWS_YAML = """
target: two_views.method:TwoViews
model: {small: '${recipe.pyramid[2]}', large: '${recipe.pyramid[0]}', num_frames: '${recipe.num_frames}'}
stages: {further: {train: [networks]}}
"""
WORDS = [
    *("recipe.batch_size=4", "recipe.warmup=null", "stages.further.epochs=1", "data.num_workers=0"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for split, num in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            for i in range(num):
                path = tmp_path / "videos" / split / name / f"{i}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, num_frames=10 + i, width=64, height=64, preset="ultrafast")
    return tmp_path / "videos"


def two_views(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A method that reads frames at two sizes, and twice as many of the small ones; returns its METHOD."""
    (folder / "two_views").mkdir()
    (folder / "two_views" / "method.py").write_text(TWO_VIEWS)
    (folder / "two_views" / "method.yaml").write_text(TWO_VIEWS_YAML)
    monkeypatch.syspath_prepend(folder)
    return "two_views.method:TwoViews"


@pytest.mark.slow
@pytest.mark.parametrize("make", [outside, two_views])
def test_a_method_from_outside_leaves_its_record(
    make, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    name = make(tmp_path, monkeypatch)
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    words = ["bench", "--method", name, "--data", f"folder:{videos}", *folders, *WORDS]
    assert main(words) == 0
    (path,) = (tmp_path / "results").rglob("test.json")
    record = read_json(Record, path)
    assert record.method == name.replace(":", ".") and record.cost.gflops_per_video > 0
    assert record.cost.audited_gflops_per_video <= record.cost.gflops_per_video
    assert record.method in capsys.readouterr().out

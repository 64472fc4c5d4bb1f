"""Settings: who sets what, in which order, and that none is ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adavid.config import ADDED, config_hash, essential
from adavid.evaluation.records import identity
from adavid.loading import without_weights
from benchmarks.compose import (
    arguments_of,
    compose,
    effect,
    evaluated_with,
    grid,
    layers_of,
    shared_backbones,
    warmup_of,
)
from benchmarks.layers import catalogue, merge, method_files, methods_of, profiles, references
from benchmarks.measure.usage import check_shares
from benchmarks.run import Run
from methods.arnet import ARNet

EVERYTHING = [(name, profile) for profile in profiles() for name in methods_of(profile)]

# A changed value of each key of the recipe, from what it is.
CHANGES: dict[str, Callable[[Any], Any]] = {
    "family": lambda recipe: next((other for other in recipe.pyramids if other != recipe.family), "resnet"),
    "frame_size": lambda recipe: recipe.frame_size // 2,
    "num_frames": lambda recipe: recipe.num_frames + 1,
    "batch_size": lambda recipe: recipe.batch_size + 1,
    "dropout": lambda recipe: recipe.dropout + 0.25,
    "pretrained": lambda recipe: not recipe.pretrained,
    "warmup_frames": lambda recipe: recipe.warmup_frames + 1,
    "warmup": lambda recipe: None,
    "stage": lambda recipe: {"clip_norm": 99.0},
    "pyramid": lambda recipe: [{"name": spec.name, "size": spec.size + 32} for spec in recipe.pyramid],
    "draws": lambda recipe: recipe.draws + 2,
    "weights": lambda recipe: "/folder",  # the embedded networks bring their own
    "pyramids": lambda recipe: {"new": [{"name": "narrow/8-16-32", "size": 32}]},
}


def computed(run: Run) -> str:
    """A hash of everything that a run computes with, the recipe apart."""
    return config_hash([effect(run), run.config["data"], run.config["trainer"]])


@pytest.mark.slow
@pytest.mark.parametrize("name", methods_of("tiny"))
def test_each_key_of_the_recipe_changes_something_or_is_refused(name: str) -> None:
    plain = compose(name)
    assert CHANGES.keys() == vars(plain.recipe).keys()
    for key, change in CHANGES.items():
        value = change(plain.recipe)
        if value == getattr(plain.recipe, key):
            continue
        try:
            changed = compose(name, overrides=[f"recipe.{key}={json.dumps(value)}"])
        except ValueError as error:
            assert "\n" not in str(error) and (f"recipe.{key}" in str(error) or name.partition("_")[0] in str(error))
        else:
            assert computed(changed) != computed(plain), key


@pytest.mark.parametrize("name", ["tsm", "tsm_plus", "adafocus_tsm"])
def test_frames_that_the_networks_name_themselves_are_not_the_recipes(name: str) -> None:
    with pytest.raises(ValueError, match=f"^recipe.num_frames: {name} makes no use of it in profile tiny$"):
        compose(name, overrides=["recipe.num_frames=5"])
    as_it_is = f"recipe.num_frames={compose(name).recipe.num_frames}"
    assert compose(name, overrides=[as_it_is]).hash == compose(name).hash


@pytest.mark.parametrize(("name", "profile"), EVERYTHING)
def test_the_curves_and_usages_of_the_catalogue_can_be_run(name: str, profile: str) -> None:
    run = compose(name, profile=profile)
    with without_weights():
        for point in grid(run.config["curve"].get("test")):
            run.build_method(2, **point)
        actions = run.build_method(2).actions
    for shares in run.config["usage"].values():
        assert sum(check_shares(actions, shares).values()) == pytest.approx(1)


def test_a_curve_may_have_several_grids() -> None:
    assert grid(None) == grid({}) == [{}] and grid([]) == []
    assert grid([{"a": [1, 2], "b": [3]}, {"a": [4], "b": None}]) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}, {"a": 4}]
    words = ["curve.test=[{ladder: [24x1-64x2], threshold: [0.5, 0.9]}, {ladder: [32x4]}]"]
    assert [len(point) for point in grid(compose("cascade", overrides=words).config["curve"]["test"])] == [2, 2, 1]
    with pytest.raises(ValueError, match="^curve.test.laddr is unknown; did you mean 'ladder'"):
        compose("cascade", overrides=["curve.test=[{laddr: [32x4]}]"])


def test_one_run_has_one_name() -> None:
    """tsn is uniform in tiny: refused there, and left out of all; in paper it has a resolution of its own."""
    assert set(catalogue()) - set(methods_of("tiny")) == {"tsn"} and methods_of("paper") == catalogue()
    with pytest.raises(ValueError, match="^tsn: the same run as uniform in profile tiny: METHOD=uniform$"):
        compose("tsn")
    assert compose("tsn", profile="paper").hash != compose("uniform", profile="paper").hash
    files = method_files("tsn")
    tsn, uniform = (merge(layers_of(method_files(name), "sprites", "tiny")) for name in ("tsn", "uniform"))
    for config in (tsn, uniform):
        frame_size = config["model"].pop("frame_size", 0)
        assert frame_size in (0, config["model"]["backbone"]["size"])  # 0 means the backbone's
    assert (files.target, tsn["model"], tsn["stages"]) == (
        method_files("uniform").target,
        uniform["model"],
        uniform["stages"],
    )
    assert tsn["recipe"] == uniform["recipe"]


MISTAKES = {
    "curve.test.nm_frames=[1]": "curve.test.nm_frames is unknown; did you mean 'num_frames'?",
    "curve.tets.num_frames=[1]": "curve.tets is unknown; did you mean 'test'?",
    "curve.test.num_frames=4": "curve.test.num_frames: expected a list of values, got 4",
    "curve.test.num_frames=[four]": "curve.test.num_frames: Value 'four'",
    "curve.train.lookahead=[2]": "curve.train.lookahead: training makes no use of it; did you mean 'curve.test.look",
    "model.lookahead=2": "model.lookahead: training makes no use of it; did you mean 'test.lookahead'?",
    "test.lokahead=2": "test.lokahead is unknown; did you mean 'lookahead'?",
    "test.lookahead=two": "test.lookahead: Value 'two'",
    "test.lookahead=0": "arnet: num_frames, lookahead, hidden and skips must be 1 or more",
    "test.hidden=2": "test: hidden=2 is another network than the trained one: it belongs in model",
    "test.alpha=0.3": "test.alpha: arnet makes no use of it in evaluation",
    "curve.test=4": "curve.test: expected settings, curve.test.argument=[values], got 4",
    "usage.half.48=x": "usage: the share of '48' must be a number, got 'x'",
    "usage.half.480=1.0": "usage: action '480' is unknown; did you mean '48'?",
    "usage.half=1.0": "usage.half: expected settings, usage.half.action=share, got 1.0",
    "recipe.nm_frames=4": "recipe.nm_frames is unknown; did you mean 'num_frames'?",
    "recipe.stage.lrr=4": "stages.joint.lrr is unknown; did you mean 'lr'?",
    "data.cach=x": "data.cach is unknown; did you mean 'cache'?",
    "trainer.precison=x": "trainer.precison is unknown; did you mean 'precision'?",
    "trainer.precision=bf16-true": "trainer.precision: Invalid value 'bf16-true', expected one of",
    "trainer.precision=64-true": "trainer.precision: Invalid value '64-true', expected one of",
    "trainer.limit_test_batches=0": "trainer.limit_test_batches: expected one batch or more, got 0",
    "trainer.accelerator=gpuu": "trainer: You selected an invalid accelerator name: `accelerator='gpuu'`",
    "trainer.devices=0": "trainer: `Trainer(devices=0)` value is not a valid input",
    "trainer.gradient_clip_val=1": "trainer.gradient_clip_val is unknown",
    "trainer.strategy=ddp": "trainer.strategy: it is for several devices, trainer.devices says one",
    "trainer.strategy=fsdp": "trainer.strategy: Invalid value 'fsdp', expected one of",
    "trainer.sync_batchnorm=true": "trainer.sync_batchnorm: it is for several devices, trainer.devices says one",
    "trainer.accelerator=tpu": "trainer: ",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch: expected 1 or more, got 0",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches: expected 1 or more, got 0",
    "trainer.deterministic=maybe": "trainer.deterministic: expected true, false or warn, got 'maybe'",
    "data.num_workers=-1": "num_workers=-1: expected 0 or more",
    "stages.joint.lr=.nan": "stage 'joint': lr must be positive, got nan",
    "stages.joint.clip_norm=.nan": "stage 'joint': clip_norm must not be negative, got nan",
    "stages.joint.milestones=[1]": "stage 'joint': milestones are for the schedule 'step', got 'constant'",
    "curve.train.num_frames=[0]": "arnet: num_frames, lookahead, hidden and skips must be 1 or more",
    "sed=1": "'sed' is unknown",
    "seed=1": "'seed' is unknown",
    "cache=/here": "'cache' is unknown",
}


@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_answered_in_one_line(word: str) -> None:
    with pytest.raises(ValueError) as caught:
        compose("arnet", overrides=[word])
    assert str(caught.value).startswith(MISTAKES[word]) and "\n" not in str(caught.value)


def test_test_time_arguments_are_told_from_those_of_training() -> None:
    plain, variant = compose("sofnet"), compose("sofnet", variant="no_early_termination")
    others = {"min_frames": 3, "ends_when_used": False}
    assert plain.config["test"] == {"rho": 0.999, **others} and "rho" not in plain.config["model"]
    assert variant.config["test"] == {"rho": 1.0, **others}
    assert variant.model_hash == plain.model_hash and variant.hash != plain.hash
    same = compose("sofnet", overrides=["test.rho=0.999", f"test.num_frames={plain.recipe.num_frames}"])
    assert same.hash == plain.hash  # said, but as it is
    assert compose("sofnet", overrides=["test.num_frames=null"]).hash == plain.hash
    fewer = compose("sofnet", overrides=["test.num_frames=4"])
    assert fewer.build_method(2).views["frames"].num_frames == 4 and fewer.model_hash == plain.model_hash
    trained_on_fewer = compose("sofnet", overrides=["recipe.num_frames=4"])
    assert trained_on_fewer.model_hash != plain.model_hash
    at = evaluated_with(plain, "curve.test", rho=0.5)
    assert at.config["test"] == {"rho": 0.5, **others} and plain.config["test"]["rho"] == 0.999
    for words in ({"hidden": 3}, {"alpha": 0.5}):
        with pytest.raises(ValueError, match=r"^curve\.test.*(curve\.train|evaluation)$"):
            evaluated_with(plain, "curve.test", **words)


def test_runs_of_one_model_share_its_hash_whatever_they_are_called() -> None:
    uniform, other_name = compose("uniform"), compose("methods.uniform:Uniform")
    assert uniform.model_hash == other_name.model_hash and uniform.hash != other_name.hash
    sofnet, variant = compose("sofnet"), compose("sofnet", variant="no_early_termination")  # rho, min_frames
    assert sofnet.model_hash == variant.model_hash and sofnet.hash != variant.hash
    assert compose("uniform", overrides=["stages.further.lr=0.5"]).model_hash != uniform.model_hash
    assert compose("uniform", overrides=["curve.test=null", "usage.half.64=1.0"]).model_hash == uniform.model_hash


def test_what_is_said_as_it_is_anyway_makes_no_other_run() -> None:
    words = ["trainer.precision=32-true", "trainer.accumulate_grad_batches=1", "recipe.stage.momentum=0.9"]
    words += ["recipe.warmup.segments.tau=5.0", "stages.joint.tau=5.0", "model.dropout=0.0", "data.flip=true"]
    plain = compose("arnet")
    assert compose("arnet", overrides=words).hash == plain.hash
    for word in ("trainer.precision=bf16-mixed", "recipe.warmup.segments.momentum=0.8", "stages.joint.momentum=0.8"):
        assert compose("arnet", overrides=[word]).hash != plain.hash


GROWN: dict[
    str, Callable[[Any], Any]
] = {  # a setting that comes later, with its neutral value, and where it stands in the configuration of a run
    "recipe.mixup": lambda config: config["recipe"],
    "data.jitter": lambda config: config["data"],
    "trainer.compile": lambda config: config["trainer"],
    "stages.average": lambda config: (
        *config["stages"],
        config["recipe"]["stage"],
        *config["recipe"]["warmup"].values(),
    ),
    "network.width": lambda config: (*config["model"]["backbones"], *config["recipe"]["pyramid"]),
    "ARNet.gate": lambda config: config["model"],
}


@pytest.mark.parametrize("name", GROWN)
def test_a_setting_that_comes_later_is_in_the_hash_only_where_it_is_not_neutral(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads(json.dumps(compose("arnet").config))
    before = identity(config, "f0")
    places, key = GROWN[name](config), name.rpartition(".")[2]
    for place in (places,) if isinstance(places, dict) else places:
        place[key] = 0.0
    assert identity(config, "f0") != before
    monkeypatch.setitem(ADDED, name, 0.0)
    assert identity(config, "f0") == before
    for place in (places,) if isinstance(places, dict) else places[:1]:
        place[key] = 0.5
    assert identity(config, "f0") != before
    monkeypatch.delitem(ADDED, name)
    monkeypatch.setitem(ADDED, f"LiteEval.{key}", 0.5)  # another method's of the same name
    assert identity(config, "f0") != before


def test_a_default_that_changes_in_the_code_makes_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Grown(ARNet):
        def __init__(self, num_classes: int, *, gate: float = 0.0, **kwargs: Any) -> None:
            super().__init__(num_classes, **kwargs)

    class Changed(ARNet):
        def __init__(self, num_classes: int, *, beta: float = 0.4, **kwargs: Any) -> None:
            super().__init__(num_classes, beta=beta, **kwargs)

    plain = compose("arnet")
    hashes = {}
    for of in (Grown, Changed):
        model, test = arguments_of(of, {key: plain.config["model"][key] for key in ("backbones", "skips")}, {})
        first, _ = arguments_of(ARNet, {key: plain.config["model"][key] for key in ("backbones", "skips")}, {})
        monkeypatch.setitem(ADDED, "ARNet.gate", 0.0)
        own = [identity({"target": "methods.arnet:ARNet", "model": part}, "f0") for part in (model, first)]
        hashes[of] = own[0] == own[1]
    assert hashes == {Grown: True, Changed: False}


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="^model.alpha: expected once, given 2 times$"):
        compose("arnet", overrides=["model.alpha=0.1", "model.alpha=0.2"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="where it can be had it is taken")
def test_a_precision_that_the_device_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="^trainer.precision: 16-mixed is not to be had on this device"):
        compose("arnet", overrides=["trainer.precision=16-mixed"])


def test_one_device_by_its_index_is_one_device() -> None:
    assert compose("uniform", overrides=["trainer.devices=[0]"]).hash == compose("uniform").hash


def test_the_number_of_devices_is_part_of_a_run_and_what_they_are_is_not() -> None:
    def on(*words: str) -> Run:
        return compose("uniform", overrides=["trainer.accelerator=cpu", *words])

    one, two, ddp = on(), on("trainer.devices=2"), on("trainer.devices=2", "trainer.strategy=ddp")
    nodes = on("trainer.devices=1", "trainer.num_nodes=2")
    assert "num_devices" not in one.config and (two.num_devices, two.num_gpus) == (2, 2)
    assert two.hash == ddp.hash == nodes.hash != one.hash and two.model_hash == nodes.model_hash != one.model_hash
    assert nodes.num_gpus == 0
    spec = shared_backbones(two)[0]
    assert warmup_of(two, spec).hash == warmup_of(nodes, spec).hash != warmup_of(one, spec).hash


def test_what_stands_for_the_whole_is_known() -> None:
    assert compose("uniform").debugging == []
    words = ["trainer.limit_test_batches=2", "trainer.fast_dev_run=true", "trainer.devices=1"]
    assert compose("uniform", overrides=words).debugging == ["fast_dev_run", "limit_test_batches"]


def test_a_data_sets_name_is_short_and_tells_long_ones_apart(tmp_path: Path) -> None:
    from benchmarks.compose import data_name

    long = ["folder:/videos/" + "y" * 250 + end for end in "ab"]
    names = [data_name(name) for name in long]
    assert len(set(names)) == 2 and max(map(len, names)) < 100
    assert data_name("folder:/videos/mine") == "folder-mine" and data_name("sprites") == "sprites"


# Files


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A checkout whose methods/ holds other YAML files too; a function that writes one."""
    from benchmarks.layers import ROOT

    for folder in ("benchmarks", "datamodules"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "methods").mkdir()
    for path in (ROOT / "methods").glob("*.yaml"):
        (tmp_path / "methods" / path.name).symlink_to(path)
    monkeypatch.setattr("benchmarks.layers.ROOT", tmp_path)
    return lambda name, text: (tmp_path / "methods" / f"{name}.yaml").write_text(text) and None


def test_a_file_that_extends_another_reads_as_if_it_stood_below_it(written: Callable[[str, str], None]) -> None:
    written("mine", "extends: arnet\nmodel: {beta: 0.7}\nprofiles: {tiny: {stages: {joint: {lr: 0.5}}}}\n")
    mine, arnet = compose("mine"), compose("arnet")
    assert mine.method_class is arnet.method_class and mine.variants == arnet.variants
    assert mine.config["model"] == arnet.config["model"] | {"beta": 0.7}
    first, last = mine.config["stages"]
    assert first == arnet.config["stages"][0] | {"lr": 0.5} and last == arnet.config["stages"][1]


def test_baselines_are_inherited_and_of_the_catalogue(written: Callable[[str, str], None]) -> None:
    assert method_files("adafocus_plus").baselines == ("adafocus",) and method_files("uniform").baselines == ()
    written("mine", "extends: arnet\n")
    assert method_files("mine").baselines == method_files("arnet").baselines == ("multi_scale",)
    written("mine", "extends: arnet\nbaselines: [lstm@last]\n")
    assert method_files("mine").baselines == ("lstm@last",)
    for labels, message in (
        ("[multiscale]", "baselines: method 'multiscale' is unknown; did you mean 'multi_scale'"),
        ("[lstm@lsat]", "baselines: variant 'lstm@lsat' is unknown; did you mean 'last'"),
        ("lstm", "baselines: expected a list of methods, got 'lstm'"),
    ):
        written("mine", f"extends: arnet\nbaselines: {labels}\n")
        with pytest.raises(ValueError, match=message):
            _ = method_files("mine").baselines


def test_all_baselines_and_references_are_of_the_catalogue() -> None:
    assert {name for name in catalogue() if method_files(name).baselines} >= {"arnet", "liteeval", "sofnet", "adafocus"}
    assert set().union(*references().values()) == {"uniform", "cascade", "cascade@longer"}


def test_the_stages_of_an_extending_file_run_in_its_order() -> None:
    names = [stage.name for stage in compose("adafocus_plus").stages]
    assert names == ["focus", "policy", "skip", "classifier"]
    assert [stage.name for stage in compose("adafocus").stages] == ["focus", "policy", "classifier"]


def test_a_variant_set_to_null_is_none() -> None:
    assert "last" in method_files("lstm").variants and "last" not in method_files("lstm_cf").variants


def test_a_variant_may_differ_by_profile(written: Callable[[str, str], None]) -> None:
    """Over its own settings and the method's profile; the command line comes after."""
    written(
        "mine",
        "extends: arnet\n"
        "variants:\n"
        "  slow: {model: {beta: 0.7, alpha: 0.2}, profiles: {paper: {model: {beta: 0.8}, stages: {finetune: null}}}}\n",
    )
    tiny, paper = (compose("mine", profile=profile, variant="slow") for profile in ("tiny", "paper"))
    assert [run.config["model"]["beta"] for run in (tiny, paper)] == [0.7, 0.8]
    assert [run.config["model"]["alpha"] for run in (tiny, paper)] == [0.2, 0.2]
    assert [[stage.name for stage in run.stages] for run in (tiny, paper)] == [["joint", "finetune"], ["joint"]]
    assert compose("mine", "sprites", "paper", "slow", ["model.beta=0.9"]).config["model"]["beta"] == 0.9
    *_, own, of_profile, _, _ = layers_of(method_files("mine"), "sprites", "paper", "slow")
    assert own.name.endswith("methods/mine.yaml, variant slow") and of_profile.name == f"{own.name}, profile paper"


def test_what_a_method_decides_is_inherited_and_known(written: Callable[[str, str], None]) -> None:
    written("mine", "extends: arnet\n")
    assert (method_files("mine").approach, method_files("mine").is_online) == ("resolution", True)
    written("mine", "extends: arnet\napproach: walk\nonline: false\n")
    assert (method_files("mine").approach, method_files("mine").is_online) == ("walk", False)
    written("mine", "target: methods.arnet:ARNet\n")
    assert (method_files("mine").approach, method_files("mine").is_online) == ("other", False)


BAD_FILES = {
    "extend: arnet": "methods/mine.yaml: 'extend' is unknown; did you mean 'extends'?",
    "extends: arent": "methods/mine.yaml: extends: method 'arent' is unknown; did you mean 'arnet'?",
    "extends: mine": "methods/mine.yaml: extends itself",
    "model: {}": "methods/mine.yaml: expected target",
    "extends: arnet\nprofiles: {tyni: {}}": "methods/mine.yaml: profiles.tyni is unknown; did you mean 'tiny'?",
    "extends: arnet\nvariants: {a: {profiles: {papre: {}}}}": "methods/mine.yaml: variants.a.profiles.papre is unknown",
    "extends: arnet\nvariants: {a: {profiles: 3}}": "methods/mine.yaml: variants.a.profiles: expected settings, got 3",
    "extends: arnet\nvariants: {a: 3}": "methods/mine.yaml: variants.a: expected settings, got 3",
    "extends: arnet\ndata_sets: {minikin: {}}": "methods/mine.yaml: data_sets.minikin is unknown; did you mean",
    "extends: arnet\nsame_as: {tyni: uniform}": "methods/mine.yaml: same_as.tyni is unknown; did you mean 'tiny'?",
    "extends: arnet\nsame_as: {tiny: unifrom}": "methods/mine.yaml: same_as.tiny: method 'unifrom' is unknown",
    "extends: arnet\nstages: {new: {train: [policy]}}": "methods/mine.yaml: stages: expected all of joint, finetune",
    "extends: arnet\nmodel: 3": "model: expected settings",
    "extends: arnet\nmodel:\n  beta: ${recipe.alpha}": "model.beta: Interpolation key 'recipe.alpha' not found",
    "extends: arnet\napproach: resolutoin": "methods/mine.yaml: approach 'resolutoin' is unknown; did you mean",
    "extends: arnet\nonline: 3": "methods/mine.yaml: online: expected true or false, got 3",
    "extends: [": "methods/mine.yaml: while parsing a flow node",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_mistake_in_a_file_is_answered_in_one_line(text: str, written: Callable[[str, str], None]) -> None:
    written("mine", text)
    with pytest.raises(ValueError) as caught:
        compose("mine")
    assert BAD_FILES[text] in str(caught.value) and "\n" not in str(caught.value)


def test_what_makes_no_difference_is_not_in_the_hash() -> None:
    config = compose("random_policy", seed=3).config
    assert config["model"]["seed"] == 3
    assert essential(config)["model"] == essential(compose("random_policy").config)["model"]

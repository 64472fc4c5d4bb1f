"""The contracts, for every method of the catalogue: a new method is tested without a new line here."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from _pytest.mark import ParameterSet
from pytorch_lightning import Trainer

from adavid.config import locate
from adavid.cost import Ledger, audit
from adavid.data.batch import VideoBatch
from adavid.evaluation.collector import GFLOPsCallback
from adavid.method import AdaptiveMethod, CausalMethod, MethodOutput
from adavid.online import OnlinePredictor
from benchmarks.compose import compose, layers_of, shared_backbones
from benchmarks.layers import catalogue, merge, method_files, methods_of
from benchmarks.run import Run
from methods.uniform import Uniform
from tests.conftest import NUM_CLASSES, RandomVideos, opinionated, random_batch, random_decisions

files_of = functools.cache(method_files)
TINY = [
    pytest.param((name, variant), id=f"{name}@{variant}" if variant else name)
    for name in methods_of("tiny")
    for variant in ("", *files_of(name).variants_in("tiny"))
]


def is_trained(param: ParameterSet) -> bool:
    """Whether a run trains a model of its own: a control may be its method's, evaluated otherwise."""
    name, variant = param.values[0]
    return not variant or any({*layer.values} - {"test"} for layer in files_of(name).layers_of_variant(variant, "tiny"))


TRAINED = [param for param in TINY if is_trained(param)]
SMALL = {"dpn107": 64, "slowfast": 64}  # pixels: at full size these take minutes


@functools.cache
def merged(name: str, *words: str) -> dict[str, Any]:
    """The settings of a method with the papers' networks, not yet checked, which takes longer."""
    return merge(layers_of(files_of(name), "sprites", "paper", overrides=words))


def papers_families() -> Iterator[tuple[str, str]]:
    """Every method with its own family of networks; one method of each class with one more, that fewest have had.

    It is any where the method's own is LiteEval's, and else one of the two of the rest.
    """
    run_with = list[tuple[str, str]]()
    for name in catalogue():
        own, target = merged(name)["recipe"], files_of(name).target
        families = [*own["pyramids"]] if own["family"] == "resnet101" else ["resnet", "efficientnet"]
        others = [family for family in families if family != own["family"]]
        yield name, own["family"]
        if all(of != target or family == own["family"] for of, family in run_with):
            other = min(others, key=[family for _, family in run_with].count)
            yield name, other
            run_with.append((target, other))
        run_with.append((target, own["family"]))


def papers_runs() -> Iterator[ParameterSet]:
    """`papers_families`, in sizes that take seconds, each network once."""
    known = dict[str, list[Any]]()
    for name, family in papers_families():
        own = merged(name)["recipe"]
        words = [] if family == own["family"] else [f"recipe.family={family}"]
        if family in SMALL:
            first, *others = own["pyramids"][family]
            sizes = [
                first | {"size": SMALL[family]},
                *(of | {"size": min(of["size"], SMALL[family] // 2)} for of in others),
            ]
            words.append(f"recipe.pyramids.{family}={json.dumps(sizes)}")
        model = merged(name, *words)["model"]
        if model in known.setdefault(name, []):  # a method may name its network itself
            continue
        known[name].append(model)
        short = "recipe.num_frames=3"  # some networks name their frames themselves
        words += [short] if merged(name, *words, short)["model"] != model else []
        words.append("curve.train=null")  # its points are networks of their own, which composing would build
        yield pytest.param((name, "", "paper", *words), id=f"{name}-paper-{family}", marks=pytest.mark.slow)


PAPER = list(papers_runs())
of_tiny = pytest.mark.parametrize("run", TINY, indirect=True)
of_trained = pytest.mark.parametrize("run", TRAINED, indirect=True)
of_all = pytest.mark.parametrize("run", TINY + PAPER, indirect=True)


@functools.cache
def composed(name: str, variant: str = "", profile: str = "tiny", *words: str) -> Run:
    return compose(name, profile=profile, variant=variant, overrides=words)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """Composed when its test runs: collecting the tests is quick."""
    return composed(*request.param)


def decisions(run: Run, method: AdaptiveMethod, batch: VideoBatch) -> list[torch.Tensor | None]:
    """The method's own and random ones; of the papers' networks, which take seconds a pass, random ones alone."""
    own: list[torch.Tensor | None] = [None] if run.profile == "tiny" else []
    return [*own, random_decisions(method, batch)]


def make(run: Run) -> AdaptiveMethod:
    return opinionated(run.build_method(NUM_CLASSES))


def select(batch: VideoBatch, videos: list[int]) -> VideoBatch:
    return VideoBatch(
        {name: frames[videos] for name, frames in batch.frames.items()},
        {name: mask[videos] for name, mask in batch.mask.items()},
        batch.label_BK[videos],
        [batch.video_id[b] for b in videos],
    )


def padded(batch: VideoBatch, num_padding: int) -> VideoBatch:
    """The same videos with frames of garbage at the end that the mask leaves out."""
    frames, mask = {}, {}
    for name, frames_BTCHW in batch.frames.items():
        garbage = torch.full_like(frames_BTCHW[:, :1], 99.0).repeat_interleave(num_padding, 1)
        frames[name] = torch.cat([frames_BTCHW, garbage], 1)
        mask[name] = torch.cat([batch.mask[name], torch.zeros(len(garbage), num_padding, dtype=torch.bool)], 1)
    return batch._replace(frames=frames, mask=mask)


@of_all
@torch.no_grad()
def test_sparse_and_dense_routing_agree_and_cost_what_an_independent_counter_sees_online_too(run: Run) -> None:
    # To the last digits; but for the papers' networks, which in float64 take a minute each and whose many layers round:
    # a video of theirs takes seconds, and its frames are routed as those of several are.
    dtype, close, num_videos = (torch.float64, 1e-9, 2) if run.profile == "tiny" else (torch.float32, 5e-5, 1)
    method = make(run).to(dtype)
    batch = random_batch(method, num_videos, dtype=dtype)
    for forced in decisions(run, method, batch):
        sparse = audited(method, batch, forced)
        dense = audited(method, batch, sparse.action_BT, dense=True)
        assert torch.equal(sparse.action_BT, dense.action_BT)
        torch.testing.assert_close(sparse.logits_BK, dense.logits_BK, rtol=close, atol=close)
    if isinstance(method, CausalMethod):
        check_the_online_bill(method, random_batch(method, 1, dtype=dtype))


def check_the_online_bill(method: CausalMethod, batch: VideoBatch) -> None:
    """Frame by frame it is the counter's."""
    predictor = OnlinePredictor(method)
    for t in range(batch.mask["frames"].shape[1]):
        before = predictor.ledger.audited_total_B.sum()
        with audit() as counter:
            predictor.observe(batch.frames["frames"][:, t])
        assert counter.macs == predictor.ledger.audited_total_B.sum() - before


def audited(
    method: AdaptiveMethod, batch: VideoBatch, forced: torch.Tensor | None, dense: bool = False
) -> MethodOutput:
    """What the method says, once its bill is found to be the counter's."""
    ledger = Ledger(len(batch.video_id))
    with audit() as counter:
        output = method(batch, ledger, forced=forced, dense=dense)
    assert counter.macs == ledger.audited_total_B.sum() > 0
    return output


@torch.no_grad()
def test_a_module_run_off_the_books_is_noticed() -> None:
    class Cheat(Uniform):
        def forward(self, batch, ledger, forced=None, dense=False):  # type: ignore[no-untyped-def]
            self.classifier(batch.frames["frames"][:, 0])
            return super().forward(batch, ledger, forced, dense)

    run = compose("uniform")
    method = Cheat(NUM_CLASSES, run.recipe.pyramid[0], run.recipe.num_frames).eval()
    ledger = Ledger(3)
    with audit() as counter:
        method(random_batch(method, 3), ledger)
    assert counter.macs > ledger.audited_total_B.sum()


@of_tiny
@torch.no_grad()
def test_a_video_is_treated_alike_in_any_company(run: Run) -> None:
    method = run.build_method(NUM_CLASSES)
    batch = random_batch(method, 6, dtype=torch.float64)
    for seed in range(10):  # until the untrained decisions differ: where all frames get one action, nothing is tested
        opinionated(method, seed).double()
        ledger = Ledger(6)
        together = method(batch, ledger)
        if len(together.action_BT.unique()) > 1 or len(method.actions) == 1:
            break
    else:
        raise AssertionError("every frame gets one action")
    for videos in ([0], [5, 2, 0], [3]):
        for part in (select(batch, videos), padded(select(batch, videos), 3)):
            bill = Ledger(len(videos))
            apart = method(part, bill)
            num_frames = together.action_BT.shape[1]
            assert torch.equal(apart.action_BT[:, :num_frames], together.action_BT[videos])
            assert (apart.action_BT[:, num_frames:] == -1).all()
            assert torch.equal(bill.total_B, ledger.total_B[videos])
            torch.testing.assert_close(apart.logits_BK, together.logits_BK[videos], rtol=1e-9, atol=1e-9)


def method_class(param: ParameterSet) -> type[AdaptiveMethod]:
    found: type[AdaptiveMethod] = locate(files_of(param.values[0][0]).target)
    return found


def causal(params: list[ParameterSet]) -> list[ParameterSet]:
    return [param for param in params if issubclass(method_class(param), CausalMethod)]


@of_tiny
@torch.no_grad()
def test_a_batch_may_be_shorter_than_the_view(run: Run) -> None:
    """As where `data.per_second` reads fewer frames of all its videos: they are answered as with padding."""
    if any(spec.num_segments for spec in shared_backbones(run)):
        with pytest.raises(ValueError, match="data.per_second=1: .* frames of every video: expected 0"):
            compose(run.method, variant=run.variant, overrides=["data.per_second=1"])
        return
    method = opinionated(run.build_method(NUM_CLASSES)).eval()
    padded = random_batch(method, 2)
    length = {view: mask_BT.shape[1] // 2 for view, mask_BT in padded.mask.items()}
    for view, mask_BT in padded.mask.items():
        mask_BT[:, length[view] :] = False
    cut = padded._replace(
        frames={view: frames[:, : length[view]] for view, frames in padded.frames.items()},
        mask={view: mask_BT[:, : length[view]] for view, mask_BT in padded.mask.items()},
    )
    ledgers = Ledger(2), Ledger(2)
    of_padded, of_cut = (method(batch, ledger) for batch, ledger in zip((padded, cut), ledgers, strict=True))
    torch.testing.assert_close(of_cut.logits_BK, of_padded.logits_BK, rtol=1e-5, atol=1e-5)
    assert torch.equal(of_cut.action_BT, of_padded.action_BT[:, : of_cut.action_BT.shape[1]])
    assert torch.equal(ledgers[0].total_B, ledgers[1].total_B)


@pytest.mark.parametrize("run", causal(TINY), indirect=True)
def test_watching_frame_by_frame_answers_what_the_first_frames_answer(run: Run) -> None:
    method = make(run).double()
    batch = random_batch(method, 3, dtype=torch.float64)
    num_frames = batch.mask["frames"].shape[1]
    mask_BT = torch.arange(num_frames) < torch.tensor([num_frames, 2, num_frames - 1])[:, None]
    predictor = OnlinePredictor(method, 3)
    for t in range(num_frames):
        seen = predictor.observe(batch.frames["frames"][:, t], mask_BT[:, t])
        first = batch._replace(
            frames={"frames": batch.frames["frames"][:, : t + 1]}, mask={"frames": mask_BT[:, : t + 1]}
        )
        bill = Ledger(3)
        with torch.no_grad():
            whole = method(first, bill)
        torch.testing.assert_close(seen.logits_BK, whole.logits_BK, rtol=1e-9, atol=1e-9)
        assert torch.equal(seen.action_B, whole.action_BT[:, t])
    answers = Ledger(3)
    with torch.no_grad():
        method.answer(method.init_state(3), answers)
    # One answer is part of the whole video's bill, too.
    spent_B = sum((num_frames - 1) * macs_B for macs_B in answers.macs.values())
    assert torch.equal(predictor.ledger.total_B, bill.total_B + spent_B)


@of_tiny
@torch.no_grad()
def test_evaluation_is_deterministic_and_has_noted_every_frame_that_it_depends_on(run: Run) -> None:
    method = make(run)
    batch = random_batch(method, 4)
    for forced in decisions(run, method, batch):
        ledger = Ledger(4)
        first = method(batch, ledger, forced)
        torch.manual_seed(1)
        again = method(without_unread(batch, ledger), Ledger(4), forced)
        assert torch.equal(first.logits_BK, again.logits_BK) and torch.equal(first.action_BT, again.action_BT)


def without_unread(batch: VideoBatch, ledger: Ledger) -> VideoBatch:
    """The same videos with garbage in place of the frames that no network saw."""
    shapes = {name: frames.shape[:-3] for name, frames in batch.frames.items()}  # (B, T), or (B, T, S) of clips
    is_read = {name: torch.zeros(*of[:2], of[2:].numel(), dtype=torch.bool) for name, of in shapes.items()}
    for read in ledger.reads:
        is_read[read.view][read.video_N, read.frame_N, slice(None) if read.inner is None else read.inner] = True
    frames = {
        name: of.where(is_read[name].view(shapes[name])[..., None, None, None], 99.0)
        for name, of in batch.frames.items()
    }
    return batch._replace(frames=frames)


def another(value: Any) -> Any:
    """A changed value of a setting."""
    if isinstance(value, list | tuple):
        return [another(of) for of in value]
    if isinstance(value, float):
        return value / 2
    return value - 1 if value > 1 else value + 1  # a number of frames may have a most


@of_tiny
def test_what_evaluation_alone_makes_use_of_leaves_the_trained_model_as_it_is(run: Run) -> None:
    assert run.method_class.test_time == tuple(key for key in run.config["test"] if key not in run.config["model"])
    shapes = {key: value.shape for key, value in run.build_method(NUM_CLASSES).state_dict().items()}
    numbers = {key: value for key, value in run.config["test"].items() if not isinstance(value, str)}
    settings = {key: another(numbers[key]) for key in run.method_class.test_time if key in numbers}
    if "num_frames" in run.config["model"]:
        settings["num_frames"] = another(run.config["model"]["num_frames"])
    for key, value in settings.items():
        changed = composed(run.method, run.variant, run.profile, f"test.{key}={json.dumps(value)}")
        assert changed.arguments[key] == value and changed.config["model"] == run.config["model"]
        assert changed.model_hash == run.model_hash and changed.hash != run.hash
        method = changed.build_method(NUM_CLASSES)
        assert {name: of.shape for name, of in method.state_dict().items()} == shapes


@of_trained
def test_every_stage_trains_what_it_names_and_nothing_else(run: Run) -> None:
    method = make(run)
    batch = random_batch(method, 8)
    for stage in run.stages:
        method.enter(stage)
        method.train()
        method.zero_grad()
        frozen = {key: value.clone() for key, value in method.state_dict().items()}
        getattr(method, stage.loss)(batch, Ledger(8))["loss"].backward()
        for key, parameter in method.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, key
            inside = any(key.startswith(part + ".") for part in stage.train)
            assert parameter.requires_grad == inside, key
        for key, value in method.state_dict().items():
            if not any(key.startswith(part + ".") for part in stage.train):
                assert torch.equal(value, frozen[key]), f"{key} moved though frozen"


@of_trained
def test_every_stage_trains_on_the_fewest_videos_whatever_their_length(run: Run) -> None:
    """A batch of one, unless the method says that it needs more; and where every video ends after its first frame."""
    method = make(run)
    num_videos = method.fewest_videos
    batch = random_batch(method, num_videos)
    short = {name: torch.arange(mask_BT.shape[1]).expand_as(mask_BT) < 1 for name, mask_BT in batch.mask.items()}
    for stage in run.stages:
        method.enter(stage)
        method.train()
        for mask in (batch.mask, short):
            method.zero_grad()
            terms = getattr(method, stage.loss)(batch._replace(mask=mask), Ledger(num_videos))
            terms["loss"].backward()
            assert all(value.isfinite().all() for value in terms.values())
            gradients = {key: parameter.grad for key, parameter in method.named_parameters() if parameter.requires_grad}
            assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())


def several(params: list[ParameterSet]) -> list[ParameterSet]:
    return [param for param in params if method_class(param).fewest_videos > 1]


@pytest.mark.parametrize("run", several(TINY), indirect=True)
def test_a_method_that_asks_for_several_videos_fails_on_fewer(run: Run) -> None:
    method = make(run)
    num_videos = method.fewest_videos - 1
    failed = []
    for stage in run.stages:
        method.enter(stage)
        method.train()
        try:
            getattr(method, stage.loss)(random_batch(method, num_videos), Ledger(num_videos))["loss"].backward()
        except ValueError:
            failed.append(stage.name)
    assert failed, "it need not ask"


@of_trained
def test_fast_dev_run_and_checkpoint(run: Run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    method = run.build_method(NUM_CLASSES)
    data = RandomVideos(method)
    for stage in run.stages:
        method.enter(stage)
        trainer = Trainer(
            fast_dev_run=True,
            callbacks=[GFLOPsCallback()],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(method, data)
    trainer.test(method, data, verbose=False)
    trainer.save_checkpoint(tmp_path / "method.ckpt")
    twin = run.build_method(NUM_CLASSES).eval()
    twin.load_state_dict(torch.load(tmp_path / "method.ckpt", weights_only=True)["state_dict"])
    batch = data.batches[0]
    with torch.no_grad():
        ours = copy.deepcopy(method).eval()(batch, Ledger(4))
        theirs = twin(batch, Ledger(4))
    assert torch.equal(ours.logits_BK, theirs.logits_BK)


@pytest.mark.parametrize("name", catalogue())
def test_a_methods_yaml_says_what_it_decides_and_whether_online(name: str) -> None:
    files = files_of(name)
    assert files.approach != "other"
    decides_online = files.approach != "none" and issubclass(locate(files.target), CausalMethod)
    assert files.is_online == decides_online

"""Prices in closed form, bills by owner, and the two counters agreeing to the last multiply-accumulate."""

import copy
import warnings
from contextlib import nullcontext

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adavid.cost import Ledger, Price, audit, price


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def small_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


SMALL_NET_AUDITED = 36 * 4 * 3 * 9 + 4 * 36 * 5
SMALL_NET = Price(SMALL_NET_AUDITED + 2 * 4 * 36, SMALL_NET_AUDITED)  # BatchNorm: 2 an element

# name: (module, shapes of two rows, multiply-accumulates of one row)
T, D, H = 5, 8, 6
ATTENTION = T * D * 3 * D + 2 * T * T * D + T * D * D
CLOSED_FORM = {
    "conv": (nn.Conv2d(3, 7, 3, stride=2, padding=1), [(2, 3, 8, 8)], 4 * 4 * 7 * 3 * 9),
    "grouped conv": (nn.Conv2d(4, 6, 3, groups=2), [(2, 4, 8, 8)], 6 * 6 * 6 * 2 * 9),
    "depthwise conv": (nn.Conv2d(4, 4, 5, groups=4), [(2, 4, 8, 8)], 4 * 4 * 4 * 25),
    "conv1d": (nn.Conv1d(4, 3, 3), [(2, 4, 9)], 7 * 3 * 4 * 3),
    "conv3d": (nn.Conv3d(2, 3, 3), [(2, 2, 4, 5, 6)], 2 * 3 * 4 * 3 * 2 * 27),
    "transposed conv": (nn.ConvTranspose2d(4, 3, 2, stride=2), [(2, 4, 5, 5)], 25 * 4 * 3 * 4),
    "linear": (nn.Linear(D, H), [(2, D)], D * H),
    "linear on a clip": (nn.Linear(D, H), [(2, T, D)], T * D * H),
    "matmul": (Apply(torch.matmul), [(2, T, D), (2, D, H)], T * D * H),
    "broadcast matmul": (Apply(torch.matmul), [(2, 1, T, D), (2, 3, D, H)], 3 * T * D * H),
    "bmm": (Apply(torch.bmm), [(2, T, D), (2, D, H)], T * D * H),
    "baddbmm": (Apply(torch.baddbmm), [(2, T, H), (2, T, D), (2, D, H)], T * D * H),
    "matrix times vector": (Apply(lambda x: x @ torch.ones(D)), [(2, T, D)], T * D),
    "outer product": (Apply(lambda x, y: torch.einsum("bt,bd->btd", x, y)), [(2, T), (2, D)], 0),
    "einsum": (Apply(lambda x, y: torch.einsum("btd,bt->bd", x, y)), [(2, T, D), (2, T)], T * D),
    "lstm cell": (nn.LSTMCell(D, H), [(2, D)], 4 * H * (D + H)),
    "gru cell": (nn.GRUCell(D, H), [(2, D), (2, H)], 3 * H * (D + H)),
    "lstm": (nn.LSTM(D, H, batch_first=True), [(2, T, D)], T * 4 * H * (D + H)),
    "deep lstm": (
        nn.LSTM(D, H, num_layers=2, bidirectional=True, batch_first=True),
        [(2, T, D)],
        T * 2 * 4 * H * ((D + H) + (2 * H + H)),
    ),
    "projected lstm": (
        nn.LSTM(D, H, num_layers=2, proj_size=3, bias=False, batch_first=True),
        [(2, T, D)],
        T * (4 * H * ((D + 3) + (3 + 3)) + 2 * 3 * H),
    ),
    "deep gru": (
        nn.GRU(D, H, num_layers=2, bidirectional=True, batch_first=True),
        [(2, T, D)],
        T * 2 * 3 * H * ((D + H) + (2 * H + H)),
    ),
    "rnn": (nn.RNN(D, H, nonlinearity="relu", batch_first=True), [(2, T, D)], T * H * (D + H)),
    "fused attention": (
        Apply(nn.functional.scaled_dot_product_attention),
        [(2, 2, T, D), (2, 2, 7, D), (2, 2, 7, D)],
        2 * 2 * T * 7 * D,
    ),
    "multi-head attention": (nn.MultiheadAttention(D, 2, batch_first=True), [(2, T, D)] * 3, ATTENTION),
    "transformer layer": (
        nn.TransformerEncoderLayer(D, 2, dim_feedforward=16, batch_first=True),
        [(2, T, D)],
        ATTENTION + 2 * T * D * 16,
    ),
}


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("case", CLOSED_FORM)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_audited_price_is_the_closed_form_and_the_audit_agrees(case, context):
    module, shapes, macs = CLOSED_FORM[case]
    module = copy.deepcopy(module).eval()
    inputs = [torch.randn(shape) for shape in shapes]
    ledger = Ledger(2)
    with context(), audit() as run:
        ledger.run("part", module, *inputs, owner_N=torch.tensor([0, 1]))
    assert price(module, *inputs).audited == macs
    assert ledger.audited_total_B.tolist() == [macs, macs]
    assert run.macs == 2 * macs


def test_headline_adds_normalisation_and_adaptive_pooling():
    assert price(small_net(), torch.zeros(1, 3, 8, 8)) == SMALL_NET
    assert price(nn.BatchNorm2d(4), torch.zeros(1, 4, 6, 6)) == (2 * 4 * 36, 0)
    assert price(nn.AdaptiveAvgPool2d(1), torch.zeros(1, 4, 6, 6)) == (4 * 36, 0)
    assert price(nn.LayerNorm(8), torch.zeros(1, 5, 8)) == (5 * 5 * 8, 0)


@pytest.mark.parametrize(
    ("name", "size", "gmacs"),
    [
        ("resnet50", 224, 4.1103),
        ("resnet34", 168, 2.2490),
        ("resnet18", 112, 0.4863),
        ("mobilenet_v2", 84, 0.0529),
    ],
)
def test_published_figures(name, size, gmacs):
    model = torchvision.models.get_model(name, weights=None, num_classes=400).eval()
    one = price(model, torch.zeros(1, 3, size, size))
    with torch.inference_mode(), audit() as run:
        model.to("meta")(torch.zeros(1, 3, size, size, device="meta"))
    assert round(one.macs / 1e9, 4) == gmacs
    assert one.audited == run.macs


@pytest.mark.parametrize("name", ["efficientnet_b0", "vit_tiny_patch16_224", "test_resnet"])
def test_timm_models_have_a_price(name):
    model = timm.create_model(name, num_classes=5).eval()
    images = torch.zeros(2, 3, *model.default_cfg["input_size"][1:])
    with torch.inference_mode(), audit() as run:
        model(images)
    assert price(model, images).audited * 2 == run.macs


def test_result_that_is_not_returned_raises():
    class Wasteful(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(8, 3), nn.Linear(8, 100)

        def forward(self, x):
            self.unused(x)
            return self.used(x)

    with pytest.raises(ValueError, match="Wasteful: 824 MACs ran, expected 24"):
        price(Wasteful(), torch.zeros(1, 8))


def test_price_has_no_side_effects():
    module = small_net().train()
    module.append(nn.Dropout(0.5))
    module(torch.randn(4, 3, 8, 8)).sum().backward()
    before = copy.deepcopy(module.state_dict())
    gradients = [parameter.grad.clone() for parameter in module.parameters()]
    random_state = torch.get_rng_state()
    with warnings.catch_warnings(action="error"):
        assert price(module, torch.zeros(7, 3, 8, 8, requires_grad=True)) == SMALL_NET
    assert all(part.training for part in module.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        assert parameter.requires_grad and torch.equal(parameter.grad, gradient)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "context",
    [
        lambda: FlopCounterMode(display=False),
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_price_is_the_same_anywhere(context, dtype):
    module, frames = small_net().to(dtype), torch.zeros(2, 3, 8, 8, dtype=dtype)
    with context():
        assert price(module, frames) == SMALL_NET


def test_price_is_invisible_to_modes():
    module, frames = small_net(), torch.zeros(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:
        price(module, frames)
    assert counter.get_total_flops() == 0
    with audit() as run:
        price(module, frames)
    assert run.macs == 0


def test_price_copes_with_hooks_and_histories():
    module = nn.Linear(8, 6)
    module.register_forward_hook(lambda *_: pytest.fail("hooks stay with the original"))
    module.last = [module.weight * 2]
    assert not module.last[0].is_leaf
    with pytest.raises(RuntimeError):
        copy.deepcopy(module)
    assert price(module, torch.zeros(1, 8)).audited == 48
    assert len(module._forward_hooks) == 1


def test_price_is_by_shape_and_remembered():
    module = nn.Conv2d(3, 4, 1)
    small, large = torch.zeros(1, 3, 4, 4), torch.zeros(9, 3, 8, 8)
    assert (price(module, small).macs, price(module, large).macs) == (4 * 4 * 12, 8 * 8 * 12)
    module.forward = lambda x: pytest.fail("counted twice")
    assert price(module, small.expand(5, -1, -1, -1)).macs == 4 * 4 * 12


def test_constants_and_nested_outputs_pass_through():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, state, scale, nothing):
            return {"logits": scale * self.linear(state["x"]), "nothing": nothing}

    assert price(Head(), {"x": torch.zeros(1, 8)}, 2.0, None).audited == 24


@pytest.mark.parametrize(
    ("function", "operator"),
    [(lambda x: torch.fft.fft(x).real, "fft_fft"), (torch.linalg.matrix_exp, "linalg_matrix_exp")],
)
def test_unknown_operator_raises(function, operator):
    with pytest.raises(ValueError, match=f"Apply.*aten::{operator}"):
        price(Apply(function), torch.zeros(1, 3, 3))


@pytest.mark.parametrize("module", [nn.LSTM(D, H), nn.Sequential(nn.TransformerEncoderLayer(D, 2, 16))])
@pytest.mark.filterwarnings("ignore:.*batch_first")
def test_time_first_raises(module):
    with pytest.raises(ValueError, match="batch_first=True"):
        price(module, torch.zeros(T, 2, D))


def test_einsum_of_three_operands_raises():
    with pytest.raises(ValueError, match="two operands"):
        price(Apply(lambda x: torch.einsum("bi,bi,bi->b", x, x, x)), torch.zeros(1, 3))


def test_ledger_bills_the_owners_in_any_order():
    module, frames = small_net().eval(), torch.randn(5, 3, 8, 8)
    owner_N = torch.tensor([2, 0, 2, 2, 0])
    order = torch.tensor([4, 1, 0, 3, 2])
    ledger, shuffled = Ledger(4), Ledger(4)
    logits = ledger.run("backbone", module, frames, owner_N=owner_N)
    torch.testing.assert_close(logits, module(frames))
    shuffled.run("backbone", module, frames[order], owner_N=owner_N[order])
    rows = torch.tensor([2, 0, 3, 0])
    for each in (ledger, shuffled):
        assert torch.equal(each.macs["backbone"], rows * SMALL_NET.macs)
        assert torch.equal(each.audited["backbone"], rows * SMALL_NET.audited)


def test_ledger_accumulates_by_name_and_totals():
    ledger, cell, owner_N = Ledger(2), nn.LSTMCell(D, H), torch.tensor([0, 1])
    state = torch.zeros(2, H), torch.zeros(2, H)
    for _ in range(3):
        state = ledger.run("rnn", cell, torch.randn(2, D), state, owner_N=owner_N)
    ledger.run("head", nn.Linear(H, 4), state[0][1:], owner_N=owner_N[1:])
    step = 4 * H * (D + H)
    assert ledger.macs["rnn"].tolist() == [3 * step, 3 * step]
    assert ledger.total_B.tolist() == ledger.audited_total_B.tolist() == [3 * step, 3 * step + 4 * H]
    assert ledger.total_B.dtype == torch.int64
    assert Ledger(3).total_B.tolist() == [0, 0, 0]


def test_ledger_asserts_one_owner_a_row():
    with pytest.raises(AssertionError, match="head: expected 3 rows"):
        Ledger(2).run("head", nn.Linear(8, 2), torch.zeros(2, 8), owner_N=torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("with_state", [False, True])
def test_no_rows_run_and_cost_nothing(with_state):
    ledger, nobody = Ledger(2), torch.zeros(0, dtype=torch.int64)
    with torch.no_grad(), audit() as run:
        if with_state:
            state = torch.zeros(0, H), torch.zeros(0, H)
            h_ND, _ = ledger.run("part", nn.LSTMCell(D, H), torch.zeros(0, D), state, owner_N=nobody)
            assert h_ND.shape == (0, H)
        else:
            for model in (small_net(), torchvision.models.mobilenet_v2(num_classes=5)):
                logits = ledger.run("part", model.eval(), torch.zeros(0, 3, 8, 8), owner_N=nobody)
                assert logits.shape == (0, 5)
    assert ledger.total_B.tolist() == [0, 0]
    assert run.macs == ledger.train_macs == 0


def test_running_off_the_books_shows_in_the_audit():
    module, frames, ledger = small_net().eval(), torch.zeros(2, 3, 8, 8), Ledger(1)
    owner_N = torch.zeros(2, dtype=torch.int64)
    with torch.inference_mode(), audit() as honest:
        ledger.run("backbone", module, frames, owner_N=owner_N)
    with torch.inference_mode(), audit() as fraud:
        ledger.run("backbone", module, frames, owner_N=owner_N)
        module[0](frames)
    assert 2 * honest.macs == ledger.audited_total_B.sum()
    assert fraud.macs - honest.macs == 2 * 36 * 4 * 3 * 9


def test_audit_restores_the_fast_path_after_an_error():
    with pytest.raises(KeyError), audit():
        assert not torch.backends.mha.get_fastpath_enabled()
        raise KeyError
    assert torch.backends.mha.get_fastpath_enabled()


def test_audit_knows_the_cudnn_kernel():
    lstm = nn.LSTM(D, H, num_layers=2, bidirectional=True, batch_first=True, device="meta")
    states = [torch.zeros(4, 2, H, device="meta") for _ in "hc"]
    with audit() as run:
        torch.ops.aten._cudnn_rnn(
            torch.zeros(2, T, D, device="meta"), lstm._flat_weights, 4, None, *states,
            2, H, 0, 2, True, 0.0, False, True, [], None,
        )  # fmt: skip
    assert run.macs == 2 * T * 2 * 4 * H * ((D + H) + (2 * H + H))


@pytest.mark.parametrize(
    ("context", "is_trained", "input_requires_grad", "num_passes"),
    [
        (nullcontext, True, False, 3),
        (nullcontext, False, True, 2),
        (nullcontext, False, False, 1),
        (torch.no_grad, True, True, 1),
    ],
)
def test_training_macs(context, is_trained, input_requires_grad, num_passes):
    ledger, module = Ledger(2), small_net().requires_grad_(is_trained)
    frames = torch.zeros(4, 3, 8, 8, requires_grad=input_requires_grad)
    for _ in range(2):
        with context():
            ledger.run("backbone", module, frames, owner_N=torch.tensor([0, 0, 1, 1]))
    assert ledger.train_macs == 2 * num_passes * 4 * SMALL_NET.macs


def test_a_compiled_network_costs_what_it_computes() -> None:
    frame_1CHW = torch.zeros(1, 3, 8, 8)
    wrapped = torch.compile(small_net(), backend="eager")
    in_place = small_net()
    in_place.compile(backend="eager")
    for network in (wrapped, in_place, nn.Sequential(torch.compile(small_net(), backend="eager"))):
        assert price(network, frame_1CHW) == SMALL_NET
    ledger = Ledger(2)
    rows_NCHW = torch.randn(3, 3, 8, 8)
    out = ledger.run("net", wrapped, rows_NCHW, owner_N=torch.tensor([0, 1, 1]))
    assert torch.equal(out, wrapped._orig_mod(rows_NCHW)) and ledger.total_B.tolist() == [
        SMALL_NET.macs,
        2 * SMALL_NET.macs,
    ]


def test_a_method_compiled_before_its_first_run_is_billed() -> None:
    net = small_net().eval()

    def work(rows_NCHW: torch.Tensor, ledger: Ledger) -> torch.Tensor:
        owner_N = torch.zeros(len(rows_NCHW), dtype=torch.long)
        return ledger.run("net", net, rows_NCHW, owner_N=owner_N) * 2

    ledger, rows_NCHW = Ledger(1), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(torch.compile(work, backend="eager")(rows_NCHW, ledger), 2 * net(rows_NCHW))
    assert ledger.total_B.tolist() == [2 * SMALL_NET.macs]

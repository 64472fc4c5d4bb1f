"""What running a network costs: the price of a row, the ledger that bills videos, and an independent audit.

The unit is the multiply-accumulate (1 MAC = 1 "FLOP" of the papers). B videos, N routed rows: a row is one
index of the leading axis of a module's inputs, a frame, or a whole clip where the module mixes frames.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from adavid.chunks import CHUNKS, made, run_in_chunks, shaped
from adavid.kept import KeptFeatures

with warnings.catch_warnings(action="ignore"):  # importing it scripts a loss function, which torch deprecates
    from fvcore.nn import FlopCountAnalysis


class Price(NamedTuple):
    """The multiply-accumulates of one row.

    Attributes:
        macs: The headline, all that fvcore counts: normalisation, resizing and adaptive pooling included.
        audited: Convolutions, matrix products, recurrent layers and attention: what `audit` counts too.
    """

    macs: int
    audited: int


def _shape(value: Any) -> list[int]:
    return value.type().sizes()


def _matmul(inputs: list[Any], outputs: list[Any]) -> int:
    """fvcore's own formula is wrong where the batch axes of the first operand are broadcast."""
    return prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """fvcore reads an estimate that numpy prints to four digits."""
    equation, operands = inputs[0].toIValue().replace(" ", ""), list(inputs[1].node().inputs())
    indices, arrow, kept = equation.partition("->")
    if len(operands) != 2 or not arrow or "." in equation:
        raise ValueError(f"price: einsum '{equation}': expected two operands, an arrow and no ellipsis")
    sizes = dict(zip(indices.replace(",", ""), _shape(operands[0]) + _shape(operands[1]), strict=True))
    return prod(sizes.values()) if sizes.keys() - set(kept) else 0  # nothing summed: elementwise


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Scores and weighted sum; a masked score is computed like any other."""
    query, key, value = (_shape(x) for x in inputs[:3])
    return prod(_shape(outputs[0])[:-1]) * key[-2] * (query[-1] + value[-1])


def _rnn_macs(input_shape: Sequence[int], weight_shapes: Sequence[Sequence[int]]) -> int:
    """Each matrix multiplies once a step: the shapes hold all gates, layers, directions and projections."""
    return prod(input_shape[:-1]) * sum(prod(shape) for shape in weight_shapes if len(shape) == 2)


def _rnn(inputs: list[Any], outputs: list[Any]) -> int:
    return _rnn_macs(_shape(inputs[0]), [_shape(weight) for weight in inputs[2].node().inputs()])


# Where fvcore has no formula, or one that is not exact.
_HANDLERS: dict[str, Callable[[list[Any], list[Any]], int]] = {
    "aten::matmul": _matmul,
    "aten::baddbmm": lambda inputs, outputs: _matmul(inputs[1:3], outputs),
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    **dict.fromkeys(("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"), _rnn),
}
_AUDITED = {"conv", "linear", "addmm", "mm", "bmm"} | {name.removeprefix("aten::") for name in _HANDLERS}

# Operators, in place or not, without arithmetic worth counting, besides those that fvcore itself ignores.
# fmt: off
_FREE = frozenset({
    "abs", "add", "ceil", "cumsum", "div", "exp", "log", "mul", "neg", "pow", "reciprocal", "rsqrt", "rsub", "sqrt",
    "sub", "celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax", "mish",
    "prelu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "tanh", "amax", "amin", "argmax",
    "argmin", "mean", "min", "norm", "sort", "std", "sum", "topk", "var", "le", "logical_and", "logical_not",
    "logical_or", "lt", "maximum", "minimum", "ne", "where", "adaptive_avg_pool1d", "adaptive_avg_pool3d",
    "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
    "alias", "channel_shuffle", "clone", "dropout", "embedding", "expand_as", "feature_dropout", "fill",
    "flip", "index_select", "masked_fill", "movedim", "ones_like", "pad", "pixel_shuffle", "pixel_unshuffle",
    "repeat", "repeat_interleave", "reshape_as", "scatter", "tensor_split", "unflatten", "unfold",
    "unsafe_chunk", "unsafe_split", "view_as", "zero",
})
# fmt: on


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class _Call(nn.Module):
    """A module as a function from tensors to tensors, which is all that the tracer understands."""

    def __init__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        given = iter(tensors)
        return _tensors(self.module(*tree_map_only(Tensor, lambda _: next(given), self.inputs)))


def _plain(tensor: Tensor) -> Tensor:
    """A copy without history on the CPU, in float32 if floating."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    twin = tensor.detach().to("cpu", dtype, copy=True)
    return nn.Parameter(twin, requires_grad=False) if isinstance(tensor, nn.Parameter) else twin


def _plain_copy(module: nn.Module) -> nn.Module:
    """An eval-mode copy of plain tensors, not compiled, without the hooks and histories that deepcopy fails on."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        memo |= {id(value): type(value)() for name, value in vars(part).items() if name.endswith("_hooks")}
        memo |= {id(tensor): _plain(tensor) for tensor in _tensors(vars(part))}
    return _uncompiled(copy.deepcopy(module, memo)).eval()


def _uncompiled(module: nn.Module) -> nn.Module:
    """The module, and its parts, as they were before `torch.compile` wrapped them: it computes the same."""
    while isinstance(module, OptimizedModule):
        module = module._orig_mod
    for name, part in module.named_children():
        setattr(module, name, _uncompiled(part))
    return module


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """To either counter a fused transformer layer is one opaque operator."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


def _count(module: nn.Module, inputs: tuple[Any, ...]) -> Price:
    name = type(module).__name__
    if any(getattr(part, "batch_first", True) is False for part in module.modules()):
        raise ValueError(f"price: {name}: rows are the leading axis, expected batch_first=True")
    with (
        _disable_current_modes(),
        torch._C.DisableTorchFunction(),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(action="ignore"),
        _without_fast_path(),
    ):
        row = tree_map_only(Tensor, lambda x: _plain(x.new_zeros(1, *x.shape[1:])), inputs)
        call = _Call(_plain_copy(module), row)
        analysis = FlopCountAnalysis(call, tuple(_tensors(row)))
        analysis.set_op_handle(**_HANDLERS).tracer_warnings("none")
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        macs_by_operator: Counter[str] = analysis.by_operator()
        unsupported = analysis.unsupported_ops()
        with audit() as run:
            call(*_tensors(row))
    unknown = {op for op in unsupported if op.removeprefix("aten::").removesuffix("_") not in _FREE}
    if unknown:
        raise ValueError(f"price: {name}: no known cost for {', '.join(sorted(unknown))} (see adavid.cost)")
    audited = int(sum(macs for operator, macs in macs_by_operator.items() if operator in _AUDITED))
    if audited != run.macs:  # the tracer drops what has no part in the outputs
        raise ValueError(f"price: {name}: {run.macs} MACs ran, expected {audited}: a result not returned?")
    return Price(int(macs_by_operator.total()), audited)


_prices: WeakKeyDictionary[nn.Module, dict[Any, Price]] = WeakKeyDictionary()


def price(module: nn.Module, *inputs: Any) -> Price:
    """What `module(*inputs)` costs for one row: counted once per module and input shape, then remembered.

    The count is fvcore's, of a float32 copy in eval mode on the CPU, on zeros, and confirmed by `audit`. It
    has no side effects and is the same in training, on a GPU, under autocast, inference mode or another
    counter. Elementwise arithmetic, reductions, activations and pooling are free, as in the papers. Hooks are
    left out.

    Args:
        module: A network whose structure does not change afterwards.
        inputs: Pytrees of tensors with rows on the leading axis, such as `x, (h, c)` for an LSTMCell. Of
            a tensor only the shape matters; anything else is passed on.

    Returns:
        The price of one row, in multiply-accumulates.

    Raises:
        ValueError: An operator without a known cost, a part that has time on the leading axis, or a result
            that is computed and not returned (in a pytree of tensors).
    """
    return _priced(module, inputs, *_flat(inputs))


def _flat(inputs: tuple[Any, ...]) -> tuple[Sequence[Any], Any]:
    """The leaves of inputs and their structure: seldom more than a number of tensors, which is told at once."""
    return (inputs, len(inputs)) if all(isinstance(of, Tensor) for of in inputs) else tree_flatten(inputs)


def _priced(module: nn.Module, inputs: tuple[Any, ...], leaves: Sequence[Any], structure: Any) -> Price:
    if torch.compiler.is_compiling():  # outside of the graph: a tracer cannot run within another
        return _outside_graph(module, inputs, leaves, structure)
    return _known_price(module, inputs, leaves, structure)


def _known_price(module: nn.Module, inputs: tuple[Any, ...], leaves: Sequence[Any], structure: Any) -> Price:
    key = structure, *(leaf.shape[1:] if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    known = _prices.setdefault(module, {})
    if key not in known:
        known[key] = _count(module, inputs)
    return known[key]


_outside_graph = torch.compiler.disable(_known_price)


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


class Read(NamedTuple):
    """A request for frames: see `Ledger.read`."""

    view: str
    video_N: Tensor
    frame_N: Tensor
    inner: int | None


class Ledger:
    """What each of B videos has spent, by component: running is billing.

    Attributes:
        train_macs: Headline multiply-accumulates of all rows, backward passes included (see `run`).
        reads: What networks saw of the videos' frames, in order (see `read`).

    Args:
        num_videos: B.
        device: of the bills.
        kept: What frozen networks have said of pictures, in training alone.
        training: Rows run all in one call, as BatchNorm and gradients need them; else in chunks (see `adavid.chunks`).
    """

    def __init__(
        self,
        num_videos: int,
        device: torch.device | str = "cpu",
        kept: KeptFeatures | None = None,
        training: bool = False,
    ) -> None:
        self._kept, self._training = kept, training
        self._zeros_B = torch.zeros(num_videos, dtype=torch.int64, device=device)
        self._macs: dict[str, Tensor] = {}
        self._audited: dict[str, Tensor] = {}
        self._runs: dict[tuple[str, Price], list[Tensor]] = {}  # owners of rows that are on no bill yet
        self.train_macs = 0
        self.reads: list[Read] = []

    def read(self, view: str, video_N: Tensor, frame_N: Tensor, inner: int | None = None) -> None:
        """Notes that networks are about to see frames, which are asked for at once. Nothing waits for the device.

        Args:
            view: that they are of.
            video_N: whose they are, int64 in [0, B).
            frame_N: which of the view's T, int64.
            inner: which one of a view's clips is seen; None for all of each.
        """
        self.reads.append(Read(view, video_N, frame_N, inner))

    def run(self, name: str, module: nn.Module, *inputs: Any, owner_N: Tensor) -> Any:
        """Runs `module(*inputs)` and bills each of its N rows to the video that owns it.

        With N = 0 the module still runs, on an empty batch, and nobody pays. Nothing waits for the device. In
        evaluation rows run in chunks; a bill does not depend on it.

        `train_macs` counts the forward pass once. While autograd records, a module with a parameter to train
        counts twice more (gradients by weights and by inputs), and a frozen module whose input requires a
        gradient once more. So what learns is run apart from what is frozen before it: a module that says its `parts`,
        one after the other, of which some are frozen and others learn, is run part by part; and so is any where outputs
        are kept.

        Where outputs are kept, the videos pay as ever, and `train_macs` counts each picture once a stage and network.

        Args:
            name: The component on the bill, which any number of runs may share.
            module: The network to run.
            inputs: Pytrees of tensors with N rows each, or of `Rows` that are made when they are run.
            owner_N: The video of each row, int64 in [0, B), on the ledger's device.

        Returns:
            The module's outputs.

        Raises:
            ValueError: As `price` does.
        """
        num_rows, in_chunks = len(owner_N), not self._training and not torch.is_grad_enabled()
        inputs = inputs if in_chunks else made(inputs)
        parts: Sequence[nn.Module] = getattr(module, "parts", ())
        if parts and (
            self._kept is not None or (torch.is_grad_enabled() and len({_learns(part) for part in parts}) > 1)
        ):
            for part in parts:
                inputs = (self.run(name, part, *inputs, owner_N=owner_N),)
            return inputs[0]
        shapes = shaped(inputs)
        leaves, structure = _flat(shapes)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        assert all(x.shape[0] == num_rows for x in tensors), f"{name}: expected {num_rows} rows in every input"
        row = _priced(module, shapes, leaves, structure)
        self.bill(name, row, owner_N)
        num_passes = 1
        if torch.is_grad_enabled():
            if _learns(module):
                num_passes = 3
            elif any(x.requires_grad for x in tensors):
                num_passes = 2
        if self._kept is not None and self._kept.takes(module, inputs):
            outputs, num_rows = self._kept.run(module, *inputs)
        elif in_chunks:
            outputs = run_in_chunks(module, inputs, num_rows, CHUNKS.chunk(module, tensors, shapes, row.macs))
        else:
            outputs = module(*inputs)
        self.train_macs += num_passes * num_rows * row.macs
        return outputs

    def bill(self, name: str, row: Price, owner_N: Tensor) -> None:
        """Bills rows of a price to the videos that own them; `run` does it itself."""
        self._runs.setdefault((name, row), []).append(owner_N)

    def _add_up(self) -> None:
        """Puts what has run on the bills, all runs of a component together: methods of tiny networks run hundreds."""
        for (name, row), owners in self._runs.items():
            owner_N = torch.cat(owners)
            for bill, macs in ((self._macs, row.macs), (self._audited, row.audited)):
                before_B = bill.get(name, self._zeros_B)
                bill[name] = before_B.index_add(0, owner_N, torch.full_like(owner_N, macs))
        self._runs.clear()

    @property
    def macs(self) -> dict[str, Tensor]:
        """Headline multiply-accumulates by component, int64 (B,)."""
        self._add_up()
        return self._macs

    @property
    def audited(self) -> dict[str, Tensor]:
        """The audited part of them, by component, int64 (B,)."""
        self._add_up()
        return self._audited

    @property
    def total_B(self) -> Tensor:
        """Headline multiply-accumulates of each video, int64 (B,)."""
        return sum(self.macs.values(), start=self._zeros_B.clone())

    @property
    def audited_total_B(self) -> Tensor:
        """Audited multiply-accumulates of each video, int64 (B,)."""
        return sum(self.audited.values(), start=self._zeros_B.clone())


@dataclass
class Audit:
    """The multiply-accumulates that ran inside `audit`, once the block is left."""

    macs: int = 0


# What torch does not count by itself; the recurrent layers' other kernels are matrix products, which it does.
_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: lambda x, w_ih, w_hh, *_, **__: 2 * _rnn_macs(x, (w_ih, w_hh)),
    torch.ops.aten._cudnn_rnn: lambda x, weights, *_, **__: 2 * _rnn_macs(x, weights),
    torch.ops.aten.mv: lambda matrix, *_, **__: 2 * prod(matrix),
}


@contextmanager
def audit() -> Iterator[Audit]:
    """Counts all that runs inside, billed or not, by torch's FlopCounterMode: a second opinion.

    Over a forward pass `macs` equals the sum of `Ledger.audited_total_B`, unless something ran off the books.
    Backward passes count too where they run inside, except through whole recurrent kernels.
    """
    result = Audit()
    with _without_fast_path(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        yield result
    result.macs = counter.get_total_flops() // 2

"""Modules of every kind: in a stack each comes to what it comes to alone, or is refused with a reason."""

from __future__ import annotations

import collections
import copy
import functools
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils import checkpoint

from fasthpo.errors import InvalidValue
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args
from fasthpo.torch.held_state import Watch, contents, difference
from fasthpo.torch.stack import Stack
from fasthpo.torch.stack_check import check_stackable
from fasthpo.torch.stacking import stackable
from tests.support.torch_training import arguments, classes

TRAIN, EVAL = classes(40), classes(35, seed=1)
RATES = [{"learning_rate": 0.3}, {"learning_rate": 0.05, "weight_decay": 0.2}, {"learning_rate": 0.0}]
LOSS = nn.CrossEntropyLoss()


def args(**changed: Any) -> TrainingArguments:
    """Evaluated in larger batches than it is trained in, so that the models of a stack are evaluated one by one."""
    fields = {"optimizer": "sgd", "num_train_epochs": 2, "gradient_accumulation_steps": 1, "momentum": 0.9,
              "per_device_eval_batch_size": 30, **changed}  # fmt: skip
    return arguments(**fields)


@dataclass
class Case:
    name: str
    model: Callable[[], nn.Module]
    refused: str | None = None  # what the error says; None: it comes to the same
    loss: Any = LOSS
    args: TrainingArguments = args()  # noqa: RUF009
    before: Callable[[], None] = lambda: None


CASES: list[Case] = []
DRAWING: dict[str, Callable[[], nn.Module]] = {}  # these draw other random numbers in a stack than alone


def equal(name: str, model: Callable[[], nn.Module], **others: Any) -> None:
    CASES.append(Case(name, model, **others))


def refused(name: str, model: Callable[[], nn.Module], reason: str, **others: Any) -> None:
    CASES.append(Case(name, model, reason, **others))


def net(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), *layers, nn.Linear(6, 3))


class Net(nn.Module):
    """Two layers with something between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 3)
        self.prepare()

    def prepare(self) -> None:
        pass

    def between(self, h: torch.Tensor) -> torch.Tensor:
        return h

    def forward(self, x: torch.Tensor) -> Any:
        return self.last(self.between(torch.tanh(self.first(x))))


def made(between: Any, prepare: Any = lambda self: None) -> Callable[[], nn.Module]:
    """A kind of `Net`, as the function that makes one."""
    return type("Made", (Net,), {"between": between, "prepare": prepare})


def kind_of(**methods: Any) -> Callable[[], nn.Module]:
    return type("Kind", (Net,), methods)


def with_buffer(value: Any, between: Any) -> Callable[[], nn.Module]:
    return made(
        between, lambda self: self.register_buffer("held", None if value is None else torch.as_tensor(value).clone())
    )


def with_attribute(value: Any, between: Any) -> Callable[[], nn.Module]:
    return made(between, lambda self: setattr(self, "held", value()))


# --- layers of torch

for layer in (
    nn.GroupNorm(2, 6), nn.LayerNorm(6), nn.RMSNorm(6), nn.PReLU(), nn.Softplus(), nn.Softmax(1), nn.Identity(), nn.Hardswish(),
    nn.BatchNorm1d(6), nn.BatchNorm1d(6, affine=False), nn.BatchNorm1d(6, track_running_stats=False), nn.Dropout(0.0),
    nn.ReLU(inplace=True), nn.Sequential(nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()),
    nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.ConvTranspose1d(2, 1, 3), nn.Flatten()),
    nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 1, 3, padding="same", padding_mode="replicate"), nn.Flatten()),
    nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten()),
    nn.Sequential(nn.Unflatten(1, (1, 6)), nn.MaxPool1d(2), nn.AvgPool1d(1), nn.Flatten(), nn.Linear(3, 6)),
    nn.Sequential(nn.Linear(6, 12), nn.GLU()), nn.Sequential(nn.Unflatten(1, (1, 6)), nn.LocalResponseNorm(2), nn.CELU(), nn.Threshold(0.1, 0.0), nn.Flatten()),
):  # fmt: skip
    kinds = layer if isinstance(layer, nn.Sequential) else [layer]
    equal("+".join(type(one).__name__ for one in kinds), lambda layer=layer: net(copy.deepcopy(layer)))

refused("BatchNorm with a cumulative mean", lambda: net(nn.BatchNorm1d(6, momentum=None)), "item")
for kind in (nn.LSTM, nn.GRU, nn.RNN):
    refused(kind.__name__, lambda kind=kind: made(lambda self, h: self.held(h[:, None])[0][:, 0],
            lambda self: setattr(self, "held", kind(6, 6, batch_first=True)))(), "what torch.vmap can do")  # fmt: skip
equal("GRUCell", with_attribute(lambda: nn.GRUCell(6, 6), lambda self, h: self.held(h, self.held(h))))
refused(
    "LSTMCell",
    with_attribute(lambda: nn.LSTMCell(6, 6), lambda self, h: self.held(h, self.held(h))[0]),
    "what torch.vmap can do",
)
equal("MultiheadAttention", with_attribute(lambda: nn.MultiheadAttention(2, 1, batch_first=True),
      lambda self, h: self.held(*[h.unflatten(1, (3, 2))] * 3)[0].flatten(1)))  # fmt: skip
equal("Bilinear", with_attribute(lambda: nn.Bilinear(6, 6, 6), lambda self, h: self.held(h, h)))


class Words(nn.Module):
    """Inputs are turned into words, of which one is padding."""

    def __init__(self, kind: type[nn.Module] = nn.Embedding, **options: Any) -> None:
        super().__init__()
        self.embed, self.last = kind(5, 4, **options), nn.Linear(4 if kind is nn.EmbeddingBag else 32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.embed((x * 2).long().clamp(0, 4)).flatten(1))


equal("Embedding", Words)
equal("Embedding with padding", lambda: Words(padding_idx=0))
equal("Embedding of adamw", lambda: Words(padding_idx=0), args=args(optimizer="adamw"))
refused(
    "Embedding with sparse gradients",
    lambda: Words(sparse=True),
    "model must have dense gradients",
    args=args(max_grad_norm=None),
)
equal("Embedding with a largest norm", lambda: Words(max_norm=0.5))
equal("Embedding by frequency", lambda: Words(scale_grad_by_freq=True))
equal("EmbeddingBag", lambda: Words(nn.EmbeddingBag))

# --- parametrizations


class Symmetric(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu() + x.triu(1).T


equal("weight norm", lambda: net(parametrizations.weight_norm(nn.Linear(6, 6))))
refused("spectral norm", lambda: net(parametrizations.spectral_norm(nn.Linear(6, 6))), "what torch.vmap can do")
equal("orthogonal", lambda: net(parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="matrix_exp")))
equal(
    "a parametrization of its own",
    lambda: net(nn.utils.parametrize.register_parametrization(nn.Linear(6, 6), "weight", Symmetric())),
)
refused("pruned", lambda: net(prune.l1_unstructured(nn.Linear(6, 6), "weight", 0.5)), "changes model.1.weight")

# --- buffers


def centre(self: Any, h: torch.Tensor) -> torch.Tensor:
    if self.training:
        self.held = 0.5 * self.held + 0.5 * h.mean(0).detach()
    return h - self.held


def centre_in_place(self: Any, h: torch.Tensor) -> torch.Tensor:
    if self.training:
        self.held.mul_(0.5).add_(0.5 * h.mean(0).detach())
    return h - self.held


def first_seen(self: Any, h: torch.Tensor) -> torch.Tensor:
    if self.held is None:
        self.held = h.mean(0).detach()
    return h - self.held


def counted(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held = self.held + 1
    return h * (1 + self.held % 3)


def counted_in_place(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held += 1
    return h * (1 + self.held % 3)


def toggled(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held = ~self.held
    return torch.where(self.held, h, 2 * h)


def in_turn(self: Any, h: torch.Tensor) -> torch.Tensor:
    h = h + self.before - self.held
    self.before, self.held = self.held, h.mean(0).detach()
    return h


def two_buffers(self: Any) -> None:
    self.register_buffer("held", torch.zeros(6))
    self.register_buffer("before", torch.zeros(6))


def tied_buffers(self: Any) -> None:
    two_buffers(self)
    self.before = self.held


def grown(self: Any, h: torch.Tensor) -> torch.Tensor:
    if self.training:
        self.held = torch.cat([self.held, h.detach().mean(0, keepdim=True)])
    return h + self.held.mean(0)


equal("a buffer assigned anew", with_buffer([0.0] * 6, centre))
equal("a buffer changed in place", with_buffer([0.0] * 6, centre_in_place))
equal("a buffer of float16", with_buffer(torch.zeros(6, dtype=torch.float16), centre))
equal("a buffer that is None at first", with_buffer(None, first_seen))
equal("a counter as a buffer", with_buffer(0, counted))
equal("a counter as a buffer changed in place", with_buffer(0, counted_in_place))
equal("a buffer of bools", with_buffer(True, toggled))
equal("a buffer that grows", with_buffer([[0.0] * 6], grown))
equal("buffers in turn", made(in_turn, two_buffers))
equal("buffers that are one at first", made(in_turn, tied_buffers))
refused(
    "a buffer with a graph",
    with_buffer([0.0] * 6, lambda self, h: setattr(self, "held", self.held * 0.5 + h.mean(0)) or h),
    "keeps the graph",
)
refused(
    "a buffer with a graph in place",
    with_buffer([0.0] * 6, lambda self, h: self.held.add_(h.mean(0)) * 0 + h),
    "keeps the graph",
)
refused(
    "a buffer that is a parameter",
    with_buffer([0.0] * 6, lambda self, h: setattr(self, "held", self.first.bias.detach()) or h + self.held),
    "shares its memory",
)
refused(
    "a buffer with the memory of a parameter",
    made(lambda self, h: h + self.held, lambda self: self.register_buffer("held", self.first.bias.detach())),
    "share their memory",
)
refused(
    "a buffer taken away",
    with_buffer([0.0], lambda self, h: setattr(self, "held", None) or h),
    "takes away its buffer held",
)
refused(
    "a buffer deleted", with_buffer([0.0], lambda self, h: delattr(self, "held") or h), "takes away its buffer held"
)
refused(
    "a buffer of which the memory is replaced",
    with_buffer([0.0] * 6, lambda self, h: h + self.held.set_(self.held + 1.0)),
    "instead of|vmap",
)
equal(
    "a buffer registered in forward",
    made(lambda self, h: self.register_buffer("held", torch.ones(())) or h * self.held),
)
refused(
    "a buffer of its own registered in forward",
    made(lambda self, h: self.register_buffer("held", h.detach().mean()) or h),
    "changes model",
)


# --- attributes


def count(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held += 1
    return h * (1 + self.held % 3)


def append(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held.append(h.shape)
    return h * len(self.held)


def keep(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held = h.detach().mean(0)
    return h


def keep_index(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held["n"] = self.held.get("n", 0) + 1
    return h * self.held["n"]


def draw(self: Any, h: torch.Tensor) -> torch.Tensor:
    return h * (1 + self.held.random())


def count_in_array(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held[0] += 1
    return h * float(self.held[0])


def late(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.n = getattr(self, "n", 0) + 1
    if self.n == 7:
        self.held[0] = 1.0
    return h * float(1 + self.held[0])


def keep_input(self: Any, x: torch.Tensor) -> torch.Tensor:
    self.seen, before = x, getattr(self, "seen", x)
    return self.last(self.first(x + before.mean(0)))


def scale_first(self: Any, h: torch.Tensor) -> torch.Tensor:
    if not self.ready:
        self.ready = True
        with torch.no_grad():
            self.scale.copy_(1 / h.std(0))
    return h * self.scale


def set_up_scale(self: Any) -> None:
    self.scale, self.ready = nn.Parameter(torch.ones(6)), False


class Slotted:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Counter:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self, *_: Any) -> None:
        self.n += 1


COUNTER = Counter()


def count_inside(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.held.n += 1
    return h * self.held.n


GLOBAL = 0


def count_global(self: Any, h: torch.Tensor) -> torch.Tensor:
    global GLOBAL  # noqa: PLW0603
    GLOBAL += 1
    return h * GLOBAL


def closure() -> Callable[..., torch.Tensor]:
    n = 0

    def between(self: Any, h: torch.Tensor) -> torch.Tensor:
        nonlocal n
        n += 1
        return h * n

    return between


def of_class(self: Any, h: torch.Tensor) -> torch.Tensor:
    type(self).seen += 1
    return h * self.seen


def by_default(self: Any, h: torch.Tensor, seen: list[int] = []) -> torch.Tensor:  # noqa: B006
    seen.append(1)
    return h * len(seen)


equal("a counter", with_attribute(int, count))
equal("a counter in evaluation only", with_attribute(int, lambda self, h: h if self.training else count(self, h)))
equal("a list that grows", with_attribute(list, append))
equal("a deque that grows", with_attribute(collections.deque, append))
equal("a set that grows", with_attribute(set, lambda self, h: self.held.add(len(self.held)) or h * len(self.held)))
equal("the number of samples kept", with_attribute(int, lambda self, h: setattr(self, "held", len(h)) or h * self.held))
equal("the input kept", kind_of(forward=keep_input))
equal(
    "a mask filled in forward",
    with_attribute(dict, lambda self, h: h * self.held.setdefault(len(h), torch.ones(len(h), 1) / len(h))),
)
equal("scales set by the first batch", made(scale_first, set_up_scale))
refused("a tensor kept", with_attribute(lambda: None, keep), r"changes model\.held")
refused("a tensor kept anew", with_attribute(lambda: torch.zeros(6), centre), r"changes model\.held")
refused("a tensor changed in place", with_attribute(lambda: torch.zeros(()), counted_in_place), r"changes model\.held")
equal("a dict filled", with_attribute(dict, keep_index))
refused(
    "an activation in a list", with_attribute(list, lambda self, h: self.held.append(h) or h), r"changes model\.held"
)
refused(
    "an activation in an object",
    with_attribute(Counter, lambda self, h: setattr(self.held, "n", h) or h),
    r"changes model\.held",
)
refused(
    "a tensor kept as it changes in place",
    with_attribute(lambda: [torch.zeros(())], lambda self, h: h + self.held[0].add_(1)),
    r"changes model\.held",
)
refused("an array changed in place after some steps", with_attribute(lambda: np.zeros(1), late), r"changes model\.held")
refused("an array changed in place", with_attribute(lambda: np.zeros(1), count_in_array), r"changes model\.held")
equal("an attribute of an object", with_attribute(Counter, count_inside))
refused("a slot of an object", with_attribute(Slotted, count_inside), r"changes model\.held\.n")
refused("a generator of Python", with_attribute(lambda: random.Random(0), draw), r"changes model\.held")
refused("a generator of NumPy", with_attribute(lambda: np.random.default_rng(0), draw), r"changes model\.held")
refused(
    "a generator of torch",
    with_attribute(lambda: torch.Generator().manual_seed(0), lambda self, h: h * torch.rand(1, generator=self.held)),
    r"changes model\.held",
)
refused(
    "an iterator", with_attribute(itertools.count, lambda self, h: h * next(self.held)), r"model\.held is an iterator"
)
refused("a global", made(count_global), "changes model.*GLOBAL")
refused("a closure", made(closure()), "changes model.*:n")
refused("an attribute of the class", type("Seen", (Net,), {"between": of_class, "seen": 0}), "changes model.*seen")
refused("a default of an argument", made(by_default), "changes model.*defaults")
refused(
    "an object in a closure",
    made(lambda self, h, seen=COUNTER: h * (seen() or seen.n)),
    "calling it changes something that it does not hold itself",
)
equal(
    "an attribute assigned the same again",
    with_attribute(lambda: [6], lambda self, h: setattr(self, "held", [*h.shape[1:]]) or h),
)
equal("tensors that stay", with_attribute(lambda: [torch.ones(6), {"a": np.ones(6)}], lambda self, h: h * self.held[0]))

# --- parameters


def tied(self: Any) -> None:
    self.second = nn.Linear(6, 6)
    self.third = nn.Linear(6, 6)
    self.third.weight = self.second.weight


def clamp(self: Any, h: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        self.first.weight.clamp_(-0.1, 0.1)
    return h


def replace(self: Any, h: torch.Tensor) -> torch.Tensor:
    self.first.bias = nn.Parameter(self.first.bias.detach() + 1)
    return h


def teacher(self: Any, h: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        self.held.weight.mul_(0.9)
    return self.held(h)


def halves(*dtypes: torch.dtype) -> nn.Module:
    """Layers of several types, each given inputs of its own."""

    class Halves(Net):
        def prepare(self) -> None:
            self.first.to(dtypes[0])
            self.last.to(dtypes[-1])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x.to(dtypes[0])).to(dtypes[-1]))

    return Halves()


equal("tied weights", made(lambda self, h: self.third(torch.tanh(self.second(h))), tied))
equal(
    "a layer used twice",
    made(
        lambda self, h: self.held(self.again(h)),
        lambda self: setattr(self, "held", nn.Linear(6, 6)) or setattr(self, "again", self.held),
    ),
)
equal("a number as a parameter", with_attribute(lambda: nn.Parameter(torch.tensor(0.5)), lambda self, h: h * self.held))
equal(
    "an empty parameter", with_attribute(lambda: nn.Parameter(torch.zeros(0, 3)), lambda self, h: h + self.held.sum())
)
equal(
    "parameters in containers",
    with_attribute(lambda: nn.ParameterDict({"a": nn.Parameter(torch.ones(6))}), lambda self, h: h * self.held["a"]),
)
equal("a layer that is not registered", with_attribute(lambda: [nn.Linear(6, 6)], lambda self, h: self.held[0](h)))
equal("a parameter that is not used", with_attribute(lambda: nn.Parameter(torch.ones(6)), lambda self, h: h if self.training else h * self.held),
      args=args(weight_decay=0.5))  # fmt: skip
equal("a parameter that is not used, adamw", with_attribute(lambda: nn.Parameter(torch.ones(6)), lambda self, h: h if self.training else h * self.held),
      args=args(optimizer="adamw", weight_decay=0.5))  # fmt: skip
refused("a parameter that is used at times", made(lambda self, h: h * self.held if len(h) == 10 else h, lambda self: setattr(self, "held", nn.Parameter(torch.ones(6)))),
        "a gradient in each step or in none, but held", args=args(per_device_train_batch_size=15))  # fmt: skip
equal("weights clamped in forward", made(clamp))
equal("float64", lambda: halves(torch.float64))
equal(
    "a frozen layer of float64",
    lambda: [one := halves(torch.float64, torch.float32), one.first.requires_grad_(False)][0],
)
refused(
    "float64 and float32",
    lambda: halves(torch.float64, torch.float32),
    r"must be float32, or all float64, got float64 \(first.weight\), float32 \(last",
)
refused("float16", lambda: halves(torch.float16, torch.float16), r"must be float32, or all float64, got float16")
refused("bfloat16", lambda: halves(torch.bfloat16, torch.float32), r"must be float32, or all float64, got bfloat16")
refused("a parameter replaced", made(replace), "replaces its parameter first.bias")
refused(
    "a frozen parameter changed in place",
    with_attribute(lambda: nn.Linear(6, 6).requires_grad_(False), teacher),
    r"changes model\.held\.weight",
)
refused(
    "a parameter under another name",
    made(lambda self, h: h + self.held[0], lambda self: setattr(self, "held", [self.first.bias])),
    "under another name",
)
refused(
    "a view of a parameter",
    made(lambda self, h: h + self.held, lambda self: setattr(self, "held", self.first.bias.detach()[:])),
    "share their memory",
)
refused(
    "two parameters in one memory",
    made(lambda self, h: h + self.held, lambda self: setattr(self, "held", nn.Parameter(self.first.bias.detach()))),
    "share their memory",
)
refused("LazyLinear", lambda: nn.Sequential(nn.LazyLinear(3)), "lazy module that has not seen a batch")
refused(
    "LazyBatchNorm",
    lambda: nn.Sequential(nn.Linear(8, 6), nn.LazyBatchNorm1d(), nn.Linear(6, 3)),
    "lazy module that has not seen a batch",
)


def seen_lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.LazyLinear(3))
    model(torch.zeros(1, 8))
    return model


equal("LazyLinear that has seen a batch", seen_lazy)

# --- hooks


def hooked(register: Callable[[nn.Module], Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = net(nn.Linear(6, 6), nn.Tanh())
        register(model)
        return model

    return make


def seen_in(seen: list[Any]) -> Callable[..., None]:
    return lambda module, inputs, output: seen.append(output)


equal("a forward hook", hooked(lambda model: model[1].register_forward_hook(lambda m, i, o: o * 2 + m.weight.sum())))
equal("a forward pre-hook", hooked(lambda model: model[1].register_forward_pre_hook(lambda m, i: (i[0] * 2,))))
equal(
    "a hook on dropout and on a layer",
    hooked(lambda model: model[2].register_forward_hook(lambda m, i, o: o * 2, with_kwargs=False)),
)
equal(
    "a hook on another layer's weight",
    hooked(lambda model: model[1].register_forward_hook(lambda m, i, o: o * model[0].bias)),
)
refused(
    "a hook that keeps outputs",
    hooked(lambda model: model[1].register_forward_hook(seen_in([]))),
    "changes model.*seen",
)
equal("a hook that counts", hooked(lambda model: model[1].register_forward_hook(Counter())))
refused(
    "a backward hook",
    hooked(lambda model: model[1].register_full_backward_hook(lambda m, i, o: None)),
    "no backward hooks",
)
refused(
    "a hook on a parameter", hooked(lambda model: model[1].weight.register_hook(lambda g: g * 2)), "no hooks on tensors"
)
refused(
    "a hook on a parameter after its gradient",
    hooked(lambda model: model[1].weight.register_post_accumulate_grad_hook(lambda p: None)),
    "no hooks on tensors",
)
refused(
    "a hook on an activation",
    made(lambda self, h: [h, h.requires_grad and h.register_hook(lambda g: g * 2)][0]),
    "the gradient of .* instead of",
)


# --- what a forward does


class Squares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * grad


class MappedSquares(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x**2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    backward = Squares.backward


def slope(self: Any, h: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        x = h.detach().requires_grad_()
        return h + torch.autograd.grad((x**2).sum(), x)[0]


def in_place_on_input(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.last(torch.tanh(self.first(x.mul_(2))))


def on_sum(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.last(self.first(x if x.sum() > 0 else -x))


equal("in place", made(lambda self, h: (h + 1).mul_(2).add_(self.last.bias.sum())))
equal("in place on its input", kind_of(forward=in_place_on_input))
refused(
    "weights added to its input in place",
    kind_of(forward=lambda self, x: self.last(self.first(x.add_(self.last.bias.sum())))),
    "broadcast shape",
)
refused("filling a new tensor", made(lambda self, h: torch.zeros(len(h), 6).copy_(h)), "inplace")
equal("control flow by the input", kind_of(forward=on_sum))
equal("control flow by the shape", made(lambda self, h: h if len(h) > 9 else 2 * h))
refused("control flow by activations", made(lambda self, h: h if h.sum() > 0 else -h), "data-dependent control flow")
refused("item", made(lambda self, h: h * h.sum().item()), "item")
refused("a mask as an index", made(lambda self, h: h + h[h > 0].sum()), "dynamic shape")
refused("NumPy", made(lambda self, h: h + float(h.detach().numpy().sum())), "access data pointer")
refused("data", made(lambda self, h: h + self.first.bias.data), "under vmap")
refused(
    "a checkpoint",
    made(
        lambda self, h: checkpoint.checkpoint(
            torch.sin, self.first(h @ h.T @ torch.ones(len(h), 8)), use_reentrant=False
        )
    ),
    "torch.vmap can do",
)
refused("a gradient in forward", made(slope), "torch.vmap can do")
refused("a function without a rule for vmap", made(lambda self, h: Squares.apply(h)), "torch.vmap can do")
equal("a function with a rule for vmap", made(lambda self, h: MappedSquares.apply(h)))
equal("Fourier transform", made(lambda self, h: torch.fft.irfft(torch.fft.rfft(h), n=6)))
equal("sorting and cumulation", made(lambda self, h: h.sort(1).values.cumsum(1) + h.topk(1).values))
equal("matrix functions", made(lambda self, h: h @ torch.linalg.inv(torch.eye(6) * 5 + self.first.weight[:, :6])))
equal("no gradient in places", made(lambda self, h: h.detach() * 0.1 + h))
equal(
    "a closure over the module",
    made(
        lambda self, h: self.scaled(h),
        lambda self: [
            setattr(self, "scale", nn.Parameter(torch.ones(6))),
            setattr(self, "scaled", lambda h: h * self.scale),
        ],
    ),
)
refused(
    "a closure over a parameter",
    made(
        lambda self, h: self.scaled(h),
        lambda self: setattr(self, "scaled", functools.partial(torch.add, self.first.bias)),
    ),
    "under another name",
)
refused("scripted", lambda: torch.jit.trace(net(), torch.zeros(1, 8)), "in which no stacked weights can be put")
refused(
    "scripted in part",
    lambda: net(torch.jit.trace(nn.Linear(6, 6), torch.zeros(1, 6))),
    "in which no stacked weights can be put",
)
equal("random numbers of Python in training", made(lambda self, h: h * (1 + random.random()) if self.training else h))
equal("random numbers of NumPy in training", made(lambda self, h: h * (1 + np.random.rand()) if self.training else h))
refused(
    "a random number that decides",
    made(lambda self, h: h if torch.rand(()) < 0.5 else 2 * h),
    "data-dependent control flow",
)
refused("a tuple", kind_of(forward=lambda self, x: (self.last(self.first(x)), x)), "output must be one tensor, got tuple",
        loss=lambda o, t: functional.cross_entropy(o[0], t))  # fmt: skip
refused("a dict", kind_of(forward=lambda self, x: {"logits": self.last(self.first(x))}), "output must be one tensor, got dict",
        loss=lambda o, t: functional.cross_entropy(o["logits"], t))  # fmt: skip
refused(
    "a loss for each sample",
    net,
    r"loss must return one number as a tensor, got shape \(10,\)",
    loss=nn.CrossEntropyLoss(reduction="none"),
)

DRAWING |= {
    "Dropout": lambda: net(nn.Dropout(0.4)),
    "Dropout of the input": lambda: nn.Sequential(nn.Dropout(0.4), net()),
    "Dropout1d": lambda: net(nn.Unflatten(1, (2, 3)), nn.Dropout1d(0.4), nn.Flatten()),
    "AlphaDropout": lambda: net(nn.AlphaDropout(0.4)),
    "F.dropout": made(lambda self, h: functional.dropout(h, 0.4, self.training)),
    "noise": made(lambda self, h: h + torch.randn(h.shape) * torch.rand_like(h) if self.training else h),
    "noise in place": made(lambda self, h: h + torch.empty_like(h).normal_()),
    "noise in evaluation, too": made(lambda self, h: torch.normal(h, 0.5)),
    "one of two": made(lambda self, h: h * torch.randint(0, 2, (1,))),
    "rows in another order": made(lambda self, h: h + 0.5 * h[torch.randperm(len(h))]),
    "gumbel softmax": made(lambda self, h: h * functional.gumbel_softmax(h, hard=True)),
}
refused("noise in place of a new tensor", made(lambda self, h: h + torch.zeros(6).normal_()), "inplace randomness")
refused("RReLU", lambda: net(nn.RReLU()), "what torch.vmap can do")

# --- what makes it

CALLS = itertools.count(1)
refused(
    "other numbers at each call",
    lambda: with_attribute(lambda: next(CALLS), lambda self, h: h * self.held)(),
    r"must make the same module .* model\.held differs",
)
refused(
    "other weights at each call",
    lambda: made(
        lambda self, h: h * self.held, lambda self: setattr(self, "held", nn.Parameter(torch.tensor(next(CALLS) / 10)))
    )(),
    r"must make the same module .* model\.held differs",
)
refused("other layers at each call", lambda: net(*[nn.Tanh()] * (next(CALLS) % 2)), "must make the same module")


class Running(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(outputs, targets)
        self.mean = 0.5 * self.mean + 0.5 * loss.detach()
        return loss / self.mean


refused("a loss with a state", net, "changes loss.mean", loss=Running())


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # an operation without a rule is still right
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_as_alone_or_refused(case: Case) -> None:
    def stacked() -> list[Any]:
        return VectorizedTrainer(case.model, case.args, TRAIN, EVAL, case.loss, stack_size=2).train(RATES)

    if case.refused is not None:
        with pytest.raises(InvalidValue, match=case.refused):
            stacked()
        return
    for rates, result in zip(RATES, stacked(), strict=True):
        own = hyperparams_to_training_args(case.args, rates)
        assert result.value == pytest.approx(
            Trainer(case.model, own, TRAIN, EVAL, case.loss).train()["eval_loss"], rel=1e-4
        )


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", DRAWING)
def test_random_numbers_are_drawn_for_each_model(name: str) -> None:
    """Losses of 300 models that are alike in all else, in the first step, are spread as those of 300 draws alone."""
    torch.manual_seed(0)
    model, batch, count = DRAWING[name](), (TRAIN[0][:16], TRAIN[1][:16]), 300
    check_stackable(model, args(), LOSS, batch, False, torch.device("cpu"))
    with stackable(model, any_rate=False):
        stack = Stack(model, [args()] * count, None, LOSS)
        stack.train(True)
        ours = stack.losses(batch).detach()
    model.train()
    theirs = torch.tensor([LOSS(model(batch[0]), batch[1]).item() for _ in range(count)])
    error = math.sqrt((ours.var() + theirs.var()).item() / count)
    assert abs((ours.mean() - theirs.mean()).item()) < 4 * error
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.25)
    assert theirs.std().item() > 0


class Deciding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_model_is_left_as_it_was() -> None:
    """Also if there is only one that is returned again and again, with all that its forward changes."""
    model = made(lambda self, h: self.rest(append(self, h)))()
    model.rest = nn.Sequential(nn.Dropout(0.3), nn.BatchNorm1d(6).eval())
    model.held = []
    before, parts = contents(model), [type(one) for one in model.modules()]
    results = VectorizedTrainer(lambda: model, args(), TRAIN, EVAL, LOSS, stack_size=2).train([{"dropout": 0.0}] * 3)
    assert len({result.value for result in results}) == 1
    assert difference(before, contents(model)) is None
    assert [type(one) for one in model.modules()] == parts
    with pytest.raises(InvalidValue, match="data-dependent control flow"):
        VectorizedTrainer(lambda: nn.Sequential(model, Deciding()), args(), TRAIN, EVAL, LOSS).train([{}])
    assert difference(before, contents(model)) is None


def test_what_a_call_changes_is_seen_and_put_back() -> None:
    held = Counter()
    held.parts = [1, {2}, {"a": [3]}, np.zeros(2)]
    watch = Watch({"held": held})
    held.n, held.parts[2] = 0, {"a": [3]}
    assert watch.changed() is None  # other objects, but equal ones
    held.parts[2]["a"].append(4)
    assert watch.changed() == "held.parts[2]['a']"
    assert watch.follow() is None and watch.changed() is None
    held.parts[1].add(5)
    held.parts.pop(0)
    del held.n
    watch.restore()
    assert held.n == 0 and held.parts[:3] == [1, {2}, {"a": [3, 4]}]
    held.parts[3][0] = 1.0
    assert watch.follow() == "held.parts[3]"

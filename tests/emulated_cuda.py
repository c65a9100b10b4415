"""A CUDA device without one: numbers on the CPU that say they are elsewhere, and refuse to meet numbers that do not.

`on_cuda(tensor)` tags a tensor, `module_on_cuda(module)` its weights; `emulated()` makes what is created with
`device="cuda"` tagged too, and counts what would make the host wait for the device. To C++ the tensors are of the
device `meta`, which asks no driver; to Python they are of `cuda`.
"""

from collections import Counter
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)
# The host needs a value, or a shape that depends on values.
WAITS = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.is_nonzero.default,
    aten.equal.default,
}  # fmt: skip
TRAVELS = {aten._to_copy.default, aten.copy_.default, aten._to_copy, aten._copy_from.default}
# An index on the CPU is sent along.
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
_Generator = torch.Generator


class OnCuda(torch.Tensor):
    """A tensor whose numbers lie in `numbers`, on the CPU, and whose device is DEVICE."""

    @staticmethod
    def __new__(cls, numbers):
        made = torch.Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), storage_offset=numbers.storage_offset(), dtype=numbers.dtype,
            device="meta", requires_grad=False,
        )  # fmt: skip
        made.numbers = numbers
        return made

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    def tolist(self):
        return self.numbers.tolist()

    def __repr__(self):
        return f"OnCuda({self.numbers})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {}, Counter())


class TaggedGenerator(_Generator):
    """A generator of the CPU that says it is of the device."""

    def __new__(cls, device="cpu"):
        made = _Generator.__new__(cls, "cpu")
        made.tag = torch.device(device).type
        return made

    def __init__(self, device="cpu"):
        pass


def _is_cuda(device) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _check_generator(func, kwargs, cuda: bool) -> None:
    generator = kwargs.get("generator")
    if generator is not None and (getattr(generator, "tag", "cpu") == "cuda") != cuda:
        raise RuntimeError(f"{func}: a generator of another device than its tensor's")


def _run(func, args, kwargs, waits):
    """The operation on the numbers; RuntimeError where a tensor of the CPU meets one of the device."""
    flat = tree_flatten((args, kwargs))[0]
    tensors = [x for x in flat if isinstance(x, torch.Tensor)]
    tagged = [x for x in tensors if isinstance(x, OnCuda)]
    others = [x for x in tensors if not isinstance(x, OnCuda) and x.ndim]
    if tagged and others and func not in TRAVELS and not (func in INDEXED and isinstance(args[0], OnCuda)):
        raise RuntimeError(f"{func}: {tuple(others[0].shape)} of the CPU meets {tuple(tagged[0].shape)} of the device")
    wanted = next((x for x in flat if isinstance(x, torch.device)), None)
    cuda = _is_cuda(wanted) if wanted is not None else bool(tagged)
    if func is aten.copy_.default:
        cuda = isinstance(args[0], OnCuda)
    _check_generator(func, kwargs, cuda)
    if tagged and (func in WAITS or (func in TRAVELS and not cuda)):
        waits[str(func)] += 1
    if func in INDEXED and any(x is not None and x.dtype == torch.bool for x in args[1] if isinstance(x, OnCuda)):
        waits[f"{func} by a mask"] += 1
    here = {torch.device: lambda x: torch.device("cpu"), OnCuda: lambda x: x.numbers}
    bare = lambda x: here[type(x)](x) if type(x) in here else x  # noqa: E731
    out = func(*tree_map(bare, args), **tree_map(bare, kwargs))
    if out is None:  # as of a step over a list of weights
        return None
    name = func.__name__.split(".")[0]
    if name.endswith("_") and not name.endswith("__") and tensors:  # in place: what came in goes out; not __rshift__
        return args[0]
    return tree_map(lambda x: OnCuda(x) if isinstance(x, torch.Tensor) and cuda else x, out)


class Emulated(TorchDispatchMode):
    """Creates tensors with `device="cuda"` as OnCuda; `waits` counts by operation what the host would wait for."""

    def __init__(self):
        super().__init__()
        self.waits = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {}, self.waits)


def _new_tensor(self, data, **how):
    """As torch's own, which asks the driver."""
    return torch.tensor(data, **{"dtype": self.dtype, "device": self.device, **how})


@contextmanager
def emulated():
    """The mode, with generators that can be of the device, and without cudnn, whose operations the CPU has not."""
    with (
        mock.patch("torch.Generator", TaggedGenerator),
        mock.patch("torch.cuda._lazy_init"),
        mock.patch.multiple(
            "torch.cuda", get_rng_state=mock.DEFAULT, set_rng_state=mock.DEFAULT, manual_seed=mock.DEFAULT
        ),
        mock.patch("torch.cuda.device", nullcontext),
        mock.patch.object(torch.Tensor, "new_tensor", _new_tensor),
        torch.backends.cudnn.flags(enabled=False),
    ):
        # a list becomes a tensor of the CPU first, and then travels: the driver is not asked
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with Emulated() as mode:
                yield mode
        finally:
            torch._C._set_only_lift_cpu_tensors(before)


def on_cuda(thing):
    """Tensors of a nested structure, tagged."""
    return tree_map(lambda x: OnCuda(x.detach().clone()) if isinstance(x, torch.Tensor) else x, thing)


def module_on_cuda(module, optimizer=None):
    """A module whose weights and buffers are tagged, in place; its optimizer, with one group, steps the new ones."""
    for part in module.modules():
        for name, weight in list(part._parameters.items()):
            if weight is not None:
                part._parameters[name] = torch.nn.Parameter(on_cuda(weight), requires_grad=weight.requires_grad)
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = on_cuda(value)
    if optimizer is not None:
        optimizer.param_groups[0]["params"] = list(module.parameters())
    return module

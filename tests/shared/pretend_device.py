"""An accelerator that is not there: tensors that say they are on `pretend` and are computed on the CPU.

What fails on a GPU fails here too: operations on tensors of two devices, and numpy of a tensor that was not
copied back. Loaded as a plugin of pytest, it lends its process the device:

    python -m pytest -p pretend_device tests/device/on_methods.py
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import backend_registration

aten = torch.ops.aten
_HERE = torch.device("cpu")
_TRANSFERS = {aten._to_copy.default, aten.copy_.default}
# a GPU takes an index from the CPU
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
# Below autograd, nobody carries out the conjugation that such a view promises.
_AT_ONCE = {aten._conj.default: aten.conj_physical.default, aten._neg_view.default: aten.neg.default}
# torch composes them of operations that enlarge their output, which a wrapper does not notice
_MADE_THERE = (
    *("arange", "arange.start", "arange.start_step", "linspace", "eye", "eye.m"),
    *("fft_fftfreq", "fft_rfftfreq", "hann_window", "hann_window.periodic", "hamming_window"),
)
# a GPU takes a number from the CPU in arithmetic, and not here
_ALL_OF_ONE = {aten.cat, aten.stack}
# Each of them makes whoever asks wait until the device has done all that it was given.
_WAITING = {aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select}


@dataclass
class Watched:
    """What crossed over to the device and back: copies by their bytes, and what was waited for."""

    sent: list[int] = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


@dataclass
class _Rules:
    """What holds on the device now: whether it has double precision, how many bytes of memory, if that is
    limited, copies from it that nobody has waited for yet, if they come late, and who watches it."""

    double: bool = True
    bytes: float | None = None
    late: list[Callable[[], object]] | None = None
    watched: Watched = field(default_factory=Watched)


RULES = _Rules()


@contextmanager
def rules(**changed: Any) -> Iterator[Watched]:
    """Other rules for a while; gives what crosses over meanwhile."""
    before = dict(vars(RULES))
    vars(RULES).update({"watched": Watched(), **changed})
    try:
        yield RULES.watched
    finally:
        vars(RULES).update(before)


class Elsewhere(torch.Tensor):
    """A tensor on the pretend device; `inner` has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        if not RULES.double and inner.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"The device has no double precision: {tuple(inner.shape)}")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device("pretend", 0),
        )
        made.inner = inner
        if RULES.bytes is not None:
            _hold(made)
        return made

    def __repr__(self, **_: object) -> str:
        return f"Elsewhere({self.inner!r})"

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_tensors(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_tensors(key), value)

    def tolist(self) -> Any:
        RULES.watched.waits.append("tolist")
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


_LIVE: dict[int, list[int]] = {}  # by address: tensors that share it, and its bytes


def _hold(made: Elsewhere) -> None:
    """Count the memory of a tensor until it is gone; too much is an error, but in a backward pass, whose
    threads end the process by an error of Python's.
    """
    storage = made.inner.untyped_storage()
    place, size = storage.data_ptr(), storage.nbytes()
    if place not in _LIVE:
        # a copy, since the finalizer of another tensor may come meanwhile
        held = sum(size for _, size in _LIVE.copy().values())
        if held + size > (RULES.bytes or 0) and torch._C._current_graph_task_id() < 0:
            raise RuntimeError(f"pretend out of memory. Tried to allocate {size / 2**20:.2f} MiB.")
        _LIVE[place] = [0, size]
    _LIVE[place][0] += 1
    weakref.finalize(made, _let_go, place)


def _let_go(place: int) -> None:
    _LIVE[place][0] -= 1
    if not _LIVE[place][0]:
        del _LIVE[place]


def _tensors(key: Any) -> Any:
    """Indices with tensors for lists, which torch would make out of our sight."""
    if isinstance(key, tuple):
        return tuple(map(_tensors, key))
    return torch.as_tensor(key) if isinstance(key, list) else key


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the inner tensors; mixing the devices is an error."""
    seen: list[torch.Tensor] = []
    _each(seen.append, [*args, *kwargs.values()])
    there = [t for t in seen if isinstance(t, Elsewhere)]
    alike = func.overloadpacket in _ALL_OF_ONE
    here = [t for t in seen if not isinstance(t, Elsewhere) and (t.dim() or alike)]
    if there and here and func not in _TRANSFERS and func.overloadpacket not in _INDEXING:
        raise RuntimeError(f"{func} mixes devices: {[(str(t.device), tuple(t.shape)) for t in seen]}")
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"} | {"device": _HERE}
    _note(func, args, wanted)
    if RULES.late is not None and func is aten.copy_.default and args[2:] == (True,) and there[0] is args[1]:
        RULES.late.append(lambda: args[0].copy_(args[1].inner))
        return args[0]
    func = _AT_ONCE.get(func, func)
    out = func(*_each(_inner, args), **{name: _each(_inner, value) for name, value in kwargs.items()})
    for each in there:
        if each.size() != each.inner.size():
            raise RuntimeError(f"{func} changes the shape of its output; see _MADE_THERE")
    if func is aten.copy_.default:
        return args[0]
    if not (there if wanted is None else wanted.type == "pretend"):
        return out
    # an operation in place returns the tensor that it was given
    given = {id(t.inner): t for t in there} if func._schema.is_mutable else {}
    return _each(lambda x: given[id(x)] if id(x) in given else Elsewhere(x), out)


def _note(func: Any, args: Any, wanted: torch.device | None) -> None:
    """Keep what crosses over, and what must be waited for."""
    watched = RULES.watched
    masks = [t for t in args[1] if isinstance(t, torch.Tensor)] if func.overloadpacket in _INDEXING else []
    if func.overloadpacket in _WAITING or any(t.dtype == torch.bool for t in masks):
        watched.waits.append(str(func))
    elif func in _TRANSFERS:
        target, source = args[0], args[0] if func is aten._to_copy.default else args[1]
        away = isinstance(source, Elsewhere)
        there = (away if wanted is None else wanted.type == "pretend") if target is source else None
        there = isinstance(target, Elsewhere) if there is None else there
        if away != there:
            (watched.sent if there else watched.fetched).append(source.nbytes)


def _each(act: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """The value with what `act` makes of every tensor in it; torch's `tree_map` took a third of the time."""
    if isinstance(value, torch.Tensor):
        return act(value)
    return type(value)([_each(act, item) for item in value]) if isinstance(value, (list, tuple)) else value


def _inner(x: torch.Tensor) -> torch.Tensor:
    return x.inner if isinstance(x, Elsewhere) else x


class _Module(backend_registration._DummyBackendModule):
    """What torch and we ask the module of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _Generator(torch.Generator):
    """The CPU's random numbers, wherever they are wanted."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.wanted = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.wanted


def register() -> list[torch.library.Library]:
    """Make `pretend` a device of this process; the libraries must be kept."""
    backend_registration._setup_privateuseone_for_python_backend("pretend", _Module())
    every, some = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "PrivateUse1")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in _MADE_THERE:
        packet, _, overload = name.partition(".")
        some.impl(name, _there(getattr(getattr(aten, packet), overload or "default")), "PrivateUse1")
    # Tensors of inference mode have no versions, which wrappers need; torch.tensor copies out of our sight.
    # Its random numbers are the CPU's.
    torch.inference_mode = torch.no_grad
    made, torch.Generator = torch.tensor, _Generator

    def tensor(data: Any, *, device: Any = None, **known: Any) -> torch.Tensor:
        return made(data, **known) if device is None else made(data, **known).to(device)

    torch.tensor = tensor
    return [every, some]


def _there(func: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: run(func, args, kwargs)


_KEPT: list[torch.library.Library] = []


def pytest_configure() -> None:
    """Lend the process of these tests the device."""
    from heliorestore.methods import base

    _KEPT.extend(register())
    base.devices = lambda: ("pretend", "cpu")

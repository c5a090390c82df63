"""An accelerator that is not there: tensors that say they are on `pretend` and are computed on the CPU.

What fails on a GPU fails here too: operations on tensors of two devices, and numpy of a tensor that was not
copied back. Run as a script, it restores with every method here and there:

    python tests/shared/pretend_device.py METHOD...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_map

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


class Elsewhere(torch.Tensor):
    """A tensor on the pretend device; `inner` has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
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
        return made

    def __repr__(self, **_: object) -> str:
        return f"Elsewhere({self.inner!r})"

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_tensors(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_tensors(key), value)

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def _tensors(key: Any) -> Any:
    """Indices with tensors for lists, which torch would make out of our sight."""
    if isinstance(key, tuple):
        return tuple(map(_tensors, key))
    return torch.as_tensor(key) if isinstance(key, list) else key


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the inner tensors; mixing the devices is an error."""
    seen: list[torch.Tensor] = []
    tree_map(lambda x: seen.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    there = [t for t in seen if isinstance(t, Elsewhere)]
    here = [t for t in seen if not isinstance(t, Elsewhere) and t.dim()]
    if there and here and func not in _TRANSFERS and func.overloadpacket not in _INDEXING:
        raise RuntimeError(f"{func} mixes devices: {[(str(t.device), tuple(t.shape)) for t in seen]}")
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"} | {"device": _HERE}
    func = _AT_ONCE.get(func, func)
    out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    for each in there:
        if each.size() != each.inner.size():
            raise RuntimeError(f"{func} changes the shape of its output; see _MADE_THERE")
    if func is aten.copy_.default:
        return args[0]
    if not (there if wanted is None else wanted.type == "pretend"):
        return out
    # an operation in place returns the tensor that it was given
    given = {id(t.inner): t for t in there} if func._schema.is_mutable else {}
    return tree_map(lambda x: given.get(id(x), Elsewhere(x)) if isinstance(x, torch.Tensor) else x, out)


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, Elsewhere) else x


class _Module(backend_registration._DummyBackendModule):
    """What torch and we ask the module of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


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
    torch.inference_mode = torch.no_grad
    made = torch.tensor

    def tensor(data: Any, *, device: Any = None, **known: Any) -> torch.Tensor:
        return made(data, **known) if device is None else made(data, **known).to(device)

    torch.tensor = tensor
    return [every, some]


def _there(func: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: run(func, args, kwargs)


def _restore(method: str) -> dict[str, Any]:
    """Restore a small burst on both devices; the largest difference over the mean, and the device named."""
    import numpy as np

    from heliorestore.burst import Burst
    from heliorestore.instrument import find
    from heliorestore.methods.base import load, restore
    from heliorestore.samples import sample_path

    changes: dict[str, dict[str, Any]] = {
        "richardson-lucy": {"iterations": 3},
        "momfbd": {"iterations": 3, "modes": 12},
        "sv-momfbd": {"iterations": 3, "patch_iterations": 2, "modes": 12, "grid_step": 16},
        "mfbd": {"committee": 1},
    }
    import heliorestore

    frames = np.stack([heliorestore.read(sample_path("sunspot_burst.fits")).image(0, f) for f in range(3)])
    camera = "hmi-6173" if method == "enhance" else "crisp-6302"
    burst = Burst.from_array(frames[:, :48, :64], find(camera))
    settings = load(method).settings().replace(**changes.get(method, {}))
    here, there = (restore(burst, settings, device=device) for device in ("cpu", "pretend"))
    assert there.run is not None
    return {
        "difference": float(np.abs(here.images - there.images).max() / np.abs(here.images).mean()),
        "device": there.run.device,
    }


if __name__ == "__main__":
    kept = register()
    from heliorestore.methods import base

    base.devices = lambda: ("pretend", "cpu")
    for name in sys.argv[1:]:
        print(json.dumps({"method": name} | _restore(name)), flush=True)

"""Where models run: a GPU of CUDA if there is one, else the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto`: CUDA's current GPU, else the CPU.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """A device as a person knows it.

    >>> describe_device(torch.device("cpu")).startswith("CPU, threads: ")
    True
    """
    if device.type == "cuda":
        return f"GPU {torch.cuda.get_device_name(device)}, bfloat16"
    return f"CPU, threads: {torch.get_num_threads()}"


def trains_in_bfloat16(device: torch.device) -> bool:
    """On a GPU, where its range needs no scaling of the loss; float32 elsewhere.

    >>> [trains_in_bfloat16(torch.device(name)) for name in ("cuda", "cpu")]
    [True, False]
    """
    return device.type == "cuda"


def compile_on_gpu(module: nn.Module, device: torch.device) -> None:
    """Compiles a module in place where that pays: its kernels for a GPU, when first called.

    On a CPU compiling takes longer than an encoder's whole first part.
    """
    if device.type == "cuda":
        module.compile()


@contextmanager
def linear_layers_by_onednn(module: nn.Module) -> Iterator[None]:
    """Within it, linear layers of float32 on a CPU are computed by oneDNN, without gradients.

    torch gives them to MKL, which on processors of AMD uses half of the vector width: 105 GFLOP/s
    a core, oneDNN's 215 (adr/0009). Results differ by rounding. It holds a second copy of the
    layers' weights.

    >>> layer, x = nn.Linear(3, 2), torch.ones(1, 3)
    >>> with linear_layers_by_onednn(layer), torch.inference_mode():
    ...     fast = layer(x)
    >>> bool((fast - layer(x)).abs().max() < 1e-6)
    True
    """
    layers = [layer for layer in module.modules() if _suits_onednn(layer)]
    for layer in layers:
        bias = None if layer.bias is None else layer.bias.detach().to_mkldnn()
        weight = layer.weight.detach().to_mkldnn()
        layer.__dict__["forward"] = partial(_linear_by_onednn, weight, bias)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]  # the class's own again


def _suits_onednn(layer: nn.Module) -> TypeGuard[nn.Linear]:
    return (
        type(layer) is nn.Linear  # a subclass computes something else
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _linear_by_onednn(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """`(..., in)` -> `(..., out)`; weights in oneDNN's own tensors."""
    return nn.functional.linear(x.to_mkldnn(), weight, bias).to_dense()

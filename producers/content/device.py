"""Where models run: a GPU of CUDA if there is one, else the CPU."""

from __future__ import annotations

import torch
from torch import nn


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

"""Seeds, the choice of device, reproducible arithmetic, and what machine this is."""

from __future__ import annotations

import os
import platform
import random
from numbers import Integral
from typing import TYPE_CHECKING

from .project import MissingError, UsageError, suggest

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")

# Set before a kernel starts. Linear-algebra libraries choose their code path by the processor they
# find, and paths round differently; these settings ask every x86-64 processor for the same one.
REPRODUCIBLE_ENVIRONMENT: dict[str, str] = {
    "PYTHONHASHSEED": "0",
    "MKL_CBWR": "AVX2,STRICT",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TQDM_DISABLE": "1",  # a progress bar in a saved output is noise
}


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and ask PyTorch for deterministic kernels.

    The same seed gives the same numbers on one machine, one thread count and one set of versions.
    It cannot fix Python's hash seed (set ``PYTHONHASHSEED`` before the start) nor make a CPU and a
    GPU agree: compare those with tolerances.

    Parameters
    ----------
    seed : a non-negative integer below 2**32

    Raises
    ------
    UsageError : for anything else
    """
    import numpy
    import torch

    if not (isinstance(seed, Integral) and 0 <= seed < 2**32):
        raise UsageError(f"seed is {seed!r}: give an integer from 0 to 2**32 - 1.")
    seed = int(seed)  # Python's own generator refuses NumPy's integers
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would also fill all fresh memory, which costs small networks some 8 % of their time and
    # hides nothing here: an operation that read it would differ between two runs and fail a test.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False


def set_threads(count: int) -> None:
    """Let PyTorch use ``count`` processor threads.

    Small tensors are fastest on one thread, and with a fixed count the results do not depend on
    ``OMP_NUM_THREADS``.
    """
    import torch

    if count < 1:
        raise UsageError(f"threads is {count}: give at least 1.")
    torch.set_num_threads(count)


def select_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    UsageError : for a name that is not one of ``DEVICES``
    MissingError : if the device is asked for by name and this machine has none
    """
    import torch

    if name not in DEVICES:
        raise UsageError(
            f"device is {name!r}.{suggest(name, list(DEVICES))} "
            f"Choose one of: {', '.join(DEVICES)}."
        )
    found = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in found.items() if there))
    if not found[name]:
        raise MissingError(
            f"device is {name!r}, but PyTorch finds none here: use device='cpu' or 'auto', "
            "or run `book doctor` to see what this machine has."
        )
    return torch.device(name)


def synchronise(device: torch.device) -> None:
    """Wait until the work queued on ``device`` is done, so that a clock read after it is right."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_machine() -> dict[str, str | int | float]:
    """Describe this machine without host name, user name or path.

    Returns
    -------
    ``system``, ``processor`` (architecture), ``cores`` (usable by this process), ``memory_gib``,
    and ``gpu`` (its name, or ``none``)
    """
    import psutil

    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": _gpu_name(),
    }


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu_name() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "Apple MPS" if torch.backends.mps.is_available() else "none"

"""What the tests of the chapter *Biologically plausible learning* share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from helpers.execution import load_definitions

CPU = torch.device("cpu")


def definitions() -> Any:
    """The chapter's own definitions."""
    return load_definitions("biologically_plausible_learning")


def normal(*shape: int, seed: int, sd: float = 1.0) -> Tensor:
    """Normal numbers in double precision."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.double) * sd

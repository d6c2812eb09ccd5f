"""Time one training step of the first chapter's rules on the same network and batch.

    python benchmarks/step_time.py [--sizes 784 1024 512 256 10] [--batch 128] [--rounds 60]

The rules take turns, step by step, so that a change of the machine's speed meets all of them.
Printed are the median milliseconds per step and the median of the ratios to backprop, round by
round. "Autograd" is the same network and optimiser with PyTorch's automatic differentiation.
The aim is a ratio of at most 1.6 for DLL; its arithmetic alone allows at most 4/3.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from helpers.runtime import REPRODUCIBLE_ENVIRONMENT

os.environ.update(REPRODUCIBLE_ENVIRONMENT)

import torch
import torch.nn.functional as F

from helpers.execution import load_definitions
from helpers.runtime import select_device, set_threads, synchronise

TARGET = 1.6


def autograd_step(dll: Any, sizes: list[int], device: torch.device) -> Callable[..., None]:
    """The step of the same perceptron, differentiated by PyTorch."""
    recipe = dll.Recipe((0,), 1, 1, 1e-3)
    start = dll.Perceptron(sizes, dll.Arm("transposed"), recipe, 10_000, device).weights
    weights = [w.clone().requires_grad_() for w in start]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0, fused=True)

    def step(x: torch.Tensor, target: torch.Tensor) -> None:
        optimizer.zero_grad()
        logits = dll.forward(x, weights)[-1]
        F.cross_entropy(logits.flatten(0, -2), target.flatten(0, -2), reduction="sum").backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[784, 1024, 512, 256, 10])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    set_threads(options.threads)
    device = select_device(options.device)
    dll = load_definitions("dendritic_localized_learning")
    recipe = dll.Recipe((0,), 1, options.batch, 1e-3)

    def rule(arm: Any) -> Callable[..., None]:
        return dll.Perceptron(options.sizes, arm, recipe, 10_000, device).step

    steps = {
        "backprop": rule(dll.Arm("transposed")),
        "autograd": autograd_step(dll, options.sizes, device),
        "feedback alignment": rule(dll.Arm("frozen")),
        "DLL": rule(dll.Arm("learned", 0.1)),
    }
    x = torch.randn(1, options.batch, options.sizes[0], device=device)
    y = torch.randint(options.sizes[-1], (1, options.batch), device=device)
    target = F.one_hot(y, options.sizes[-1]).float()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(options.rounds + 5):
        for name, step in steps.items():
            synchronise(device)
            begin = time.perf_counter()
            step(x, target)
            synchronise(device)
            if round_number >= 5:  # the first rounds warm up
                seconds[name].append(time.perf_counter() - begin)
    print(f"layers {options.sizes}, batch {options.batch}, {options.threads} thread(s), {device}")
    for name, times in seconds.items():
        pairs = zip(times, seconds["backprop"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:20} {1e3 * statistics.median(times):8.2f} ms   {ratio:5.2f} x backprop")
    pairs = zip(seconds["DLL"], seconds["backprop"], strict=True)
    met = statistics.median(a / b for a, b in pairs) <= TARGET
    print(f"DLL at most {TARGET} x backprop: {'yes' if met else 'NO'}")


if __name__ == "__main__":
    main()

"""Time one update of every rule of the comparison chapter on the same network and batch.

    python benchmarks/rule_time.py [--sizes 784 1024 512 10] [--batch 128] [--rounds 20]

The rules take turns, update by update, so that a change of the machine's speed meets all of them.
Printed are the median milliseconds per update, the median of the ratios to backprop, and what its
arithmetic alone asks for: its multiply-adds at backprop's speed, and its normal numbers at the
speed of PyTorch's generator. The aim is at most twice that for every rule. Spiking rules are left
out, since most of their work is no matrix product.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

from helpers.runtime import REPRODUCIBLE_ENVIRONMENT

os.environ.update(REPRODUCIBLE_ENVIRONMENT)

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from helpers.execution import load_definitions
from helpers.runtime import select_device, set_threads, synchronise

TARGET = 2.0
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "backprop": ("Backprop", {}),
    "feedback alignment": ("FeedbackAlignment", {}),
    "direct feedback alignment": ("DirectFeedback", {}),
    "sign-symmetric": ("SignSymmetric", {}),
    "DLL": ("DendriticLocalized", {}),
    "target propagation": ("DifferenceTargets", {}),
    "predictive coding, 20 steps": ("PredictiveCoding", {"steps": 20}),
    "predictive coding, fixed": ("PredictiveCoding", {"steps": 20, "fixed": True}),
    "forward-forward": ("ForwardForward", {}),
    "node perturbation": ("NodePerturbation", {}),
    "weight perturbation": ("WeightPerturbation", {}),
    "local losses, predsim": ("LocalLosses", {"mix": 0.99}),
    "equilibrium, 20 + 2 x 6 steps": ("EquilibriumPropagation", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[784, 1024, 512, 10])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    set_threads(options.threads)
    device = select_device(options.device)
    bio = load_definitions("biologically_plausible_learning")
    first, *hidden, classes = options.sizes
    seeds = tuple(range(options.seeds))
    net = bio.Network(bio.layers_of([], (first,), hidden, classes), seeds, device)
    rules = {name: getattr(bio, make)(net, **more) for name, (make, more) in RULES.items()}
    x = torch.randn(len(seeds), options.batch, first, device=device)
    y = torch.randint(classes, (len(seeds), options.batch), device=device)
    t = F.one_hot(y, classes).float()
    products = {}
    for name, rule in rules.items():
        with FlopCounterMode(display=False) as counter:
            rule.changes(x, t)
        products[name] = counter.get_total_flops()
    activities = [layer.outputs for layer in net.maps]
    normals = {  # numbers that an update draws, per seed
        "weight perturbation": sum(w[0].numel() for w in rules["backprop"].w),
        "node perturbation": options.batch * sum(activities),
        "target propagation": options.batch * sum(activities[:-1]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in [*rules, "a million normals"]}
    for round_number in range(options.rounds + 3):
        for name, rule in rules.items():
            synchronise(device)
            begin = time.perf_counter()
            rule.changes(x, t)
            synchronise(device)
            if round_number >= 3:  # the first rounds warm up
                seconds[name].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        torch.randn(1_000_000, device=device)
        synchronise(device)
        seconds["a million normals"].append(time.perf_counter() - begin)
    per_normal = statistics.median(seconds.pop("a million normals")) / 1e6
    backprop = statistics.median(seconds["backprop"])
    print(f"layers {options.sizes}, batch {options.batch}, {options.threads} thread(s), {device}")
    slow = []
    for name, times in seconds.items():
        pairs = zip(times, seconds["backprop"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        drawn = len(seeds) * normals.get(name, 0) * per_normal
        arithmetic = products[name] / products["backprop"] + drawn / backprop
        print(
            f"{name:30} {1e3 * statistics.median(times):8.2f} ms   {ratio:6.2f} x backprop, "
            f"arithmetic {arithmetic:6.2f} x: {ratio / arithmetic:5.2f}"
        )
        if ratio / arithmetic > TARGET:
            slow.append(name)
    print(f"all within {TARGET} x their arithmetic: {'NO: ' + ', '.join(slow) if slow else 'yes'}")


if __name__ == "__main__":
    main()

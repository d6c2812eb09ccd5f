"""Time a block of the Spikformer against SpikingJelly's, and against one built module by module.

    python benchmarks/spiking_time.py [--rounds 30] [--threads 1] [--device cpu]

All three compute the same: spiking self-attention and two layers, forward and backward, on spikes
of the same size. The three take turns, so that a change of the machine's speed meets all of them.
Printed are the median milliseconds per network and the median of the ratios to ours; ours trains
its seeds side by side, the others one at a time.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
from collections.abc import Callable

from helpers.runtime import REPRODUCIBLE_ENVIRONMENT

os.environ.update(REPRODUCIBLE_ENVIRONMENT)

import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.model.spikformer import SpikformerBlock
from torch import Tensor, nn

from helpers.runtime import select_device, set_threads, synchronise
from helpers.spiking import Block
from helpers.training import generators

# steps, examples, tokens, channels, hidden channels, heads, seeds
SIZES = {
    "five small networks": (4, 16, 16, 32, 64, 4, 5),
    "one small network": (4, 16, 16, 32, 64, 4, 1),
    "one larger network": (4, 32, 64, 128, 512, 8, 1),
}


def lif(threshold: float = 1.0) -> nn.Module:
    return neuron.LIFNode(
        tau=2.0,
        v_threshold=threshold,
        detach_reset=True,
        step_mode="m",
        surrogate_function=surrogate.ATan(),
    )


class Layer(nn.Module):
    """A linear map, batch normalisation over steps, examples and tokens, and neurons."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out)
        self.neurons = lif()

    def forward(self, x: Tensor) -> Tensor:
        current = self.norm(self.linear(x).flatten(0, -2)).reshape(*x.shape[:-1], -1)
        return self.neurons(current)


class ModuleByModule(nn.Module):
    """The block as its equations are written: a module for each arrow."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values = (Layer(width, width) for _ in range(3))
        self.attend, self.answer = lif(0.5), Layer(width, width)
        self.first, self.second = Layer(width, inner), Layer(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, L, D)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(2, 3)
            for layer in (self.queries, self.keys, self.values)
        )
        seen = 0.125 * (q @ k.mT) @ v
        x = x + self.answer(self.attend(seen.transpose(2, 3).flatten(-2)))
        return x + self.second(self.first(x))


def once(network: nn.Module, x: Tensor, slope: Tensor) -> Callable[[], None]:
    has_state = not isinstance(network, Block)

    def run() -> None:
        if has_state:
            functional.reset_net(network)
        network.zero_grad()
        x.grad = None
        network(x).backward(slope)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    set_threads(options.threads)
    device = select_device(options.device)
    torch.manual_seed(0)
    for title, (steps, batch, tokens, width, inner, heads, seeds) in SIZES.items():
        x = (torch.rand(steps, batch, tokens, seeds, width, device=device) > 0.7).float()
        slope = torch.randn_like(x)
        turned = x[..., 0, :].mT.unsqueeze(-1).contiguous()  # (T, N, C, H, W) of SpikingJelly
        turned_slope = slope[..., 0, :].mT.unsqueeze(-1).contiguous()
        blocks = {
            "helpers.spiking.Block": (
                Block(width, inner, heads, generators(range(seeds))), x, slope
            ),
            "SpikingJelly's block": (
                SpikformerBlock(
                    width, heads, mlp_ratio=inner / width, surrogate_function=surrogate.ATan()
                ),
                turned,
                turned_slope,
            ),
            "module by module": (
                ModuleByModule(width, inner, heads),
                x[..., 0, :].contiguous(),
                slope[..., 0, :].contiguous(),
            ),
        }  # fmt: skip
        runs = {
            name: once(block.to(device), given.requires_grad_(), back)
            for name, (block, given, back) in blocks.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for round_number in range(options.rounds + 3):
            for name, run in runs.items():
                synchronise(device)
                begin = time.perf_counter()
                run()
                synchronise(device)
                if round_number >= 3:  # the first rounds warm up
                    per = seeds if name == "helpers.spiking.Block" else 1
                    seconds[name].append((time.perf_counter() - begin) / per)
        print(
            f"{title}: T {steps}, batch {batch}, {tokens} tokens, width {width}, hidden {inner}, "
            f"{heads} heads, {seeds} seed(s), {options.threads} thread(s), {device}"
        )
        ours = seconds["helpers.spiking.Block"]
        for name, times in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(times, ours, strict=True))
            print(f"    {name:24} {1e3 * statistics.median(times):8.2f} ms   {ratio:5.2f} x")


if __name__ == "__main__":
    main()

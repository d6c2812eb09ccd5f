"""Spiking networks that the chapters share: a neuron, layers, attention, and the Spikformer.

Time comes first and networks with different seeds train side by side, so activity has the shape
(T, B, L, S, D): steps of the simulation, examples, tokens, seeds, channels. Everything but the
neurons is applied to all steps, examples and tokens at once.

A forward pass starts from resting neurons and leaves nothing behind: there is no state to reset.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .project import UsageError
from .training import draw

Residual = Literal["spikes", "membrane"]


class _Fire(torch.autograd.Function):
    """A sequence of leaky integrate-and-fire steps with hard reset, as one operation."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau: float, threshold: float, alpha: float) -> Tensor:
        membrane, spikes = torch.empty_like(current), torch.empty_like(current)
        rest = torch.zeros_like(current[0])
        for t in range(len(current)):
            torch.lerp(rest, current[t], 1 / tau, out=membrane[t])
            torch.ge(membrane[t], threshold, out=spikes[t])
            if t + 1 < len(current):
                rest = torch.addcmul(membrane[t], membrane[t], spikes[t], value=-1)
        ctx.save_for_backward(membrane.sub_(threshold), spikes)
        ctx.constants = tau, alpha
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        distance, spikes = ctx.saved_tensors
        tau, alpha = ctx.constants
        scale, steepness = alpha / (2 * tau), math.pi / 2 * alpha
        constant = distance.new_full((), 1 / scale)
        slope = torch.addcmul(constant, distance, distance, value=steepness**2 / scale)
        change = torch.div(gradients[0], slope, out=slope)
        leak = 1 - 1 / tau
        for t in range(len(change) - 2, -1, -1):  # what a spike did not reset leaks on
            later = change[t + 1]
            change[t].add_(later, alpha=leak).addcmul_(later, spikes[t], value=-leak)
        return change, None, None, None


def lif(current: Tensor, tau: float = 2.0, threshold: float = 1.0, alpha: float = 2.0) -> Tensor:
    """Run leaky integrate-and-fire neurons over time.

    ``H[t] = V[t-1] + (I[t] - V[t-1]) / tau``; a spike where ``H[t] >= threshold``; then ``V[t]`` is
    0 after a spike and ``H[t]`` otherwise. In the backward pass a spike's derivative is that of an
    arctangent, ``(alpha/2) / (1 + (pi/2 * alpha * (H - threshold))**2)``; the reset is constant.
    The same numbers as SpikingJelly's ``LIFNode(tau, v_threshold=threshold, detach_reset=True,
    surrogate_function=ATan(alpha), step_mode="m")`` from rest (Lv et al. 2024, section 3).

    Parameters
    ----------
    current : (T, ...) input at each step
    tau : time constant in steps, at least 1
    threshold : of the membrane potential
    alpha : steepness of the surrogate derivative

    Returns
    -------
    Spikes, 0 or 1, of the shape and type of ``current``.

    Raises
    ------
    UsageError : for a time constant below 1, or no step
    """
    if tau < 1 or not len(current):
        raise UsageError(f"tau is {tau}, steps are {len(current)}: give at least 1 of each.")
    return _Fire.apply(current, tau, threshold, alpha)


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons as a module: see `lif`."""

    def __init__(self, tau: float = 2.0, threshold: float = 1.0, alpha: float = 2.0) -> None:
        super().__init__()
        self.tau, self.threshold, self.alpha = tau, threshold, alpha

    def forward(self, current: Tensor) -> Tensor:
        return lif(current, self.tau, self.threshold, self.alpha)

    def extra_repr(self) -> str:
        return f"tau={self.tau}, threshold={self.threshold}, alpha={self.alpha}"


class Dense(nn.Module):
    """One linear map per seed: (..., S, n_in) to (..., S, n_out).

    Weights are normal with the variance 1 / (3 n_in) of PyTorch's own start; biases start at 0.

    Parameters
    ----------
    n_in, n_out : channels
    sources : one generator per seed; a seed's weights do not depend on its neighbours
    bias : whether there is one; not before a batch normalisation, which has its own
    """

    def __init__(
        self, n_in: int, n_out: int, sources: list[torch.Generator], bias: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw((n_in, n_out), (3 * n_in) ** -0.5, sources))
        self.bias = nn.Parameter(torch.zeros(len(sources), n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -3).transpose(0, 1)  # (S, rows, n_in)
        y = torch.bmm(rows, self.weight).transpose(0, 1).reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


class Normalise(nn.BatchNorm1d):
    """Batch normalisation per seed and channel, over all steps, examples and tokens at once."""

    def __init__(self, channels: int, seeds: int) -> None:
        super().__init__(seeds * channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(-2).flatten(0, -2)).reshape(x.shape)


class Synapses(nn.Sequential):
    """What reaches a layer of neurons: a linear map, then batch normalisation."""

    def __init__(self, n_in: int, n_out: int, sources: list[torch.Generator]) -> None:
        super().__init__(Dense(n_in, n_out, sources), Normalise(n_out, len(sources)))


class SpikingSelfAttention(nn.Module):
    """Self-attention of spikes without softmax (Spikformer, Zhou et al. 2023, 3.3).

    Queries, keys and values are spikes. Their products are counts, which are scaled and
    make the neurons of the next layer fire.

    Parameters
    ----------
    width : channels D, a multiple of ``heads``
    heads : the channels are cut into so many parts, each with its own attention
    sources : one generator per seed
    scale : of the counts; 0.125 in the paper
    """

    def __init__(
        self,
        width: int,
        heads: int,
        sources: list[torch.Generator],
        scale: float = 0.125,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise UsageError(f"width {width} is not a multiple of heads {heads}.")
        self.heads, self.scale = heads, scale
        self.ask = Synapses(width, 3 * width, sources)  # queries, keys, values at once
        self.ask_neurons = LIF()
        self.attend_neurons = LIF(threshold=0.5)
        self.answer = Synapses(width, width, sources)

    def split(self, fired: Tensor) -> Tensor:
        """Spikes (T, B, L, S, 3 D) by q, k, v and head: (3, T, B, S, H, L, D / H)."""
        parts = fired.unflatten(-1, (3, self.heads, -1))
        return parts.permute(4, 0, 1, 3, 5, 2, 6).contiguous()

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The attention map (T, B, S, H, L, L): scaled counts of common spikes."""
        return (queries @ keys.mT) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Input (T, B, L, S, D); the current into the neurons of the same shape."""
        queries, keys, values = self.split(self.ask_neurons(self.ask(x)))
        seen = self.scores(queries, keys) @ values
        current = seen.permute(0, 1, 4, 2, 3, 5).flatten(-2)
        return self.answer(self.attend_neurons(current))


class Block(nn.Module):
    """Attention, then two layers of neurons for each token, both with a residual.

    Parameters
    ----------
    width : channels D
    inner : channels of the hidden layer
    heads : of the attention
    sources : one generator per seed
    residual : ``spikes`` adds the spikes of both branches, as the Spikformer does: sums
        of spikes are counts 0, 1, 2, ...  ``membrane`` adds the currents before the
        neurons, so that every linear map reads zeros and ones (Yao et al. 2023)
    """

    def __init__(
        self,
        width: int,
        inner: int,
        heads: int,
        sources: list[torch.Generator],
        residual: Residual = "spikes",
    ) -> None:
        super().__init__()
        if residual not in ("spikes", "membrane"):
            raise UsageError(f"residual is 'spikes' or 'membrane', not {residual!r}.")
        self.residual = residual
        self.attention = SpikingSelfAttention(width, heads, sources)
        self.first = Synapses(width, inner, sources)
        self.second = Synapses(inner, width, sources)
        self.attention_neurons = LIF()
        self.inner_neurons, self.outer_neurons = LIF(), LIF()

    def forward(self, x: Tensor) -> Tensor:
        """Counts of spikes (T, B, L, S, D), or currents with the membrane residual."""
        if self.residual == "membrane":
            x = x + self.attention(self.attention_neurons(x))
            spikes = self.inner_neurons(self.first(self.outer_neurons(x)))
            return x + self.second(spikes)
        x = x + self.attention_neurons(self.attention(x))
        return x + self.outer_neurons(self.second(self.inner_neurons(self.first(x))))


class RepeatedInput(nn.Module):
    """Real-valued tokens into spikes: the same current at each of T steps (direct coding).

    Parameters
    ----------
    features : numbers per token
    channels : neurons per token
    steps : T
    sources : one generator per seed
    """

    def __init__(
        self, features: int, channels: int, steps: int, sources: list[torch.Generator]
    ) -> None:
        super().__init__()
        self.synapses, self.neurons = Synapses(features, channels, sources), LIF()
        self.steps, self.channels = steps, channels

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, L, S, features) to spikes (T, B, L, S, channels)."""
        return self.neurons(self.synapses(x).expand(self.steps, *x.shape[:-1], -1))


class WordInput(nn.Module):
    """Word numbers into spikes: a learned current per word, the same at each of T steps.

    Number 0 is the padding; it excites nothing before the normalisation and is not learned.

    Parameters
    ----------
    words : size of the vocabulary, padding included
    channels : neurons per token
    steps : T
    sources : one generator per seed
    """

    def __init__(
        self, words: int, channels: int, steps: int, sources: list[torch.Generator]
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(draw((words, channels), 1.0, sources).transpose(0, 1).clone())
        self.normalise, self.neurons = Normalise(channels, len(sources)), LIF()
        self.steps, self.channels = steps, channels

    def forward(self, words: Tensor) -> Tensor:
        """Numbers (B, L, S) to spikes (T, B, L, S, channels)."""
        seeds = torch.arange(self.table.shape[1], device=words.device)
        current = self.table[words, seeds] * (words > 0).unsqueeze(-1)
        return self.neurons(self.normalise(current).expand(self.steps, *current.shape))


class ConvolvedInput(nn.Module):
    """A window of a time series into spikes (Lv et al. 2024, "Efficient and effective time-series
    forecasting with spiking neural networks", section 3.2).

    T kernels of three steps each, shared by all variables, make the T steps of the simulation. Each
    is batch-normalised over examples, time and variables.

    Parameters
    ----------
    variables : of the series; there are as many neurons per token
    steps : T
    sources : one generator per seed
    """

    def __init__(self, variables: int, steps: int, sources: list[torch.Generator]) -> None:
        super().__init__()
        self.kernels = Dense(3, steps, sources)
        self.normalise, self.neurons = Normalise(steps, len(sources)), LIF()
        self.steps, self.channels = steps, variables

    def forward(self, x: Tensor) -> Tensor:
        """Values (B, L, S, variables) to spikes (T, B, L, S, variables)."""
        padded = F.pad(x, (0, 0, 0, 0, 1, 1))  # a zero before and after the window
        around = torch.stack([padded[:, i : i + x.shape[1]] for i in range(3)], dim=-1)
        current = self.normalise(self.kernels(around.transpose(2, 3)))  # (B, L, variables, S, T)
        return self.neurons(current.permute(4, 0, 1, 3, 2).contiguous())


class Spikformer(nn.Module):
    """Spikes, a positional encoding, blocks of attention, a mean over steps and tokens.

    Zhou et al. 2023 (images); Lv et al. 2024 (time series). The positional encoding can
    be changed: a module that takes and gives spikes, with their number as ``channels``.

    Parameters
    ----------
    stem : input to spikes (T, B, L, S, C), such as `RepeatedInput`
    position : spikes (T, B, L, S, C) to spikes (T, B, L, S, ``position.channels``)
    outputs : classes, or values to forecast
    width, inner, heads, blocks : channels D, hidden channels, heads, number of blocks
    sources : one generator per seed
    residual : see `Block`
    """

    def __init__(
        self,
        stem: nn.Module,
        position: nn.Module,
        outputs: int,
        *,
        width: int,
        inner: int,
        heads: int,
        blocks: int,
        sources: list[torch.Generator],
        residual: Residual = "spikes",
    ) -> None:
        super().__init__()
        if min(width, inner, heads, blocks, outputs) < 1:
            raise UsageError("width, inner, heads, blocks, outputs: at least 1 each.")
        self.stem, self.position, self.residual = stem, position, residual
        channels: int = position.channels  # type: ignore[assignment]
        self.merge, self.neurons = Synapses(channels, width, sources), LIF()
        self.blocks = nn.Sequential(
            *(Block(width, inner, heads, sources, residual) for _ in range(blocks))
        )
        self.read = Dense(width, outputs, sources, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """The stem's input to outputs (B, S, outputs)."""
        current = self.merge(self.position(self.stem(x)))
        if self.residual == "membrane":
            activity = self.neurons(self.blocks(current))
        else:
            activity = self.blocks(self.neurons(current))
        return self.read(activity.mean((0, 2)))

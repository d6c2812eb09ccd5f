"""Learning rules without automatic differentiation: what the two chapters on learning share.

The chapter *Dendritic localized learning* introduced them, and its text derives the feedback sweep,
the update of the backward weights and the recurrent network. *Biologically plausible learning*
compares them with other rules. :func:`source` prints a definition beside its equation, so that the
reader of either chapter sees the code.

Conventions. Networks of several seeds train side by side: an array may carry a leading axis of
length S, one slice per seed. Activities are (S, B, n), dense weights (S, n_in, n_out). An update is
the direction in which a weight climbs, and is added. There are no biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from . import data
from .training import draw, generators, shuffled_batches

if TYPE_CHECKING:
    from .data.splits import Standardise


class LinearMap(Protocol):
    """A layer's linear map from activities (S, B, n_in) to (S, B, n_out), linear in h and in w."""

    def up(self, h: Tensor, w: Tensor) -> Tensor:
        """Send activities up through the weights."""
        ...

    def down(self, d: Tensor, w: Tensor) -> Tensor:
        """Send errors down: the adjoint of :meth:`up` in h."""
        ...

    def outer(self, h: Tensor, d: Tensor) -> Tensor:
        """Summed over the batch: the adjoint of :meth:`up` in w, in the shape of w."""
        ...


class Dense:
    """Every unit sees every unit below: z = h W."""

    def up(self, h: Tensor, w: Tensor) -> Tensor:
        return h @ w

    def down(self, d: Tensor, w: Tensor) -> Tensor:
        return d @ w.mT

    def outer(self, h: Tensor, d: Tensor) -> Tensor:
        return h.mT @ d


def _maps(maps: Sequence[LinearMap] | None, count: int) -> Sequence[LinearMap]:
    return [Dense()] * count if maps is None else maps


def forward(
    u_0: Tensor,
    weights: Sequence[Tensor],
    maps: Sequence[LinearMap] | None = None,
    activation: Callable[[Tensor], Tensor] = torch.tanh,
) -> list[Tensor]:
    """Return [u_0, ..., u_L]; the last layer is linear (DLL paper, eq. 4).

    Parameters
    ----------
    u_0 : (..., B, n_0)
    weights : (..., n_i, n_{i+1}) each
    maps : one linear map per layer (default: dense)
    activation : of the hidden layers
    """
    u = [u_0]
    layers = zip(_maps(maps, len(weights)), weights, strict=True)
    for i, (layer, w) in enumerate(layers):
        z = layer.up(u[-1], w)
        u.append(z if i == len(weights) - 1 else activation(z))
    return u


def top_error(u_top: Tensor, target: Tensor) -> Tensor:
    """Target minus softmax prediction: minus the gradient of the cross-entropy."""
    return target - torch.softmax(u_top, dim=-1)


def slope(u: Tensor) -> Tensor:
    """Derivative of tanh, written with its value u = tanh(z)."""
    return 1 - u * u


def local_errors(
    u: list[Tensor],
    top: Tensor,
    theta: Sequence[Any],
    clip: float = math.inf,
    maps: Sequence[LinearMap] | None = None,
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Sweep the error down through theta: xi_i = delta_{i+1} Theta_i^T (DLL, eq. 7).

    With theta the forward weights this is backpropagation, with fixed random ones
    feedback alignment (Lillicrap et al. 2016), with learned ones dendritic localized
    learning.

    Parameters
    ----------
    u : from :func:`forward`
    top : (..., B, n_L), the last layer's error, whose slope is 1
    theta : (..., n_i, n_{i+1}) each; theta[0] is never read
    clip : bound on every entry of xi
    maps : one linear map per layer (default: dense)

    Returns
    -------
    xi and delta = xi ⊙ tanh'(z), indexed by layer; entry 0 is None
    """
    layers = len(u) - 1
    maps = _maps(maps, layers)
    xi: list[Any] = [None] * layers + [top]
    delta: list[Any] = [None] * layers + [top]
    for i in range(layers - 1, 0, -1):
        xi[i] = maps[i].down(delta[i + 1], theta[i]).clamp(-clip, clip)
        delta[i] = xi[i] * slope(u[i])
    return xi, delta


def weight_updates(
    u: list[Tensor], delta: list[Tensor | None], maps: Sequence[LinearMap] | None = None
) -> list[Tensor]:
    """Delta W_i = u_i^T delta_{i+1}, summed over the batch (DLL, eq. 8)."""
    layers: Any = zip(_maps(maps, len(u) - 1), u, delta[1:], strict=False)
    return [layer.outer(h, d) for layer, h, d in layers]


def theta_updates(
    xi: list[Tensor | None],
    delta: list[Tensor | None],
    maps: Sequence[LinearMap] | None = None,
) -> list[Tensor | None]:
    """Delta Theta_i = -xi_i^T delta_{i+1}, summed over the batch (DLL, eq. 9).

    There is None for i = 0.
    """
    layers: Any = list(zip(_maps(maps, len(xi) - 1), xi, delta[1:], strict=False))
    return [None] + [-layer.outer(x, d) for layer, x, d in layers[1:]]


# --- competition and goodness ---------------------------------------------------------------------


def softhebb_update(x: Tensor, w: Tensor, sharpness: float = 4.0) -> Tensor:
    """One step of competitive Hebbian learning (Moraitis et al. 2022).

    The units share out each input by a softmax of u = x W. With y the share, positive
    for the winner and negative for all others, Delta w_k = y_k (x - u_k w_k), summed
    over the batch and then scaled to a largest entry of 1.

    Parameters
    ----------
    x : (S, B, n) inputs
    w : (S, n, m) weights
    sharpness : of the softmax
    """
    u = x @ w
    share = torch.softmax(sharpness * u, dim=-1)
    winner = F.one_hot(u.argmax(-1), w.shape[-1]).bool()
    y = torch.where(winner, share, -share)
    update = x.mT @ y - (y * u).sum(dim=1, keepdim=True) * w
    return update / update.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


def softhebb_weights(
    inputs: Tensor,
    w: Tensor,
    seeds: Sequence[int],
    *,
    batch: int = 64,
    passes: int = 10,
    sharpness: float = 4.0,
    rate: float | Tensor = 0.05,
) -> Tensor:
    """Train competitive Hebbian weights without labels.

    A unit's own rate is rate · |‖w_k‖ - 1|^½: it stops when its weights have length 1.

    Parameters
    ----------
    inputs : (N, n), shared by all seeds, or (S, N, n)
    w : (S, n, m) weights at the start; they are not changed
    seeds : of the order of the inputs
    rate : one number, or one per seed as (S, 1, 1); it falls linearly over the passes

    Returns
    -------
    (S, n, m)
    """
    w, rows = w.clone(), torch.arange(len(w))[:, None]
    order = generators(seeds, stream=3)
    for epoch in range(passes):
        for chosen in shuffled_batches(inputs.shape[-2], batch, order):
            x = inputs[chosen] if inputs.dim() == 2 else inputs[rows, chosen]
            unfinished = (w.norm(dim=1, keepdim=True) - 1).abs().sqrt()
            pace = rate * (1 - epoch / passes) * unfinished
            w += pace * softhebb_update(x, w, sharpness)
    return w


def to_unit_size(h: Tensor) -> Tensor:
    """Scale rows to mean square 1, which hides the goodness of the layer below."""
    return h / (h.square().mean(dim=-1, keepdim=True).sqrt() + 1e-6)


def forward_forward_updates(
    h: Tensor,
    sign: Tensor,
    weights: Sequence[Tensor],
    maps: Sequence[LinearMap] | None = None,
) -> list[Tensor]:
    """Each layer climbs on log sigma(sign · (goodness - 1)) of its own (Hinton 2022).

    The goodness of a layer is the mean square of its activity.

    Parameters
    ----------
    h : (S, B, n) inputs with their labels
    sign : (B, 1), +1 for a true label, -1 for a wrong one
    """
    changes = []
    for layer, w in zip(_maps(maps, len(weights)), weights, strict=True):
        activity = torch.relu(layer.up(h, w))
        goodness = activity.square().mean(dim=-1, keepdim=True) - 1
        push = sign * torch.sigmoid(-sign * goodness)
        changes.append(layer.outer(h, push * activity) * (2 / activity.shape[-1]))
        h = to_unit_size(activity)
    return changes


def goodness_of_label(
    h: Tensor, weights: Sequence[Tensor], maps: Sequence[LinearMap] | None = None
) -> Tensor:
    """Goodness, summed over the layers, of inputs that carry a label.

    h is (S, B, n); returned is (S, B).
    """
    score = torch.zeros(h.shape[:-1], device=h.device, dtype=h.dtype)
    for layer, w in zip(_maps(maps, len(weights)), weights, strict=True):
        activity = torch.relu(layer.up(h, w))
        score = score + activity.square().mean(dim=-1)
        h = to_unit_size(activity)
    return score


# --- recurrent networks ---------------------------------------------------------------------------


def at_each_step(a: Tensor, w: Tensor) -> Tensor:
    """Every step times one matrix: (S, B, n, p) and (S, p, q) -> (S, B, n, q)."""
    return (a.flatten(1, 2) @ w).unflatten(1, a.shape[1:3])


def rnn_forward(x: Tensor, h_0: Tensor, w_x: Tensor, w_h: Tensor) -> Tensor:
    """States h_0..h_n, (S, B, n + 1, H), for inputs (S, B, n, D); h_0 is (S, 1, H)."""
    driven = at_each_step(x, w_x)
    states = [h_0.expand(-1, x.shape[1], -1)]
    for i in range(x.shape[2]):
        states.append(torch.tanh(torch.baddbmm(driven[:, :, i], states[-1], w_h)))
    return torch.stack(states, dim=2)


def rnn_errors(
    h: Tensor, xi_y: Tensor, theta_y: Tensor, theta_h: Tensor, clip: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Errors xi^h and delta of the states 1..n, (S, B, n, H) (DLL, eqs. 19 and 20)."""
    from_output = at_each_step(xi_y, theta_y.mT)
    steepness = slope(h[:, :, 1:])
    xi: list[Tensor] = []
    delta = [torch.zeros_like(from_output[:, :, 0])]
    for i in range(from_output.shape[2] - 1, -1, -1):
        error = torch.baddbmm(from_output[:, :, i], delta[-1], theta_h.mT)
        xi.append(error.clamp_(-clip, clip))
        delta.append(error * steepness[:, :, i])
    return torch.stack(xi[::-1], dim=2), torch.stack(delta[:0:-1], dim=2)


def over_time(a: Tensor, b: Tensor) -> Tensor:
    """Sum a^T b over batch and time: (S, B, n, p) and (S, B, n, q) -> (S, p, q)."""
    return a.flatten(1, 2).mT @ b.flatten(1, 2)


# --- what every comparison needs ------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Images on a device, ready to train on."""

    name: str
    train_x: Tensor  # (N, D)
    target: Tensor  # (N, classes), smoothed
    validation_x: Tensor
    validation_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    shape: tuple[int, ...]  # (C, H, W) of one image


def load_task(
    name: str, smoothing: float, place: torch.device, standardise: Standardise = "channel"
) -> Task:
    """Read a set of images, smooth its labels and put it on the device.

    Parameters
    ----------
    name : a set or a path, as :func:`helpers.data.images` takes it
    smoothing : weight of the uniform distribution in the targets
    standardise : as in :func:`helpers.data.images`
    """
    images = data.images(name, standardise=standardise)
    classes = len(images.classes)
    one_hot = F.one_hot(torch.from_numpy(images.train_y), classes).float()
    arrays = {
        name: torch.from_numpy(getattr(images, name)).to(place)
        for name in ("train_x", "validation_x", "validation_y", "test_x", "test_y")
    }
    target = ((1 - smoothing) * one_hot + smoothing / classes).to(place)
    return Task(images.name, target=target, classes=classes, shape=images.shape, **arrays)


def start(shape: tuple[int, int], sd: float | None, sources: list[torch.Generator]) -> Tensor:
    """Normal weights, one slice per seed, with a given or a fan-in scaled deviation."""
    return draw(shape, 1 / math.sqrt(shape[0]) if sd is None else sd, sources)


def flat_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine between two arrays, slice by slice of the seed axis."""
    return F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


class Adam:
    """Adam (Kingma and Ba 2015) that climbs, with a learning rate for every replica.

    PyTorch's own takes one rate for a whole tensor. With one per replica, a search over learning
    rates trains side by side like the seeds do.

    Parameters
    ----------
    tensors : (S, ...) each; they are changed in place
    rates : one per tensor: a number, or a tensor of shape (S,)
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        rates: Sequence[float | Tensor],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.tensors, self.betas, self.eps, self.done = list(tensors), betas, eps, 0
        self.rates = [
            r.to(t).reshape(-1, *[1] * (t.dim() - 1)) if isinstance(r, Tensor) else r
            for r, t in zip(rates, self.tensors, strict=True)
        ]
        self.mean = [torch.zeros_like(t) for t in self.tensors]
        self.square = [torch.zeros_like(t) for t in self.tensors]

    def step(self, updates: Sequence[Tensor], scale: float = 1.0) -> None:
        """Climb in the direction of the updates, at ``scale`` times the learning rates."""
        self.done += 1
        first, second = (1 - beta**self.done for beta in self.betas)
        for t, update, rate, mean, square in zip(
            self.tensors, updates, self.rates, self.mean, self.square, strict=True
        ):
            mean.lerp_(update, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(update, update, value=1 - self.betas[1])
            ratio = mean / square.sqrt().div_(math.sqrt(second)).add_(self.eps)
            t.add_(ratio * (rate * (scale / first)))

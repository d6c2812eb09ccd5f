"""Equivalences and properties of the chapter's rules, on the notebook's own definitions.

What the notebook takes from ``helpers.learning_rules`` is tested in test_learning_rules.py; spikes,
recurrent networks, the audit and the comparison with brains have files of their own (test_bio_*).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from biologically_plausible import CPU, definitions, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.execution import RunFailed, check_parameters
from helpers.execution import run as execute
from helpers.learning_rules import Task, top_error
from helpers.project import UsageError

# name -> class, settings, unit of the learning rate
ARMS: dict[str, tuple[str, dict[str, Any], float]] = {
    "backprop": ("Backprop", {}, 1.0),
    "softhebb": ("Hebbian", {"passes": 2}, 3.0),
    "sanger": ("Hebbian", {"update": "sanger", "passes": 2}, 1.0),
    "oja": ("Hebbian", {"update": "oja", "passes": 2}, 1.0),
    "stdp": ("SpikeTiming", {"neurons": 30, "passes": 6, "steps": 30}, 0.02),
    "rewarded stdp": ("RewardedSpikeTiming", {"per_class": 10, "passes": 6, "steps": 30}, 0.02),
    "feedback alignment": ("FeedbackAlignment", {}, 1.0),
    "direct": ("DirectFeedback", {}, 1.0),
    "signs, equal": ("SignSymmetric", {}, 1.0),
    "signs, redrawn": ("SignSymmetric", {"sizes": "redrawn"}, 1.0),
    "signs, fixed": ("SignSymmetric", {"sizes": "fixed"}, 1.0),
    "dendritic": ("DendriticLocalized", {}, 1.0),
    "targets": ("DifferenceTargets", {}, 1.0),
    "predictive": ("PredictiveCoding", {"steps": 6}, 1.0),
    "predictive, fixed": ("PredictiveCoding", {"steps": 6, "fixed": True}, 1.0),
    "forward-forward": ("ForwardForward", {}, 1.0),
    "node perturbation": ("NodePerturbation", {}, 1.0),
    "weight perturbation": ("WeightPerturbation", {}, 1.0),
    "local, pred": ("LocalLosses", {}, 1.0),
    "local, sim": ("LocalLosses", {"mix": 1.0}, 1.0),
    "local, predsim": ("LocalLosses", {"mix": 0.99}, 1.0),
    "equilibrium": ("EquilibriumPropagation", {}, 1.0),
    "equilibrium, one-sided": ("EquilibriumPropagation", {"nudging": "one-sided"}, 1.0),
    "equilibrium, random sign": ("EquilibriumPropagation", {"nudging": "random-sign"}, 1.0),
    "equilibrium, frozen": ("EquilibriumPropagation", {"train_hidden": False}, 1.0),
    "random features": ("Hebbian", {"update": "none"}, 1.0),
    "frozen": ("FrozenHidden", {}, 1.0),
    "pixels": ("Pixels", {}, 1.0),
}
LABEL_FREE = ["softhebb", "sanger", "oja", "stdp", "random features"]
DENSE_ONLY = ["stdp", "rewarded stdp", "pixels"]
FORMS = [
    (name, form)
    for name in ARMS
    for form in ("dense", "conv")
    if form == "dense" or name not in DENSE_ONLY
]
WITH_FEEDBACK = [
    "Backprop", "FeedbackAlignment", "SignSymmetric", "DirectFeedback", "DendriticLocalized",
    "DifferenceTargets", "PredictiveCoding", "LocalLosses", "EquilibriumPropagation",
]  # fmt: skip
KINDS = ["conv 3 3 2 1", "conv 4 2 1 0"]
IMAGE = (2, 7, 6)
both = pytest.mark.parametrize("form", ["dense", "conv"])

seeds = st.integers(0, 10_000)
few = settings(max_examples=10, deadline=None)


@pytest.fixture(scope="module")
def bio() -> Any:
    return definitions()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of a few numbers are slower on more
    yield
    torch.set_num_threads(before)


def network(bio: Any, form: str = "dense", replicas: Sequence[int] = (0, 1)) -> Any:
    """8 - 7 - 6 - 4 units, or two convolutions and two dense layers."""
    if form == "dense":
        maps = bio.layers_of([], (8,), [7, 6], 4)
    else:
        maps = bio.layers_of(KINDS, IMAGE, [6], 4)
    return bio.Network(maps, tuple(replicas), CPU)


def example(net: Any, seed: int = 6, count: int = 5) -> tuple[Tensor, Tensor]:
    """Inputs and one-hot targets, other ones for every replica."""
    replicas = len(net.seeds)
    x = normal(replicas, count, net.maps[0].inputs, seed=seed)
    labels = (torch.arange(count) + torch.arange(replicas)[:, None]) % net.maps[-1].outputs
    return x, F.one_hot(labels, net.maps[-1].outputs).double()


def linear(form: str, i: int, h: Tensor, w: Tensor) -> Tensor:
    """Layer i of :func:`network`, by PyTorch's functions, replica by replica."""
    if form == "dense" or i >= len(KINDS):
        return torch.stack([a @ b for a, b in zip(h, w, strict=True)])
    image = [IMAGE, (3, 4, 3)][i]
    stride, pad = (int(number) for number in KINDS[i].split()[3:])
    rows = zip(h.unflatten(-1, image), w, strict=True)
    return torch.stack([F.conv2d(a, b, None, stride, pad) for a, b in rows]).flatten(2)


def climb(loss: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The updates of gradient descent, by autograd."""
    return [-g for g in torch.autograd.grad(loss, list(tensors))]


def leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


def backprop_by_autograd(form: str, weights: Sequence[Tensor], x: Tensor, t: Tensor) -> list:
    w = leaves(weights)
    h = x
    for i, layer in enumerate(w):
        h = linear(form, i, h, layer)
        h = h if i == len(w) - 1 else torch.tanh(h)
    flat = h.flatten(0, 1)
    return climb(F.cross_entropy(flat, t.flatten(0, 1), reduction="sum"), w)


def assert_all_close(ours: Sequence[Tensor], theirs: Sequence[Tensor], tol: float = 1e-10) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tol, atol=tol)


def assert_all_equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def rewind(rule: Any) -> list[Tensor]:
    """States of the rule's noise, to draw the same again."""
    return [g.get_state() for g in rule.noise]


def again(rule: Any, states: list[Tensor]) -> None:
    for g, state in zip(rule.noise, states, strict=True):
        g.set_state(state)


convolutions = st.tuples(
    st.integers(1, 3),  # channels below
    st.integers(3, 8),
    st.integers(3, 8),
    st.integers(1, 3),  # channels
    st.integers(1, 4),  # size
    st.integers(1, 4),  # stride
    st.integers(0, 2),  # padding
)


class TestConvolution:
    def layer(self, bio: Any, numbers: tuple[int, ...]) -> Any:
        channels, high, wide, *rest = numbers
        assume(min(high, wide) + 2 * rest[3] >= rest[1])
        return bio.Convolution((channels, high, wide), *rest)

    def tensors(self, layer: Any, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        h = normal(2, 3, layer.inputs, seed=seed)
        w = normal(2, *layer.shape, seed=seed + 1)
        return h, w, normal(2, 3, layer.outputs, seed=seed + 2)

    @settings(max_examples=40, deadline=None)
    @given(convolutions, seeds)
    def test_down_and_outer_are_the_adjoints_of_up(
        self, bio: Any, numbers: tuple[int, ...], seed: int
    ) -> None:
        layer = self.layer(bio, numbers)
        h, w, d = self.tensors(layer, seed)
        z, below, update = layer.up(h, w), layer.down(d, w), layer.outer(h, d)
        assert (z.shape, below.shape, update.shape) == (d.shape, h.shape, w.shape)
        for replica in range(2):
            inner = (z[replica] * d[replica]).sum()
            torch.testing.assert_close((h[replica] * below[replica]).sum(), inner)
            torch.testing.assert_close((w[replica] * update[replica]).sum(), inner)

    @settings(max_examples=25, deadline=None)
    @given(convolutions, seeds)
    def test_every_replica_is_pytorchs_convolution(
        self, bio: Any, numbers: tuple[int, ...], seed: int
    ) -> None:
        layer = self.layer(bio, numbers)
        h, w, d = self.tensors(layer, seed)
        h, w = leaves([h, w])
        images = h.unflatten(-1, layer.image)
        z = torch.stack(
            [F.conv2d(a, b, None, numbers[5], numbers[6]) for a, b in zip(images, w, strict=True)]
        ).flatten(2)
        torch.testing.assert_close(layer.up(h, w), z)
        grad_h, grad_w = torch.autograd.grad((z * d).sum(), [h, w])
        with torch.no_grad():
            torch.testing.assert_close(layer.down(d, w), grad_h)
            torch.testing.assert_close(layer.outer(h, d), grad_w)

    @few
    @given(convolutions, seeds)
    def test_written_out_it_is_a_dense_layer(
        self, bio: Any, numbers: tuple[int, ...], seed: int
    ) -> None:
        layer = self.layer(bio, numbers)
        h, w, d = self.tensors(layer, seed)
        (dense,), (matrix,) = bio.written_out([layer], [w])
        assert isinstance(dense, bio.FullyConnected)
        assert matrix.shape == (2, dense.inputs, dense.outputs)
        torch.testing.assert_close(dense.up(h, matrix), layer.up(h, w))
        torch.testing.assert_close(dense.down(d, matrix), layer.down(d, w))

    def test_only_small_convolutions_are_written_out(self, bio: Any) -> None:
        maps = network(bio, "conv").maps
        w = [normal(1, *layer.shape, seed=i) for i, layer in enumerate(maps)]
        limit = maps[1].inputs * maps[1].outputs  # 36 · 24; the first layer is 84 · 36
        layers, matrices = bio.written_out(maps, w, limit=limit)
        assert layers[0] is maps[0]
        assert isinstance(layers[1], bio.FullyConnected)
        assert layers[2:] == list(maps[2:])
        assert [a is b for a, b in zip(matrices, w, strict=True)] == [True, False, True, True]

    @few
    @given(convolutions, seeds)
    def test_patches_times_the_matrix_of_weights_is_up(
        self, bio: Any, numbers: tuple[int, ...], seed: int
    ) -> None:
        layer = self.layer(bio, numbers)
        h, w, _ = self.tensors(layer, seed)
        matrix = layer.to_matrix(w)
        assert torch.equal(layer.from_matrix(matrix), w)
        z = (layer.patches(h) @ matrix).unflatten(1, (3, -1))  # (S, B, positions, O)
        torch.testing.assert_close(z.mT.flatten(2), layer.up(h, w))

    @both
    def test_a_label_is_seen_beside_the_input(self, bio: Any, form: str) -> None:
        layer = network(bio, form).maps[0]
        wide = layer.widen(4)
        x, label = normal(2, 3, layer.inputs, seed=1), normal(2, 3, 4, seed=2)
        joined = wide.with_label(x, label)
        assert joined.shape[-1] == wide.inputs
        assert wide.outputs == layer.outputs
        if form == "dense":
            assert torch.equal(joined, torch.cat([x, label], dim=-1))
        else:
            planes = joined.unflatten(-1, (6, *IMAGE[1:]))
            assert torch.equal(planes[:, :, :2].flatten(2), x)
            assert torch.equal(planes[:, :, 2:], label[..., None, None].expand(-1, -1, -1, 7, 6))

    def test_a_kernel_larger_than_the_image_is_refused(self, bio: Any) -> None:
        with pytest.raises(UsageError, match=r"5 × 5 kernel does not fit .*\(1, 2, 9\)"):
            bio.Convolution((1, 2, 9), channels=2, size=5, stride=1, pad=1)
        bio.Convolution((1, 3, 9), channels=2, size=5, stride=1, pad=1)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "flatten 3 3 2 1",
            "conv 3 3 2",
            "conv 3 3 2 1 1",
            "conv 3 3 2 -1",
            "conv 3 3 2 x",
            "conv 0 3 2 1",
            "conv 3 0 2 1",
            "conv 3 3 0 1",
        ],
    )
    def test_an_unknown_layer_is_named_and_the_format_told(self, bio: Any, text: str) -> None:
        with pytest.raises(UsageError, match="channels, the size, the stride and the padding") as e:
            bio.layers_of(["conv 3 3 2 1", text], IMAGE, [], 4)
        assert repr(text) in str(e.value)

    @both
    def test_layers_fit_each_other(self, bio: Any, form: str) -> None:
        maps = network(bio, form).maps
        sizes = [8, 7, 6, 4] if form == "dense" else [84, 36, 24, 6, 4]
        assert [layer.inputs for layer in maps] == sizes[:-1]
        assert [layer.outputs for layer in maps] == sizes[1:]


class TestBackpropagation:
    @both
    @few
    @given(seed=seeds)
    def test_is_autograds_gradient(self, bio: Any, form: str, seed: int) -> None:
        rule = bio.double(bio.Backprop(network(bio, form, (seed, seed + 1))))
        x, t = example(rule.net, seed)
        expected = backprop_by_autograd(form, rule.w, x, t)
        assert_all_close(rule.changes(x, t), expected)
        assert_all_close(bio.gradient(rule, x, t), expected)

    def test_the_gradient_leaves_the_weights_as_they_were(self, bio: Any) -> None:
        rule = bio.double(bio.Backprop(network(bio)))
        held = list(rule.w)
        bio.gradient(rule, *example(rule.net))
        assert all(a is b for a, b in zip(rule.w, held, strict=True))
        assert not any(w.requires_grad for w in rule.w)

    def test_the_gradient_of_weights_without_use_is_zero(self, bio: Any) -> None:
        rule = bio.SpikeTiming(network(bio), steps=12)  # a spike has no slope
        x, t = (a.float() for a in example(rule.net))
        hidden, top = bio.gradient(rule, x, t)
        assert (hidden.shape, hidden.any()) == (rule.w[0].shape, False)
        assert_all_close([top], rule.changes(rule.encode(x), t), 1e-6)

    def test_relative_gaps_are_errors_of_each_layer_and_replica(self, bio: Any) -> None:
        rule = bio.double(bio.Backprop(network(bio)))
        x, t = example(rule.net)
        true = rule.changes(x, t)
        scales = torch.tensor([1.5, -1.0]).view(2, 1, 1)
        rule.changes = lambda x, t: [true[0] * scales, true[1], true[2] * 0]
        gaps = bio.relative_gaps(rule, x, t)
        for gap, expected in zip(gaps, ([0.5, 2.0], [0.0, 0.0], [1.0, 1.0]), strict=True):
            torch.testing.assert_close(gap, torch.tensor(expected).double(), rtol=0, atol=1e-9)

    @both
    def test_frozen_hidden_layers_get_no_update(self, bio: Any, form: str) -> None:
        net = network(bio, form)
        frozen, backprop = bio.double(bio.FrozenHidden(net)), bio.double(bio.Backprop(net))
        x, t = example(net)
        assert len(frozen.learned) == 1
        assert_all_close(frozen.changes(frozen.encode(x), t), backprop.changes(x, t)[-1:])
        assert torch.equal(frozen.outputs(x), backprop.outputs(x))
        hidden = frozen.hidden_updates(x, t)
        assert [u.shape for u in hidden] == [w.shape for w in frozen.w[:-1]]
        assert not any(u.any() for u in hidden)

    def test_a_misspelt_setting_is_refused(self, bio: Any) -> None:
        with pytest.raises(AttributeError, match="betta"):
            bio.EquilibriumPropagation(network(bio), betta=0.1)

    def test_all_start_from_the_same_forward_weights(self, bio: Any) -> None:
        net = network(bio)
        expected = bio.Backprop(net).w
        for name in (
            "FeedbackAlignment", "SignSymmetric", "DirectFeedback", "DendriticLocalized",
            "DifferenceTargets", "PredictiveCoding", "WeightPerturbation", "NodePerturbation",
            "LocalLosses", "FrozenHidden",
        ):  # fmt: skip
            assert_all_equal(getattr(bio, name)(net).w, expected)
        halved = bio.EquilibriumPropagation(net)
        assert_all_equal([w / halved.shrink for w in halved.w], expected)
        assert torch.equal(bio.Hebbian(net).w[0], expected[0])


class TestShuffledFeedback:
    @both
    def test_permutes_the_receiving_units_only(self, bio: Any, form: str) -> None:
        rule = bio.FeedbackAlignment(network(bio, form), shuffled=True)
        shuffled = rule.back(rule.b)
        assert shuffled[0] is None
        for layer, b, moved in zip(rule.maps[1:], rule.b[1:], shuffled[1:], strict=True):
            # units below: channels of a convolution, inputs of a dense layer
            axis = 2 if isinstance(layer, bio.Convolution) else 1
            for one, other in zip(b.transpose(1, axis), moved.transpose(1, axis), strict=True):
                rows, found = (a.flatten(1).tolist() for a in (one, other))
                assert sorted(rows) == sorted(found)
            assert not torch.equal(b, moved)

    def test_direct_feedback_reaches_other_units_of_the_same_layer(self, bio: Any) -> None:
        net = network(bio)
        x, t = example(net)
        right, wrong = (
            # near zero all slopes are 1, so units differ in nothing but the error they are sent
            bio.double(bio.DirectFeedback(net, shuffled=flag)).changes(1e-7 * x, t)[0]
            for flag in (False, True)
        )
        for sent, arrived in zip(right, wrong, strict=True):
            order = [u[:, u[0].argsort()] for u in (sent, arrived)]
            torch.testing.assert_close(*order, rtol=1e-6, atol=1e-16)
            assert not torch.allclose(sent, arrived, rtol=1e-3, atol=0)

    def test_replicas_and_steps_have_permutations_of_their_own(self, bio: Any) -> None:
        rule = bio.Backprop(network(bio), shuffled=True)
        ladder = torch.arange(40.0).view(1, 40, 1).expand(2, -1, -1)
        first, second = (rule._shuffle(ladder, 1).squeeze(-1) for _ in range(2))
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first, second)
        assert torch.equal(first.sort(dim=1).values, ladder.squeeze(-1))

    @pytest.mark.parametrize("name", WITH_FEEDBACK)
    @both
    def test_changes_the_hidden_updates_in_every_step(self, bio: Any, name: str, form: str) -> None:
        net = network(bio, form)
        x, t = (a.float() for a in example(net))
        if name == "EquilibriumPropagation":
            x = x.abs()
        right, wrong = (getattr(bio, name)(net, shuffled=shuffled) for shuffled in (False, True))
        steps = [rule.changes(x, t) for rule in (right, wrong, wrong)]
        for i in range(len(net.maps) - 1):
            for one, other in itertools.combinations(steps, 2):
                assert not torch.allclose(one[i], other[i], rtol=1e-3, atol=1e-6)
        if name not in ("PredictiveCoding", "EquilibriumPropagation"):  # whose activities move
            top = len(net.maps) - 1
            torch.testing.assert_close(steps[1][top], steps[0][top])

    def test_the_way_up_is_left_alone(self, bio: Any) -> None:
        net = network(bio)
        x, _ = example(net)
        for name in WITH_FEEDBACK:
            right, wrong = (getattr(bio, name)(net, shuffled=flag) for flag in (False, True))
            assert torch.equal(right.outputs(x.float()), wrong.outputs(x.float()))


def coloured(count: int = 150) -> tuple[Tensor, Tensor]:
    """Inputs (2, N, 5) whose covariance has the eigenvalues 4, 2, 1, 0.5, 0.25; and its basis."""
    axes = torch.linalg.qr(normal(2, 5, 5, seed=1))[0]
    sizes = torch.tensor([4, 2, 1, 0.5, 0.25]).double().sqrt()
    white = torch.linalg.qr(normal(2, count, 5, seed=2))[0] * math.sqrt(count)
    return white * sizes @ axes.mT, axes


class TestHebbian:
    @few
    @given(seeds)
    def test_updates_are_the_rules_unit_by_unit(self, bio: Any, seed: int) -> None:
        x, w = normal(2, 6, 5, seed=seed), normal(2, 5, 4, seed=seed + 1)
        expected = {name: torch.zeros_like(w) for name in ("hebb", "oja", "sanger")}
        for s, b, k in itertools.product(range(2), range(6), range(4)):
            y = x[s, b] @ w[s]
            explained = sum(y[j] * w[s, :, j] for j in range(k + 1))
            expected["hebb"][s, :, k] += y[k] * x[s, b] / 6
            expected["oja"][s, :, k] += y[k] * (x[s, b] - y[k] * w[s, :, k]) / 6
            expected["sanger"][s, :, k] += y[k] * (x[s, b] - explained) / 6
        for name, update in expected.items():
            torch.testing.assert_close(getattr(bio, f"{name}_update")(x, w), update)

    def learn(self, bio: Any, update: Any, units: int, passes: int = 400) -> Tensor:
        x, _ = coloured()
        w = normal(2, 5, units, seed=3, sd=0.3)
        return bio.hebbian_weights(x, w, [0, 1], update, batch=150, passes=passes, rate=0.1)

    def test_oja_finds_the_first_component_at_length_one(self, bio: Any) -> None:
        w = self.learn(bio, bio.oja_update, units=3)
        torch.testing.assert_close(w.norm(dim=1), torch.ones(2, 3).double(), rtol=0, atol=1e-6)
        first = coloured()[1][:, :, :1]
        overlap = (first.mT @ w).abs()
        torch.testing.assert_close(overlap, torch.ones(2, 1, 3).double(), rtol=0, atol=1e-6)

    def test_sanger_finds_all_components_in_order(self, bio: Any) -> None:
        w = self.learn(bio, bio.sanger_update, units=5, passes=1500)
        eye = torch.eye(5).double().expand(2, -1, -1)
        torch.testing.assert_close(w.mT @ w, eye, rtol=0, atol=1e-3)
        torch.testing.assert_close((coloured()[1].mT @ w).abs(), eye, rtol=0, atol=1e-3)

    def test_plain_hebb_grows_without_bound(self, bio: Any) -> None:
        sizes = [float(self.learn(bio, bio.hebb_update, 1, n).norm()) for n in (20, 80, 320)]
        assert sizes[0] > 1
        assert sizes[1] > 100 * sizes[0]
        assert sizes[2] > 1e6 * sizes[1]

    def test_the_rate_falls_linearly_to_zero(self, bio: Any) -> None:
        x, _ = coloured(60)
        w = torch.zeros(2, 5, 1).double()
        one = torch.ones_like(w)
        learned = bio.hebbian_weights(x, w, [0, 1], lambda x, w: one, batch=20, passes=4, rate=0.1)
        torch.testing.assert_close(learned, 0.1 * 3 * (1 + 0.75 + 0.5 + 0.25) * one)
        assert not w.any()

    def test_each_replica_has_its_own_order_and_rate(self, bio: Any) -> None:
        x, _ = coloured(60)
        x[1] = x[0]
        w = normal(1, 5, 3, seed=3).expand(2, -1, -1)
        rates = torch.tensor([0.1, 0.02]).double().view(2, 1, 1)
        settings = {"batch": 16, "passes": 2}
        both = bio.hebbian_weights(x, w, [4, 7], bio.sanger_update, rate=rates, **settings)
        for i, seed in enumerate([4, 7]):
            alone = bio.hebbian_weights(
                x[i : i + 1], w[:1], [seed], bio.sanger_update, rate=float(rates[i]), **settings
            )
            torch.testing.assert_close(both[i : i + 1], alone)
        same = bio.hebbian_weights(x, w, [4, 7], bio.sanger_update, rate=0.1, **settings)
        assert not torch.allclose(same[0], same[1])

    def test_scrambled_inputs_keep_every_marginal_and_lose_the_rest(self, bio: Any) -> None:
        rule = bio.Hebbian(network(bio), shuffled_inputs=True)
        latent = normal(2, 400, 1, seed=5)
        x = latent * torch.linspace(1, 2, 8).double()  # every pair of pixels correlates
        scrambled = rule.scramble(x)
        assert torch.equal(scrambled.sort(dim=1).values, x.sort(dim=1).values)
        for replica in scrambled:
            overlap = torch.corrcoef(replica.mT) - torch.eye(8).double()
            assert float(overlap.abs().max()) < 0.3  # six standard errors
        assert not torch.equal(scrambled[0].argsort(dim=0), scrambled[1].argsort(dim=0))

    def test_scrambling_is_what_the_control_learns_from(self, bio: Any) -> None:
        net = network(bio)
        task = small_task()
        x = normal(60, 1, seed=5).float() * torch.ones(8)
        x = x + 0.1 * normal(60, 8, seed=6).float()

        def first_component(scrambled: bool) -> Tensor:
            rule = bio.Hebbian(net, update="oja", passes=120, shuffled_inputs=scrambled)
            rule.prepare(task, x, torch.full((2,), 0.05))
            return (rule.w[0] / rule.w[0].norm(dim=1, keepdim=True)).sum(dim=1).abs() / 8**0.5

        assert float(first_component(False).min()) > 0.99
        assert float(first_component(True).mean()) < 0.8

    def test_units_beyond_the_number_of_components_are_silent(self, bio: Any) -> None:
        maps = bio.layers_of([], (3,), [5], 4)
        rule = bio.Hebbian(bio.Network(maps, (0, 1), CPU), update="sanger", passes=1)
        rule.prepare(small_task(), normal(40, 3, seed=1).float(), torch.full((2,), 0.01))
        assert not rule.w[0][:, :, 3:].any()
        assert rule.w[0][:, :, :3].all()

    def test_a_dense_network_has_one_hidden_layer_under_a_read_out(self, bio: Any) -> None:
        rule = bio.Hebbian(network(bio))
        assert [w.shape for w in rule.w] == [(2, 8, 7), (2, 7, 4)]
        assert len(rule.learned) == 1
        assert rule.learned[0] is rule.w[1]

    def test_convolutions_learn_one_on_the_other(self, bio: Any) -> None:
        net, task = network(bio, "conv"), small_task()
        images = normal(30, 84, seed=1).float()
        one, other = (bio.Hebbian(net, passes=2) for _ in range(2))
        dense = one.w[2:]
        one.prepare(task, images, torch.full((2,), 0.1))
        assert all(a is b for a, b in zip(one.w[3:], dense[1:], strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(one.w[:3], other.w[:3], strict=True))
        # the second layer learns from what the first one came to see
        h = torch.relu(one.maps[0].up(one.expand(images), one.w[0]))
        rates = torch.full((2, 1, 1), 0.1)
        matrix = one.maps[1].to_matrix(other.w[1])
        learned = one.learn(one.maps[1].patches(h), matrix, rates)
        torch.testing.assert_close(one.w[1], one.maps[1].from_matrix(learned))

    def test_pixels_are_a_linear_classifier(self, bio: Any) -> None:
        rule = bio.double(bio.Pixels(network(bio, "conv")))
        x, t = example(rule.net)
        (w,) = rule.w
        assert w.shape == (2, 84, 4)
        assert torch.equal(rule.outputs(x), x @ w)
        assert rule.features(x) == []
        assert rule.hidden_updates(x, t) == []
        assert_all_close(rule.changes(x, t), [x.mT @ (t - torch.softmax(x @ w, -1))])


class TestFeedback:
    @few
    @given(seeds)
    def test_direct_feedback_is_feedback_alignment_with_one_hidden_layer(
        self, bio: Any, seed: int
    ) -> None:
        net = bio.Network(bio.layers_of([], (6,), [5], 3), (seed, seed + 1), CPU)
        fa, dfa = bio.double(bio.FeedbackAlignment(net)), bio.double(bio.DirectFeedback(net))
        x, t = example(net, seed)
        assert not torch.allclose(fa.changes(x, t)[0], dfa.changes(x, t)[0])
        dfa.d = [None, fa.b[1].mT]
        assert_all_close(fa.changes(x, t), dfa.changes(x, t), 1e-14)

    @both
    def test_with_tied_feedback_alignment_is_backpropagation(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.FeedbackAlignment(network(bio, form)))
        x, t = example(rule.net)
        expected = backprop_by_autograd(form, rule.w, x, t)
        assert not torch.allclose(rule.changes(x, t)[0], expected[0], rtol=1e-2)
        rule.b = rule.w
        assert_all_close(rule.changes(x, t), expected)

    def test_feedback_is_of_the_size_of_the_weights_and_knows_nothing_of_them(
        self, bio: Any
    ) -> None:
        net = bio.Network(bio.layers_of([], (30,), [40, 50], 20), (0, 1), CPU)
        for name, held in (("FeedbackAlignment", "b"), ("DifferenceTargets", "v")):
            rule = getattr(bio, name)(net)
            feedback = getattr(rule, held)
            assert feedback[0] is None
            for w, b in zip(rule.w[1:], feedback[1:], strict=True):
                assert b.shape == w.shape
                assert bio.flat_cosine(w, b).abs().max() < 0.16  # five standard errors
                torch.testing.assert_close(b.std(), w.std(), rtol=0.1, atol=0)

    def test_direct_feedback_through_the_whole_way_is_backpropagation_near_zero(
        self, bio: Any
    ) -> None:
        """With slopes of 1 the way down is one matrix."""
        rule = bio.double(bio.DirectFeedback(network(bio)))
        x, t = example(rule.net)
        _, w_1, w_2 = rule.w
        rule.d = [None, w_2.mT @ w_1.mT, w_2.mT]
        x = 1e-6 * x
        ours, expected = rule.changes(x, t), backprop_by_autograd("dense", rule.w, x, t)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-16)

    @both
    @few
    @given(seed=seeds)
    def test_equal_signs_do_not_see_the_sizes_of_the_weights(
        self, bio: Any, form: str, seed: int
    ) -> None:
        rule = bio.double(bio.SignSymmetric(network(bio, form)))
        before = rule.feedback()
        for b, layer in zip(before[1:], rule.maps[1:], strict=True):
            torch.testing.assert_close(b.abs(), torch.ones_like(b) / math.sqrt(layer.fan_in))
        rule.w = [w * normal(*w.shape, seed=seed + i).exp() for i, w in enumerate(rule.w)]
        assert_all_equal(rule.feedback()[1:], before[1:])
        rule.w = [-w for w in rule.w]
        assert_all_equal(rule.feedback()[1:], [-b for b in before[1:]])

    @pytest.mark.parametrize("sizes", ["redrawn", "fixed"])
    def test_other_sizes_keep_the_signs(self, bio: Any, sizes: str) -> None:
        rule = bio.SignSymmetric(network(bio), sizes=sizes)
        first, second = rule.feedback(), rule.feedback()
        for i in (1, 2):
            assert torch.equal(first[i].sign(), rule.w[i].sign())
            assert torch.equal(second[i].sign(), rule.w[i].sign())
            assert torch.equal(first[i], second[i]) == (sizes == "fixed")
            assert not torch.equal(first[i][0].abs(), first[i][1].abs())
            assert float(first[i].square().mean() * rule.maps[i].fan_in) == pytest.approx(1, 0.5)

    @both
    def test_dendritic_learning_with_its_feedback_at_rest_is_feedback_alignment(
        self, bio: Any, form: str
    ) -> None:
        net = network(bio, form)
        fa, dll = bio.FeedbackAlignment(net), bio.DendriticLocalized(net)
        x, t = (a.float() for a in example(net))
        assert_all_equal(fa.b[1:], dll.b[1:])
        count = len(net.maps)
        assert_all_equal(dll.changes(x, t)[:count], fa.changes(x, t))
        assert all(a is b for a, b in zip(dll.learned, [*dll.w, *dll.b[1:]], strict=True))
        assert dll.relative == [1.0] * count + [0.1] * (count - 1)

    @both
    def test_dendritic_feedback_learns_to_send_less_of_the_same_error(
        self, bio: Any, form: str
    ) -> None:
        """Equation 9 is minus the gradient of ½‖ξ‖², with the errors above held."""
        rule = bio.double(bio.DendriticLocalized(network(bio, form)))
        x, t = example(rule.net)
        h = rule.forward(x)
        _, delta = bio.local_errors(h, top_error(h[-1], t), rule.b, maps=rule.maps)
        b = leaves(rule.b[1:])
        sent = [m.down(d, w) for m, d, w in zip(rule.maps[1:], delta[2:], b, strict=True)]
        expected = climb(sum(0.5 * xi.square().sum() for xi in sent), b)
        assert_all_close(rule.changes(x, t)[len(rule.w) :], expected)


class TestTargetPropagation:
    def test_with_exact_inverses_a_targets_image_is_the_target_above(self, bio: Any) -> None:
        class Exact(bio.DifferenceTargets):
            def decode(self, i: int, above: Tensor, v: list[Tensor | None]) -> Tensor:
                z = above if i == len(self.w) - 1 else torch.atanh(above)
                return z @ torch.linalg.inv(self.w[i])

        maps = bio.layers_of([], (5,), [5, 5], 5)
        rule = bio.double(Exact(bio.Network(maps, (0, 1), CPU), step=1e-3))
        x, t = example(rule.net)
        h = rule.forward(0.3 * x)
        target = rule.targets(h, t)
        assert target[0] is None
        torch.testing.assert_close(target[3], h[3] + 1e-3 * (t - torch.softmax(h[3], -1)))
        assert (target[1] - h[1]).abs().amax() > 1e-5
        torch.testing.assert_close(torch.tanh(target[1] @ rule.w[1]), target[2])
        torch.testing.assert_close(target[2] @ rule.w[2], target[3])

    @both
    def test_a_perfect_output_leaves_the_activities_as_targets(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.DifferenceTargets(network(bio, form)))
        x, _ = example(rule.net)
        h = rule.forward(x)
        t = torch.softmax(h[-1], dim=-1)
        for target, activity in zip(rule.targets(h, t)[1:], h[1:], strict=True):
            torch.testing.assert_close(target, activity, rtol=0, atol=1e-14)
        for update in rule.changes(x, t)[: len(rule.w)]:
            torch.testing.assert_close(update, torch.zeros_like(update), rtol=0, atol=1e-13)

    @both
    def test_decoders_climb_on_the_error_of_reconstruction(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.DifferenceTargets(network(bio, form), sigma=0.3))
        x, t = example(rule.net)
        h, states = rule.forward(x), rewind(rule)
        ours = rule.changes(x, t)[len(rule.w) :]
        again(rule, states)
        v = leaves(rule.v[1:])
        for i, (decoder, update) in enumerate(zip(v, ours, strict=True), start=1):
            noise = torch.stack([torch.randn(h[i].shape[1:], generator=g) for g in rule.noise])
            noisy = h[i] + 0.3 * noise
            above = linear(form, i, noisy, rule.w[i])
            if i < len(v):
                above = torch.tanh(above)
            rebuilt = torch.tanh(rule.maps[i].down(above, decoder))
            (expected,) = climb(0.5 * (rebuilt - noisy).square().sum(), [decoder])
            torch.testing.assert_close(update, expected, rtol=1e-6, atol=1e-7)

    @both
    def test_layers_move_to_their_targets(self, bio: Any, form: str) -> None:
        """Each layer climbs on minus half its squared distance; the top as in every rule."""
        rule = bio.double(bio.DifferenceTargets(network(bio, form)))
        x, t = example(rule.net)
        h, top = rule.forward(x), len(rule.w)
        target, ours = rule.targets(h, t), rule.changes(x, t)
        for i in range(1, top):
            (w,) = leaves([rule.w[i - 1]])
            activity = torch.tanh(linear(form, i - 1, h[i - 1], w))
            (expected,) = climb(0.5 * (target[i] - activity).square().sum(), [w])
            torch.testing.assert_close(ours[i - 1], expected)
        torch.testing.assert_close(ours[top - 1], backprop_by_autograd(form, rule.w, x, t)[top - 1])

    def test_no_weight_is_transported(self, bio: Any) -> None:
        """After the forward pass, the targets do not read the forward weights."""
        rule = bio.double(bio.DifferenceTargets(network(bio)))
        x, t = example(rule.net)
        h = rule.forward(x)
        before = rule.targets(h, t)
        rule.w = [w + 1 for w in rule.w]
        assert_all_equal(rule.targets(h, t)[1:], before[1:])


def prediction_energy(form: str, w: Sequence[Tensor], v: Sequence[Tensor], t: Tensor) -> Tensor:
    """Equation bio-pc-energy for each replica; v holds the input and the hidden values."""
    energy: Any = 0.0
    for i in range(len(w) - 1):
        gap = v[i + 1] - torch.tanh(linear(form, i, v[i], w[i]))
        energy = energy + 0.5 * gap.square().sum(dim=(1, 2))
    logits = linear(form, len(w) - 1, v[len(w) - 1], w[-1])
    return energy - (t * torch.log_softmax(logits, -1)).sum(dim=(1, 2))


class TestPredictiveCoding:
    @both
    def test_a_step_goes_down_the_energy(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.PredictiveCoding(network(bio, form), rate=0.07))
        x, t = example(rule.net)
        for steps in (0, 3):
            rule.steps = steps
            v = leaves(rule.relax(x, t)[0][:-1])
            downhill = climb(prediction_energy(form, rule.w, v, t).sum(), v[1:])
            rule.steps = steps + 1
            after = rule.relax(x, t)[0]
            assert torch.equal(after[0], x)
            for a, b, d in zip(after[1:-1], v[1:], downhill, strict=True):
                torch.testing.assert_close(a, b + 0.07 * d)

    @both
    @settings(max_examples=4, deadline=None)
    @given(seed=seeds)
    def test_the_energy_never_rises_at_a_small_rate(self, bio: Any, form: str, seed: int) -> None:
        rule = bio.double(bio.PredictiveCoding(network(bio, form, (seed, seed + 1)), rate=0.05))
        x, t = example(rule.net, seed)
        energies = []
        for steps in range(0, 24, 2):
            rule.steps = steps
            energies.append(prediction_energy(form, rule.w, rule.relax(x, t)[0], t))
        falls = torch.stack(energies).diff(dim=0)
        assert float(falls.max()) <= 0
        assert float(falls[0].max()) < -1e-3

    @both
    def test_weights_go_down_the_energy_of_the_values(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.PredictiveCoding(network(bio, form), steps=7))
        x, t = example(rule.net)
        v, w = rule.relax(x, t)[0], leaves(rule.w)
        expected = climb(prediction_energy(form, w, v, t).sum(), w)
        assert_all_close(rule.changes(x, t), expected)

    @both
    def test_fixed_predictions_settle_at_backpropagation(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.PredictiveCoding(network(bio, form), fixed=True))
        x, t = example(rule.net)
        expected = backprop_by_autograd(form, rule.w, x, t)
        gaps = []
        for rule.steps in (20, 100, 500):
            changes = rule.changes(x, t)
            gaps.append(float((changes[0] - expected[0]).norm() / expected[0].norm()))
        assert gaps[0] > 0.05 > gaps[1] > 1e-6
        assert_all_close(changes, expected, 1e-9)

    @pytest.mark.parametrize("fixed", [False, True])
    def test_one_step_leaves_the_lowest_update_at_zero(self, bio: Any, fixed: bool) -> None:
        rule = bio.PredictiveCoding(network(bio), fixed=fixed, steps=1)
        x, t = (a.float() for a in example(rule.net))
        lowest, *others = rule.changes(x, t)
        assert not lowest.any()
        assert all(update.any() for update in others)
        rule.steps = 2
        assert rule.changes(x, t)[0].any()

    @pytest.mark.parametrize("fixed", [False, True])
    @both
    def test_no_error_no_update(self, bio: Any, fixed: bool, form: str) -> None:
        rule = bio.double(bio.PredictiveCoding(network(bio, form), fixed=fixed))
        x, _ = example(rule.net)
        for update in rule.changes(x, torch.softmax(rule.outputs(x), dim=-1)):
            torch.testing.assert_close(update, torch.zeros_like(update), rtol=0, atol=1e-12)


class TestForwardForward:
    @both
    def test_a_layer_does_not_notice_the_one_above(self, bio: Any, form: str) -> None:
        rule = bio.ForwardForward(network(bio, form))
        x, t = (a.float() for a in example(rule.net))
        states = rewind(rule)
        first, second, *_ = rule.changes(x, t)
        again(rule, states)
        rule.w = [rule.w[0], rule.w[1] + 1, *rule.w[2:]]
        changed = rule.changes(x, t)
        assert torch.equal(changed[0], first)
        assert not torch.allclose(changed[1], second)

    @both
    def test_it_is_the_gradient_of_each_layers_own_objective(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.ForwardForward(network(bio, form)))
        x, t = example(rule.net)
        states = rewind(rule)
        ours = rule.changes(x, t)
        again(rule, states)
        h, sign = rule.pairs(x, t)
        w = leaves(rule.w)
        objective: Any = 0.0
        for layer, weight in zip(rule.maps, w, strict=True):
            activity = torch.relu(layer.up(h, weight))
            goodness = activity.square().mean(dim=-1)
            objective = objective + F.logsigmoid(sign.squeeze(-1) * (goodness - 1)).sum()
            h = bio.to_unit_size(activity.detach())
        assert_all_close(ours, climb(-objective, w))

    def test_wrong_labels_are_never_the_true_one_and_may_be_any_other(self, bio: Any) -> None:
        rule = bio.ForwardForward(network(bio))
        x, t = (a.float() for a in example(rule.net, count=200))
        h, sign = rule.pairs(x, t)
        assert h.shape == (2, 400, 12)
        torch.testing.assert_close(h.square().mean(dim=-1), torch.ones(2, 400))
        true, wrong = h[:, :200], h[:, 200:]
        assert torch.equal(sign, torch.cat([torch.ones(200, 1), -torch.ones(200, 1)]))
        label, other = (part[..., 8:] for part in (true, wrong))
        assert ((label > 0).sum(dim=-1) == 1).all()
        assert ((other > 0).sum(dim=-1) == 1).all()
        assert torch.equal((label > 0).float(), t)
        assert not ((other > 0) & (t > 0)).any()
        assert {tuple(pair) for pair in torch.stack(
            [t.argmax(-1).flatten(), (other > 0).int().argmax(-1).flatten()], dim=1
        ).tolist()} == set(itertools.permutations(range(4), 2))  # fmt: skip
        # the image is the same in both, and so is the size of the label
        torch.testing.assert_close(true[..., :8], wrong[..., :8])
        ratio = label.amax(dim=-1, keepdim=True) / true[..., :8]
        torch.testing.assert_close(ratio, rule.label_size / x)

    @both
    def test_the_class_with_the_most_goodness_wins(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.ForwardForward(network(bio, form)))
        x, _ = example(rule.net)
        scores = rule.outputs(x)
        assert scores.shape == (2, 5, 4)
        for c in range(4):
            code = F.one_hot(torch.full((2, 5), c), 4).double()
            h, total = rule.labelled(x, code), 0.0
            for layer, w in zip(rule.maps, rule.w, strict=True):
                h = torch.relu(layer.up(h, w))
                total = total + h.square().mean(dim=-1)
                h = bio.to_unit_size(h)
            torch.testing.assert_close(scores[..., c], total)

    def test_features_are_those_of_a_label_that_favours_no_class(self, bio: Any) -> None:
        rule = bio.ForwardForward(network(bio))
        x, _ = example(rule.net)
        first, second = rule.features(x.float())
        assert (first.shape, second.shape) == ((2, 5, 7), (2, 5, 6))
        order = [2, 0, 3, 1]
        rule.w[0][:, 8:] = rule.w[0][:, 8:][:, order]
        for a, b in zip(rule.features(x.float()), (first, second), strict=True):
            torch.testing.assert_close(a, b)


class TestPerturbation:
    def estimates(self, bio: Any, name: str, rounds: int = 10) -> tuple[Tensor, Tensor]:
        """Many estimates (N, weights) of one gradient, (weights,): one network per seed."""
        net = network(bio, replicas=range(400))
        rule = bio.double(getattr(bio, name)(net, sigma=1e-5))
        rule.w = [w[:1].expand(400, -1, -1).clone() for w in rule.w]
        x, t = (a[:1].expand(400, -1, -1) for a in example(net))
        found = [
            torch.cat([c.flatten(1) for c in rule.changes(x, t)], dim=1) for _ in range(rounds)
        ]
        true = backprop_by_autograd("dense", [w[:1] for w in rule.w], x[:1], t[:1])
        return torch.cat(found), torch.cat([g.flatten() for g in true])

    @pytest.mark.parametrize("name", ["NodePerturbation", "WeightPerturbation"])
    def test_the_mean_of_many_estimates_is_the_gradient(self, bio: Any, name: str) -> None:
        found, true = self.estimates(bio, name)
        error = found.std(dim=0) / math.sqrt(len(found))
        z = (found.mean(dim=0) - true) / error
        assert float(z.abs().max()) < 5
        assert float(z.square().mean()) < 1.5  # 1 on average
        assert float((true / error).norm()) > 40  # the same gradient as 0 would stand out

    def test_nodes_vary_less_than_weights(self, bio: Any) -> None:
        node, weight = (
            self.estimates(bio, name, rounds=2)[0].var(dim=0).sum()
            for name in ("NodePerturbation", "WeightPerturbation")
        )
        assert float(weight) > 1.5 * float(node)

    @both
    def test_weights_follow_the_slope_along_their_noise(self, bio: Any, form: str) -> None:
        rule = bio.double(bio.WeightPerturbation(network(bio, form), sigma=1e-6))
        x, t = example(rule.net)
        states = rewind(rule)
        ours = rule.changes(x, t)
        again(rule, states)
        noise = [
            torch.stack([torch.randn(w.shape[1:], generator=g) for g in rule.noise]).double()
            for w in rule.w
        ]
        true = backprop_by_autograd(form, rule.w, x, t)
        along = sum((g * n).flatten(1).sum(dim=1) for g, n in zip(true, noise, strict=True))
        for update, n in zip(ours, noise, strict=True):
            expected = along.view(2, *[1] * (n.dim() - 1)) * n
            torch.testing.assert_close(update, expected, rtol=1e-3, atol=1e-3)

    @both
    def test_nodes_follow_the_slope_along_the_noise_of_each_example(
        self, bio: Any, form: str
    ) -> None:
        rule = bio.double(bio.NodePerturbation(network(bio, form), sigma=1e-6))
        x, t = example(rule.net)
        states = rewind(rule)
        ours = rule.changes(x, t)
        again(rule, states)
        h, top = rule.forward(x), len(rule.w)
        noise = [
            torch.stack([torch.randn(a.shape[1:], generator=g) for g in rule.noise]).double()
            for a in h[1:]
        ]
        pushed = [torch.zeros_like(n).requires_grad_() for n in noise]
        a = x
        for i in range(top):
            a = linear(form, i, a, rule.w[i]) + pushed[i]
            a = a if i == top - 1 else torch.tanh(a)
        true = climb(-(t * torch.log_softmax(a, -1)).sum(), pushed)
        along = sum((g * n).sum(dim=-1, keepdim=True) for g, n in zip(true, noise, strict=True))
        for layer, below, n, update in zip(rule.maps, h, noise, ours, strict=False):
            expected = layer.outer(below, along * n)
            torch.testing.assert_close(update, expected, rtol=1e-3, atol=1e-3)

    def test_averaging_compares_running_means_with_the_gradient(self, bio: Any) -> None:
        rule = bio.double(bio.NodePerturbation(network(bio), sigma=1e-4))
        x, t = example(rule.net)
        states = rewind(rule)
        found = bio.averaging(rule, x, t, [1, 3, 40])
        again(rule, states)
        steps = [rule.changes(x, t) for _ in range(3)]
        true = torch.cat([g.flatten(1) for g in bio.gradient(rule, x, t)], dim=1)
        sums = [torch.cat([c.flatten(1) for c in step], dim=1) for step in steps]
        torch.testing.assert_close(found[0], F.cosine_similarity(sums[0], true, dim=1))
        torch.testing.assert_close(found[1], F.cosine_similarity(sum(sums), true, dim=1))
        assert len(found) == 3
        assert (found[2] > found[0]).all()


class TestLocalLosses:
    @pytest.mark.parametrize("mix", [0.0, 1.0, 0.99])
    @both
    def test_each_layer_descends_its_own_loss(self, bio: Any, form: str, mix: float) -> None:
        rule = bio.LocalLosses(network(bio, form), mix=mix)
        held = [*rule.w, *rule.v, *rule.a]
        assert all(m is n for m, n in zip(rule.learned, held, strict=True))
        bio.double(rule)
        x, t = example(rule.net)
        w, v, a = leaves(rule.w), leaves(rule.v), leaves(rule.a)
        centred = t - t.mean(dim=-1, keepdim=True)
        alike = F.cosine_similarity(centred[:, :, None], centred[:, None], dim=-1)
        h, loss = x, torch.zeros(()).double()
        for i in range(len(w) - 1):
            u = torch.tanh(linear(form, i, h, w[i]))
            pred = F.cross_entropy((u @ v[i]).flatten(0, 1), t.flatten(0, 1), reduction="sum")
            rows = u @ a[i]
            rows = rows - rows.mean(dim=-1, keepdim=True)
            mine = F.cosine_similarity(rows[:, :, None], rows[:, None], dim=-1)
            sim = (mine - alike).square().sum() / 5
            loss = loss + (1 - mix) * pred + mix * sim
            h = u.detach()
        logits = linear(form, len(w) - 1, h, w[-1])
        loss = loss + F.cross_entropy(logits.flatten(0, 1), t.flatten(0, 1), reduction="sum")
        assert_all_close(rule.changes(x, t), climb(loss, [*w, *v, *a]), 1e-8)

    @pytest.mark.parametrize("mix", [0.0, 1.0, 0.99])
    def test_no_layer_notices_those_above(self, bio: Any, mix: float) -> None:
        rule = bio.LocalLosses(network(bio), mix=mix)
        x, t = (a.float() for a in example(rule.net))
        w_0, w_1, w_2, v_0, v_1, a_0, a_1 = rule.changes(x, t)
        for weights in (rule.w[2:], rule.w[1:] + rule.v[1:] + rule.a[1:]):
            for w in weights:
                w *= 1.5
            changed = rule.changes(x, t)
            assert torch.equal(changed[0], w_0)
            assert torch.equal(changed[3], v_0)
            assert torch.equal(changed[5], a_0)
            assert not torch.allclose(changed[2], w_2)
            if weights[0] is rule.w[2]:
                assert torch.equal(changed[1], w_1)
                assert torch.equal(changed[4], v_1)
                assert torch.equal(changed[6], a_1)

    def test_similarity_does_not_see_the_level_and_size_of_rows(self, bio: Any) -> None:
        """So the error has no part along a row, nor along the constant."""
        a, t = normal(2, 6, 9, seed=1), F.one_hot(torch.arange(6) % 3, 3).double()
        error = bio.similarity_error(a, t.expand(2, -1, -1))
        assert error.abs().max() > 1e-3
        zero = torch.zeros(2, 6).double()
        torch.testing.assert_close(error.sum(dim=-1), zero)
        torch.testing.assert_close((error * a).sum(dim=-1), zero)

    def test_similarity_is_content_when_classes_are_told_apart(self, bio: Any) -> None:
        t = F.one_hot(torch.arange(6) % 3, 3).double()
        a = F.pad(t - t.mean(dim=-1, keepdim=True), (0, 4))
        torch.testing.assert_close(bio.similarity_error(3 * a, t), torch.zeros_like(a))
        assert torch.isfinite(bio.similarity_error(torch.zeros_like(a), t)).all()


def stored_energy(rule: Any, s: Sequence[Tensor]) -> Tensor:
    """Equation bio-ep's energy of each replica."""
    energy: Any = 0.0
    for layer, w, below, above in zip(rule.maps, rule.w, s, s[1:], strict=False):
        own = 0.5 * above.square().sum(dim=(1, 2))
        energy = energy + own - (layer.up(below, w) * above).sum(dim=(1, 2))
    return energy


class TestEquilibrium:
    def rule(self, bio: Any, form: str = "dense", **settings: Any) -> tuple[Any, Tensor, Tensor]:
        """A network whose states rest inside (0, 1), where the energy is smooth."""
        rule = bio.double(bio.EquilibriumPropagation(network(bio, form), **settings))
        sizes = [0.6, 0.6, 0.6] if form == "dense" else [0.3, 0.3, 0.5, 0.8]
        rule.w = [size * w.abs() for size, w in zip(sizes, rule.w, strict=True)]
        x, t = example(rule.net)
        return rule, x.abs() * 0.2, t

    @both
    def test_the_free_state_is_a_fixed_point_inside_the_box(self, bio: Any, form: str) -> None:
        rule, x, _ = self.rule(bio, form, free_steps=500)
        s = rule.forward(x)
        assert torch.equal(s[0], x)
        for i in range(1, len(s)):
            assert 0 < float(s[i].min()) < float(s[i].max()) < 1
            drive = linear(form, i - 1, s[i - 1], rule.w[i - 1])
            if i < len(s) - 1:
                drive = drive + rule.maps[i].down(s[i + 1], rule.w[i])
            torch.testing.assert_close(s[i], drive, rtol=0, atol=1e-10)

    def test_states_stay_between_zero_and_one(self, bio: Any) -> None:
        rule = bio.double(bio.EquilibriumPropagation(network(bio), shrink=3.0, free_steps=200))
        x, t = example(rule.net)
        free = rule.free(x, rule.ways())
        for s in (free, rule.settle(free, 50, rule.ways(), 2.0, t)):
            for state in s[1:]:
                assert 0 <= float(state.min()) <= float(state.max()) <= 1
        again = rule.settle(free, 1, rule.ways())
        assert_all_close(again, free, 1e-9)  # also at the walls

    @both
    def test_a_step_goes_down_the_energy(self, bio: Any, form: str) -> None:
        rule, x, t = self.rule(bio, form, free_steps=4, epsilon=0.1)
        s = leaves(rule.forward(x))
        downhill = climb(stored_energy(rule, s).sum(), s[1:])
        free = rule.settle([a.detach() for a in s], 1, rule.ways())
        expected = [a + 0.1 * d for a, d in zip(s[1:], downhill, strict=True)]
        assert_all_close(free[1:], expected)
        nudged = rule.settle([a.detach() for a in s], 1, rule.ways(), 0.5, t)
        expected[-1] = (expected[-1] + 0.05 * t) / 1.05
        assert_all_close(nudged[1:], expected)

    @pytest.mark.parametrize("shrink", [0.5, 1.0, 2.0])
    def test_the_energy_never_rises_on_the_free_way(self, bio: Any, shrink: float) -> None:
        rule = bio.double(bio.EquilibriumPropagation(network(bio), shrink=shrink, epsilon=0.1))
        x, _ = example(rule.net)
        ways, energies = rule.ways(), []
        s = rule.settle(rule.free(x, ways), 0, ways)
        s = [s[0], *(torch.zeros_like(a) for a in s[1:])]
        for _ in range(60):
            energies.append(stored_energy(rule, s))
            s = rule.settle(s, 1, ways)
        falls = torch.stack(energies).diff(dim=0)
        assert float(falls.max()) <= 1e-12
        assert float(falls[0].max()) < -1e-2

    @pytest.mark.parametrize("nudging", ["symmetric", "one-sided", "random-sign"])
    @both
    def test_an_output_on_target_changes_nothing(self, bio: Any, form: str, nudging: str) -> None:
        rule, x, _ = self.rule(bio, form, free_steps=900, nudging=nudging, beta=0.1)
        for update in rule.changes(x, rule.outputs(x)):
            torch.testing.assert_close(update, torch.zeros_like(update), rtol=0, atol=1e-6)

    @both
    def test_a_small_symmetric_nudge_gives_the_gradient_of_the_settled_state(
        self, bio: Any, form: str
    ) -> None:
        rule, x, t = self.rule(bio, form, free_steps=250, nudged_steps=250, beta=0.005)
        w = leaves(rule.w)
        s = [x, *(torch.zeros(2, 5, layer.outputs).double() for layer in rule.maps)]
        for _ in range(120):  # a loop of its own: one layer after another, undamped
            for i in range(1, len(s)):
                s[i] = linear(form, i - 1, s[i - 1], w[i - 1])
                if i < len(w):
                    s[i] = s[i] + rule.maps[i].down(s[i + 1], w[i])
        nudged = [rule.settle(s, 250, rule.ways(), beta, t) for beta in (-0.005, 0, 0.005)]
        assert all(bool(((a > 0) & (a < 1)).all()) for way in nudged for a in way[1:])
        expected = climb(0.5 * (s[-1] - t).square().sum(), w)
        for a, b in zip(rule.changes(x, t), expected, strict=True):
            assert float((a - b).norm() / b.norm()) < 1e-3

    @pytest.mark.parametrize(
        ("nudging", "low", "high"), [("one-sided", 1.8, 2.1), ("symmetric", 3.8, 4.2)]
    )
    def test_errors_fall_with_beta_and_with_its_square(
        self, bio: Any, nudging: str, low: float, high: float
    ) -> None:
        gaps = []
        for beta in (0.04, 0.02, 0.01):
            rule, x, t = self.rule(
                bio, nudging=nudging, beta=beta, free_steps=200, nudged_steps=200
            )
            pairs = zip(rule.changes(x, t), bio.gradient(rule, x, t), strict=True)
            gaps.append(torch.cat([(a - b).flatten(1) for a, b in pairs], dim=1).norm(dim=1))
        for more, less in itertools.pairwise(gaps):
            assert low < float((more / less).min()) < float((more / less).max()) < high

    def test_nudge_errors_are_relative_to_the_gradient_of_each_replica(self, bio: Any) -> None:
        net = bio.Network(bio.layers_of([], (6,), [5], 3), (1, 2), CPU)
        t = example(net)[1]
        inside = 0.3 * torch.rand((5, 6), generator=torch.Generator().manual_seed(0)).double()
        for nudging, fall in (("one-sided", 2), ("symmetric", 4)):
            errors = bio.nudge_errors(net, inside, t, nudging, [0.02, 0.01])
            assert errors.shape == (2, 2)
            assert float(errors.max()) < 0.1
            torch.testing.assert_close(
                errors[0] / errors[1], torch.full((2,), fall).double(), rtol=0.05, atol=0
            )

    def test_a_random_sign_is_a_nudge_to_one_side_or_the_other(self, bio: Any) -> None:
        net = network(bio, replicas=range(24))
        x, t = example(net)
        x = x.abs() * 0.2
        seen = {}
        for name, options in {
            "random": {"nudging": "random-sign", "beta": 0.2},
            "up": {"nudging": "one-sided", "beta": 0.2},
            "down": {"nudging": "one-sided", "beta": -0.2},
        }.items():
            rule = bio.double(bio.EquilibriumPropagation(net, **options))
            seen[name] = torch.cat([c.flatten(1) for c in rule.changes(x, t)], dim=1)
        up, down = ((seen["random"] - seen[k]).abs().amax(dim=1) < 1e-6 for k in ("up", "down"))
        assert torch.equal(up, ~down)
        assert 4 < int(up.sum()) < 20

    def test_frozen_hidden_layers_leave_the_output_alone_to_learn(self, bio: Any) -> None:
        rule, x, t = self.rule(bio)
        (update,) = self.rule(bio, train_hidden=False)[0].changes(x, t)
        assert torch.equal(update, rule.changes(x, t)[-1])
        learned = bio.EquilibriumPropagation(network(bio), train_hidden=False)
        assert len(learned.learned) == 1
        assert learned.learned[0] is learned.w[-1]

    def test_a_huge_nudge_clamps_the_output(self, bio: Any) -> None:
        rule, x, t = self.rule(bio)
        free = rule.forward(x)
        torch.testing.assert_close(rule.settle(free, 3, rule.ways(), 1e12, t)[-1], t)


def small_task(replicas: int = 0) -> Task:
    """Noisy images of 6 × 6 in three classes; with replicas, training images of their own."""

    def part(count: int, seed: int, *lead: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(count) % 3
        x = F.one_hot(y, 3).repeat_interleave(12, dim=-1).float()
        return x + 0.7 * normal(*lead, count, 36, seed=seed).float(), y

    lead = (replicas,) if replicas else ()
    (x, y), validation, test = part(48, 1, *lead), part(30, 2), part(30, 3)
    target = F.one_hot(y, 3).float().expand(*lead, -1, -1)
    return Task("made up", x, target, *validation, *test, classes=3, shape=(1, 6, 6))


def arm_of(bio: Any, name: str) -> Any:
    cls, settings, unit = ARMS[name]
    return bio.Arm("family", getattr(bio, cls), settings, unit)


def net_of(bio: Any, form: str, replicas: Sequence[int]) -> Any:
    if form == "dense":
        maps = bio.layers_of([], (36,), [9, 7], 3)
    else:
        maps = bio.layers_of(["conv 3 3 2 1", "conv 4 2 1 0"], (1, 6, 6), [], 3)
    return bio.Network(maps, tuple(replicas), CPU)


def run(
    bio: Any, name: str, form: str, replicas: Sequence[int], rates: Sequence[float], **more: Any
) -> Any:
    task = more.pop("task", None) or small_task()
    options = {"epochs": 1, "batch": 16, **more}
    net = net_of(bio, form, replicas)
    return bio.train(arm_of(bio, name), net, task, torch.tensor(rates), **options)


class TestArms:
    @pytest.mark.parametrize(("name", "form"), FORMS)
    def test_shapes(self, bio: Any, name: str, form: str) -> None:
        net = net_of(bio, form, (0, 1))
        rule = arm_of(bio, name).rule(net)
        shared = small_task().validation_x[:5]
        t = F.one_hot(torch.arange(5) % 3, 3).float().expand(2, -1, -1)
        outputs, features = rule.outputs(shared), rule.features(shared)
        assert outputs.shape == (2, 5, 3)
        assert all(f.shape[:2] == (2, 5) and f.dim() == 3 for f in features)
        one_layer = "stdp" in name or (ARMS[name][0] == "Hebbian" and form == "dense")
        assert len(features) == (0 if name == "pixels" else 1 if one_layer else 2)
        assert rule.losses(outputs, t).shape == (2, 5)
        own = rule.expand(shared)
        assert own.shape == (2, 5, 36)
        changes = rule.changes(rule.encode(own), t)
        assert [c.shape for c in changes] == [w.shape for w in rule.learned]
        assert len(rule.relative) == len(rule.learned)
        assert all(torch.isfinite(c).all() for c in changes)
        hidden = rule.hidden_updates(own, t)
        for update, w in zip(hidden, rule.w, strict=False):
            assert update.shape == w.shape
            assert torch.isfinite(update).all()

    @pytest.mark.parametrize(("name", "form"), FORMS)
    def test_replicas_and_rates_side_by_side_are_runs_alone(
        self, bio: Any, name: str, form: str
    ) -> None:
        rates = (3e-3, 1e-3)
        together = run(bio, name, form, (4, 7), rates)
        for i, seed in enumerate((4, 7)):
            alone = run(bio, name, form, (seed,), rates[i : i + 1])
            for a, b in zip(together.rule.w, alone.rule.w, strict=True):
                # Adam may magnify the last digits of a gradient that is all but zero
                assert float((a[i] - b[0]).abs().mean()) < 1e-5
            assert together.test[i] == pytest.approx(alone.test[0], abs=4)
            torch.testing.assert_close(
                together.validation[:, i], alone.validation[:, 0], rtol=0, atol=4
            )

    @pytest.mark.parametrize(("name", "form"), FORMS)
    def test_a_rate_of_zero_leaves_the_weights(self, bio: Any, name: str, form: str) -> None:
        result = run(bio, name, form, (0, 1), (0.0, 0.0))
        moves = run(bio, name, form, (0, 1), (0.01, 0.01))
        hidden = slice(1, None) if "stdp" in name else slice(None)
        assert_all_equal(result.rule.w[hidden], result.start[hidden])
        assert not all(torch.equal(a, b) for a, b in zip(moves.rule.w, moves.start, strict=True))

    @pytest.mark.parametrize("name", LABEL_FREE)
    @both
    def test_hidden_layers_without_labels_do_not_read_them(
        self, bio: Any, name: str, form: str
    ) -> None:
        if form == "conv" and name in DENSE_ONLY:
            return
        task = small_task()
        other = replace(task, target=task.target.roll(1, dims=-1))
        one, two = (run(bio, name, form, (0, 1), (0.01, 0.01), task=part) for part in (task, other))
        assert_all_equal(one.rule.w[:-1], two.rule.w[:-1])
        assert not torch.equal(one.rule.w[-1], two.rule.w[-1])

    @pytest.mark.parametrize("name", ["rewarded stdp", "forward-forward", "local, sim"])
    def test_hidden_layers_with_labels_read_them(self, bio: Any, name: str) -> None:
        task = small_task()
        other = replace(task, target=task.target[torch.randperm(48)])
        one, two = (
            run(bio, name, "dense", (0, 1), (0.01, 0.01), task=part) for part in (task, other)
        )
        assert not torch.equal(one.rule.w[0], two.rule.w[0])

    def test_a_wrong_answer_turns_the_update_of_rewarded_spikes(self, bio: Any) -> None:
        rule = arm_of(bio, "rewarded stdp").rule(net_of(bio, "dense", (0, 1)))
        x = rule.expand(small_task().train_x)
        states, updates = rewind(rule), []
        for label in range(3):
            again(rule, states)
            t = F.one_hot(torch.full((2, 48), label), 3).float()
            updates.append(rule.hidden_updates(x, t)[0])
        again(rule, states)
        unrewarded = bio.SpikeTiming.hidden_updates(rule, x, t)[0]
        # each answer is right for one of the labels, and wrong for two
        torch.testing.assert_close(sum(updates), -unrewarded, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(updates[0], updates[1], atol=1e-2)

    @pytest.mark.parametrize("name", [n for n in ARMS if n != "weight perturbation"])
    def test_the_images_can_be_learned(self, bio: Any, name: str) -> None:
        rate = {"node perturbation": 0.01, "equilibrium, random sign": 0.01}.get(name, 0.03)
        result = run(bio, name, "dense", (0, 1), (rate, rate), epochs=30)
        assert min(result.test) > 55  # a guess has 33


class TestTrain:
    @pytest.mark.parametrize(("name", "form"), FORMS)
    def test_each_replica_may_have_images_of_its_own(self, bio: Any, name: str, form: str) -> None:
        task, shared = small_task(replicas=2), small_task().train_x
        settings = {"unlabelled": shared}
        together = run(bio, name, form, (4, 7), (3e-3, 3e-3), task=task, **settings)
        for i, seed in enumerate((4, 7)):
            own = replace(task, train_x=task.train_x[i], target=task.target[i])
            alone = run(bio, name, form, (seed,), (3e-3,), task=own, **settings)
            for a, b in zip(together.rule.w, alone.rule.w, strict=True):
                assert float((a[i] - b[0]).abs().mean()) < 1e-5

    def test_pick_takes_rows_that_all_share_or_each_has(self, bio: Any) -> None:
        chosen = torch.tensor([[0, 3], [2, 2]])
        shared, own = torch.arange(12.0).view(4, 3), torch.arange(24.0).view(2, 4, 3)
        assert torch.equal(bio.pick(shared, chosen), torch.stack([shared[[0, 3]], shared[[2, 2]]]))
        assert torch.equal(bio.pick(own, chosen), torch.stack([own[0, [0, 3]], own[1, [2, 2]]]))
        pair = shared[:2]  # as many examples as replicas
        assert torch.equal(bio.pick(pair, chosen % 2), pair[chosen % 2])

    def test_probes_note_likeness_and_accuracy(self, bio: Any) -> None:
        options = {"epochs": 4, "probes": (0, 1, 4)}
        result = run(bio, "backprop", "dense", (0, 1), (0.01, 0.01), **options)
        assert list(result.cosine) == [0, 1, 4]
        assert result.validation.shape == (4, 2)
        for cosine in result.cosine.values():
            torch.testing.assert_close(cosine, torch.ones(3, 2))
        plain = run(bio, "backprop", "dense", (0, 1), (0.01, 0.01), epochs=4)
        assert plain.cosine == {}
        assert torch.equal(plain.validation[-1], result.validation[-1])
        assert_all_equal(plain.rule.w, result.rule.w)  # looking changes nothing

    def test_likeness_is_a_cosine_to_backpropagation(self, bio: Any) -> None:
        net = network(bio)
        x, t = (a.float() for a in example(net))
        rule = bio.FeedbackAlignment(net)
        expected = [
            F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)
            for a, b in zip(rule.changes(x, t), bio.Backprop(net).changes(x, t), strict=True)
        ]
        torch.testing.assert_close(bio.likeness(rule, x, t), torch.stack(expected))
        assert not bio.likeness(bio.FrozenHidden(net), x, t).any()

    def test_the_rate_falls_to_zero_over_all_steps(self, bio: Any) -> None:
        """With one and the same update, Adam's steps are its rates: their sum is half."""

        class Constant(bio.Backprop):
            def changes(self, x: Tensor, t: Tensor) -> list[Tensor]:
                return [torch.ones_like(w) for w in self.w]

        result = bio.train(
            bio.Arm("f", Constant), net_of(bio, "dense", (0, 1)), small_task(),
            torch.tensor([0.1, 0.01]), epochs=5, batch=16,
        )  # fmt: skip
        steps = 15
        expected = torch.tensor([0.1, 0.01]) * sum(1 - i / steps for i in range(steps))
        for a, b in zip(result.rule.w, result.start, strict=True):
            moved = (a - b).flatten(1)
            torch.testing.assert_close(moved, expected[:, None].expand_as(moved), rtol=0, atol=1e-4)

    def test_accuracy_is_the_share_of_hits(self, bio: Any) -> None:
        net = net_of(bio, "dense", (0, 1))
        x, y = small_task().test_x, small_task().test_y
        for rule in (bio.Backprop(net), bio.Hebbian(net)):  # the second encodes its inputs
            expected = 100 * (rule.outputs(x).argmax(-1) == y).float().mean(dim=1)
            for chunk in (7, 2_000):
                torch.testing.assert_close(bio.accuracy(rule, rule.encode(x), y, chunk), expected)

    def test_settings_reach_the_rule(self, bio: Any) -> None:
        result = run(bio, "equilibrium", "dense", (0, 1), (0.01, 0.01), beta=0.1, shuffled=True)
        assert result.rule.beta == 0.1
        assert result.rule.shuffled

    def test_label_free_rules_may_see_other_images(self, bio: Any) -> None:
        others = small_task().train_x.flip(0)[:20]
        one = run(bio, "softhebb", "dense", (0, 1), (0.01, 0.01))
        two = run(bio, "softhebb", "dense", (0, 1), (0.01, 0.01), unlabelled=others)
        assert not torch.equal(one.rule.w[0], two.rule.w[0])


class TestFewLabels:
    def test_every_seed_draws_its_own_images_of_each_class(self, bio: Any) -> None:
        task = small_task()
        few = bio.with_few_labels(task, 5, (4, 7))
        assert (few.train_x.shape, few.target.shape) == ((2, 15, 36), (2, 15, 3))
        drawn = []
        for x, target in zip(few.train_x, few.target, strict=True):
            assert target.sum(dim=0).tolist() == [5, 5, 5]
            same = (x[:, None] == task.train_x).all(dim=-1)  # (15, 48)
            rows = same.int().argmax(dim=1)
            assert same.sum(dim=1).tolist() == [1] * 15
            assert len(set(rows.tolist())) == 15
            assert torch.equal(task.target[rows], target)
            drawn.append(set(rows.tolist()))
        assert drawn[0] != drawn[1]
        assert torch.equal(bio.with_few_labels(task, 5, (7,)).train_x[0], few.train_x[1])
        assert few.validation_x is task.validation_x
        assert few.test_x is task.test_x

    @pytest.mark.parametrize("count", [0, 17])
    def test_no_more_than_there_are(self, bio: Any, count: int) -> None:
        with pytest.raises(UsageError, match=r"few_labels is .*give 1 to 16"):
            bio.with_few_labels(small_task(), count, (0, 1))
        bio.with_few_labels(small_task(), 16, (0, 1))


class TestSearch:
    @pytest.fixture
    def found(self, bio: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        names = bio.search.__globals__
        values = {"rates": [1e-3, 3e-2, 1.0], "search_seeds": [100, 101], "batch": 16, "place": CPU}
        for name, value in values.items():
            monkeypatch.setitem(names, name, value)
        maps = net_of(bio, "dense", (0,)).maps
        return lambda task, name="backprop": bio.search(arm_of(bio, name), maps, task, 2)

    def test_reads_no_test_image_and_every_validation_label(self, bio: Any, found: Any) -> None:
        task = small_task()
        scores = found(task)
        assert len(scores) == 3
        others = replace(task, test_x=torch.zeros_like(task.test_x), test_y=task.test_y.roll(1))
        assert found(others) == scores
        assert found(replace(task, validation_y=task.validation_y.roll(1))) != scores

    def test_every_score_is_the_mean_over_its_networks(self, bio: Any, found: Any) -> None:
        scores = found(small_task())
        for rate, score in zip([1e-3, 3e-2, 1.0], scores, strict=True):
            alone = run(bio, "backprop", "dense", (100, 101), (rate, rate), epochs=2)
            assert float(alone.validation[-1].mean()) == pytest.approx(score, abs=2)

    def test_of_equal_rates_the_smaller_is_taken(self, bio: Any, found: Any) -> None:
        assert bio.best_rate([50.0, 80.0, 80.0]) == 3e-2
        assert bio.best_rate([80.0, 80.0, 80.0]) == 1e-3
        assert bio.best_rate([50.0, 80.0, 80.5]) == 1.0


class TestBadInput:
    """What a reader may get wrong is said at once, before anything trains."""

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"seeds": [3]}, r"code cell 3 .*give at least 2"),
            ({"recordings": "./nowhere.npz"}, r"code cell 3 .*No recordings set, file or folder"),
            ({"sequences": "./nowhere.npz"}, r"code cell 3 .*No sequences set, file or folder"),
            ({"cnn_images": "./nowhere.npz"}, r"code cell 3 .*No images set, file or folder"),
        ],
    )
    def test_the_run_stops_in_the_third_cell(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(RunFailed) as stopped:
            execute(["biologically_plausible_learning"], overrides=values)
        assert re.search(said, str(stopped.value.outcomes[0].error), re.DOTALL)

    def test_an_unknown_family_names_the_known_ones(self) -> None:
        with pytest.raises(UsageError, match=r"Did you mean 'FA'\? Choose one of: Hebbian, STDP"):
            check_parameters("biologically_plausible_learning", {"families": ["FAA"]})

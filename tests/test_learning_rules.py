"""The rules that two chapters share: equivalences, symmetries, and what a rule may see."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import data
from helpers.learning_rules import (
    Adam,
    Dense,
    at_each_step,
    flat_cosine,
    forward,
    forward_forward_updates,
    goodness_of_label,
    load_task,
    local_errors,
    over_time,
    rnn_errors,
    rnn_forward,
    slope,
    softhebb_update,
    softhebb_weights,
    start,
    theta_updates,
    to_unit_size,
    top_error,
    weight_updates,
)
from helpers.project import Project
from helpers.training import draw, generators

PROJECT = Project.find()
SIZES = [6, 9, 7, 5, 4]
CPU = torch.device("cpu")
seeds = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)


def normal(*shape: int, seed: int, sd: float = 0.5) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.double) * sd


def network(seed: int) -> tuple[list[Tensor], list[Any]]:
    pairs = list(itertools.pairwise(SIZES))
    weights = [normal(*pair, seed=seed + i) for i, pair in enumerate(pairs)]
    theta = [None] + [normal(*pair, seed=seed + 50 + i) for i, pair in enumerate(pairs[1:])]
    return weights, theta


def sweep(seed: int, batch: int = 5, tied: bool = False) -> dict[str, Any]:
    """One way up and one way down."""
    weights, theta = network(seed)
    if tied:
        theta = [None, *weights[1:]]
    x = normal(batch, SIZES[0], seed=seed + 99, sd=1.0)
    labels = torch.arange(batch) % SIZES[-1]
    u = forward(x, weights)
    top = top_error(u[-1], F.one_hot(labels, SIZES[-1]).double())
    xi, delta = local_errors(u, top, theta)
    return {
        "x": x, "labels": labels, "weights": weights, "theta": theta,
        "u": u, "top": top, "xi": xi, "delta": delta,
    }  # fmt: skip


class Masked:
    """A linear map that lacks some of its connections."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def up(self, h: Tensor, w: Tensor) -> Tensor:
        return h @ (w * self.mask)

    def down(self, d: Tensor, w: Tensor) -> Tensor:
        return d @ (w * self.mask).mT

    def outer(self, h: Tensor, d: Tensor) -> Tensor:
        return (h.mT @ d) * self.mask


class TestEquivalence:
    @few
    @given(seeds)
    def test_tied_feedback_gives_autograds_gradient(self, seed: int) -> None:
        s = sweep(seed, tied=True)
        for w in s["weights"]:
            w.requires_grad_()
        loss = F.cross_entropy(forward(s["x"], s["weights"])[-1], s["labels"], reduction="sum")
        loss.backward()
        for w, update in zip(s["weights"], weight_updates(s["u"], s["delta"]), strict=True):
            torch.testing.assert_close(update, -w.grad, rtol=0, atol=1e-6)

    def test_frozen_feedback_is_feedback_alignment_bit_for_bit(self) -> None:
        s = sweep(3)
        # Feedback alignment written on its own: a fixed linear map from each layer's error down.
        feedback = s["theta"]
        hidden = [s["x"]]
        for w in s["weights"][:-1]:
            hidden.append(torch.tanh(hidden[-1] @ w))
        error = F.one_hot(s["labels"], SIZES[-1]).double() - torch.softmax(
            hidden[-1] @ s["weights"][-1], dim=-1
        )
        expected = [hidden[-1].T @ error]
        for i in range(len(s["weights"]) - 1, 0, -1):
            error = F.linear(error, feedback[i]) * (1 - hidden[i] * hidden[i])
            expected.insert(0, hidden[i - 1].T @ error)
        for update, other in zip(weight_updates(s["u"], s["delta"]), expected, strict=True):
            assert torch.equal(update, other)

    def test_another_activation_is_used_in_the_hidden_layers_only(self) -> None:
        weights, _ = network(4)
        x = normal(5, SIZES[0], seed=1)
        u = forward(x, weights, activation=torch.relu)
        expected = torch.relu(torch.relu(torch.relu(x @ weights[0]) @ weights[1]) @ weights[2])
        assert torch.equal(u[-2], expected)
        assert torch.equal(u[-1], expected @ weights[3])
        assert u[-1].min() < 0

    def test_the_clip_bounds_every_error_before_it_goes_on(self) -> None:
        s = sweep(5)
        bound = 0.01
        xi, delta = local_errors(s["u"], s["top"], s["theta"], clip=bound)
        assert max(float(x.abs().max()) for x in xi[1:-1] if x is not None) == bound
        expected = (delta[3] @ s["theta"][2].mT).clamp(-bound, bound)
        torch.testing.assert_close(xi[2], expected)
        torch.testing.assert_close(delta[2], expected * slope(s["u"][2]))
        assert xi[-1] is s["top"]


class TestMaps:
    @few
    @given(seeds)
    def test_dense_down_and_outer_are_the_adjoints_of_up(self, seed: int) -> None:
        shapes = [(2, 3, 6), (2, 6, 4), (2, 3, 4)]
        h, w, d = (normal(*shape, seed=seed + i) for i, shape in enumerate(shapes))
        dense = Dense()
        z, below, update = dense.up(h, w), dense.down(d, w), dense.outer(h, d)
        assert (z.shape, below.shape, update.shape) == (d.shape, h.shape, w.shape)
        for replica in range(2):
            inner = (z[replica] * d[replica]).sum()
            torch.testing.assert_close((h[replica] * below[replica]).sum(), inner)
            torch.testing.assert_close((w[replica] * update[replica]).sum(), inner)

    def test_no_maps_are_dense_maps_bit_for_bit(self) -> None:
        s = sweep(6)
        dense = [Dense() for _ in s["weights"]]
        u = forward(s["x"], s["weights"], dense)
        xi, delta = local_errors(u, s["top"], s["theta"], maps=dense)
        hidden = [w[None] for w in s["weights"][:-1]]
        h, sign = s["x"][None], torch.tensor([[1.0], [-1.0], [1.0], [1.0], [-1.0]]).double()
        pairs = [
            (u, s["u"]),
            (xi[1:], s["xi"][1:]),
            (delta[1:], s["delta"][1:]),
            (weight_updates(u, delta, dense), weight_updates(u, delta)),
            (theta_updates(xi, delta, dense)[1:], theta_updates(xi, delta)[1:]),
            (
                forward_forward_updates(h, sign, hidden, dense[:-1]),
                forward_forward_updates(h, sign, hidden),
            ),
            ([goodness_of_label(h, hidden, dense[:-1])], [goodness_of_label(h, hidden)]),
        ]
        for with_maps, without in pairs:
            for a, b in zip(with_maps, without, strict=True):
                assert torch.equal(a, b)

    def test_the_errors_follow_any_linear_map(self) -> None:
        """With tied weights and connections that are missing, the updates are autograd's."""
        s = sweep(7)
        maps = [Masked((normal(*w.shape, seed=i) > 0).double()) for i, w in enumerate(s["weights"])]
        for w in s["weights"]:
            w.requires_grad_()
        u = forward(s["x"], s["weights"], maps)
        F.cross_entropy(u[-1], s["labels"], reduction="sum").backward()
        with torch.no_grad():
            top = top_error(u[-1], F.one_hot(s["labels"], SIZES[-1]))
            xi, delta = local_errors(u, top, s["weights"], maps=maps)
            updates = weight_updates(u, delta, maps)
            changes = theta_updates(xi, delta, maps)
        for w, update in zip(s["weights"], updates, strict=True):
            torch.testing.assert_close(update, -w.grad)
        for map_, x, d, change in zip(maps[1:], xi[1:], delta[2:], changes[1:], strict=False):
            assert x is not None
            torch.testing.assert_close(change, -(x.mT @ d) * map_.mask)

    def test_goodness_follows_any_linear_map(self) -> None:
        weights = [normal(1, 8, 7, seed=2), normal(1, 7, 5, seed=3)]
        maps = [Masked((normal(*w.shape, seed=4) > 0).double()) for w in weights]
        thinned = [w * m.mask for w, m in zip(weights, maps, strict=True)]
        h, sign = normal(1, 6, 8, seed=1, sd=1.0), torch.ones(6, 1).double()
        torch.testing.assert_close(
            goodness_of_label(h, weights, maps), goodness_of_label(h, thinned)
        )
        ours = forward_forward_updates(h, sign, weights, maps)
        dense = forward_forward_updates(h, sign, thinned)
        for a, b, m in zip(ours, dense, maps, strict=True):
            torch.testing.assert_close(a, b * m.mask)


class TestContraction:
    @few
    @given(seeds, st.floats(1e-4, 1e-1))
    def test_equation_9_is_a_contraction_from_the_right(self, seed: int, rate: float) -> None:
        s = sweep(seed)
        changes = theta_updates(s["xi"], s["delta"])
        for i in range(1, len(SIZES) - 1):
            d = s["delta"][i + 1]
            updated = s["theta"][i] + rate * changes[i]
            contracted = s["theta"][i] @ (
                torch.eye(d.shape[1], dtype=torch.double) - rate * d.T @ d
            )
            torch.testing.assert_close(updated, contracted, rtol=0, atol=1e-10)
            if rate * torch.linalg.eigvalsh(d.T @ d)[-1] <= 2:
                assert updated.norm() <= s["theta"][i].norm() + 1e-12

    @few
    @given(seeds)
    def test_the_local_error_of_the_same_batch_shrinks(self, seed: int) -> None:
        s = sweep(seed)
        changes = theta_updates(s["xi"], s["delta"])
        top_layer = len(SIZES) - 2
        theta = [
            None if t is None else t + 1e-3 * c for t, c in zip(s["theta"], changes, strict=True)
        ]
        after, _ = local_errors(s["u"], s["top"], theta)
        assert after[top_layer].norm() < s["xi"][top_layer].norm()

    def test_the_other_sign_makes_theta_grow(self) -> None:
        s = sweep(8)
        for theta, change in zip(
            s["theta"][1:], theta_updates(s["xi"], s["delta"])[1:], strict=True
        ):
            assert (theta - 0.01 * change).norm() > theta.norm()

    def test_the_input_layer_has_no_theta_and_no_update(self) -> None:
        s = sweep(2)
        assert theta_updates(s["xi"], s["delta"])[0] is None
        assert s["xi"][0] is None


class TestLocality:
    @few
    @given(seeds)
    def test_c1_errors_do_not_see_the_forward_weights(self, seed: int) -> None:
        s = sweep(seed)
        for w in s["weights"]:
            w += 1.0  # after the forward pass
        again, _ = local_errors(s["u"], s["top"], s["theta"])
        assert all(torch.equal(a, b) for a, b in zip(again[1:], s["xi"][1:], strict=True))

    def test_c2_an_error_depends_only_on_the_layer_above(self) -> None:
        s = sweep(4)
        # Layer 1 from a network cut off above layer 2, with layer 2's stored error at its top.
        cut = local_errors(s["u"][:3], s["delta"][2], s["theta"][:2])[0]
        torch.testing.assert_close(cut[1], s["xi"][1])
        # Corrupting layer 4 does reach layer 1 when nothing is stored: the sweep starts at the top.
        corrupted, _ = local_errors(s["u"], s["top"] + 1, s["theta"])
        assert not torch.allclose(corrupted[1], s["xi"][1])


class TestSymmetries:
    def test_no_error_no_change(self) -> None:
        s = sweep(6)
        xi, delta = local_errors(s["u"], torch.zeros_like(s["top"]), s["theta"])
        changes = weight_updates(s["u"], delta) + theta_updates(xi, delta)[1:]
        assert not any(change.any() for change in changes)

    @few
    @given(seeds)
    def test_a_batch_is_the_sum_of_its_examples(self, seed: int) -> None:
        s = sweep(seed)
        whole = weight_updates(s["u"], s["delta"])
        parts = [torch.zeros_like(w) for w in whole]
        for row in range(len(s["x"])):
            u = [layer[row : row + 1] for layer in s["u"]]
            _, delta = local_errors(u, s["top"][row : row + 1], s["theta"])
            parts = [p + c for p, c in zip(parts, weight_updates(u, delta), strict=True)]
        for a, b in zip(whole, parts, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

    def test_renaming_hidden_units_renames_their_updates(self) -> None:
        s = sweep(7)
        order = torch.randperm(SIZES[2], generator=torch.Generator().manual_seed(0))
        weights, theta = list(s["weights"]), list(s["theta"])
        weights[1], weights[2] = weights[1][:, order], weights[2][order]
        theta[1], theta[2] = theta[1][:, order], theta[2][order]
        u = forward(s["x"], weights)
        xi, delta = local_errors(u, s["top"], theta)
        old, new = weight_updates(s["u"], s["delta"]), weight_updates(u, delta)
        torch.testing.assert_close(new[1], old[1][:, order])
        torch.testing.assert_close(new[2], old[2][order])
        old, new = theta_updates(s["xi"], s["delta"]), theta_updates(xi, delta)
        torch.testing.assert_close(new[1], old[1][:, order])
        torch.testing.assert_close(new[2], old[2][order])

    def test_a_leading_axis_holds_networks_that_do_not_meet(self) -> None:
        alone = [sweep(seed) for seed in (1, 2)]

        def both(what: str) -> list[Any]:
            return [
                None if pair[0] is None else torch.stack(pair)
                for pair in zip(*(s[what] for s in alone), strict=True)
            ]

        u = forward(torch.stack([s["x"] for s in alone]), both("weights"))
        xi, delta = local_errors(u, torch.stack([s["top"] for s in alone]), both("theta"))
        for k, s in enumerate(alone):
            together = weight_updates(u, delta) + theta_updates(xi, delta)[1:]
            expected = weight_updates(s["u"], s["delta"]) + theta_updates(s["xi"], s["delta"])[1:]
            for a, b in zip(together, expected, strict=True):
                torch.testing.assert_close(a[k], b)


class TestSoftHebb:
    def inputs(self) -> Tensor:
        return normal(200, 4, seed=1, sd=1.0).float() + 1

    def weights(self, which: list[int]) -> Tensor:
        return start((4, 3), None, generators(which))

    def test_an_update_is_the_rule_example_by_example(self) -> None:
        x, w, sharpness = normal(2, 5, 4, seed=1, sd=1.0), normal(2, 4, 3, seed=2), 2.0
        expected = torch.zeros_like(w)
        for s in range(2):
            for row in x[s]:
                u = [float(row @ w[s, :, k]) for k in range(3)]
                share = torch.softmax(sharpness * torch.tensor(u), dim=0)
                for k in range(3):
                    y = share[k] if u[k] == max(u) else -share[k]
                    expected[s, :, k] += y * (row - u[k] * w[s, :, k])
            expected[s] /= expected[s].abs().max()
        # The shares above are in single precision.
        torch.testing.assert_close(softhebb_update(x, w, sharpness), expected, rtol=0, atol=1e-6)

    def test_no_input_no_update(self) -> None:
        assert not softhebb_update(torch.zeros(1, 5, 4), torch.ones(1, 4, 3)).any()

    def test_the_unit_that_wins_most_settles_at_length_one(self) -> None:
        w = self.weights([0, 1])
        settled = softhebb_weights(self.inputs(), w, [0, 1], batch=20, passes=60)
        winners = (self.inputs() @ settled).argmax(-1).mode(dim=1).values
        for replica, winner in enumerate(winners):
            assert abs(float(w[replica, :, winner].norm()) - 1) > 0.05
            assert float(settled[replica, :, winner].norm()) == pytest.approx(1, abs=0.01)

    def test_a_unit_slows_down_near_length_one_and_all_do_with_the_passes(self) -> None:
        x, w = normal(1, 5, 4, seed=1, sd=1.0), normal(1, 4, 3, seed=2)
        w[..., 0] /= w[..., 0].norm()
        expected = w.clone()
        for pace in (0.2, 0.1):
            far = (expected.norm(dim=1) - 1).abs().sqrt()
            expected += pace * far * softhebb_update(x, expected, 3.0)
        # One batch holds all examples, so that their order does not matter.
        got = softhebb_weights(x[0], w, [0], batch=5, passes=2, sharpness=3.0, rate=0.2)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(got[..., 0], w[..., 0])
        assert not torch.allclose(got[..., 1:], w[..., 1:], atol=0.01)

    def test_replicas_together_are_replicas_alone(self) -> None:
        rates = torch.tensor([0.05, 0.2])[:, None, None]
        together = softhebb_weights(
            self.inputs(), self.weights([4, 7]), [4, 7], batch=20, rate=rates
        )
        for k, seed in enumerate((4, 7)):
            alone = softhebb_weights(
                self.inputs(), self.weights([seed]), [seed], batch=20, rate=float(rates[k])
            )
            torch.testing.assert_close(together[k], alone[0])
        assert not torch.allclose(together[0], together[1], atol=0.1)

    def test_each_replica_may_have_inputs_of_its_own(self) -> None:
        w, x = self.weights([0, 1]), self.inputs()
        shared = softhebb_weights(x, w, [0, 1], batch=20)
        assert torch.equal(softhebb_weights(x.expand(2, -1, -1), w, [0, 1], batch=20), shared)
        own = softhebb_weights(torch.stack([x, 2 - x]), w, [0, 1], batch=20)
        torch.testing.assert_close(own[0], shared[0])
        assert not torch.allclose(own[1], shared[1])

    def test_the_weights_at_the_start_are_kept(self) -> None:
        w = self.weights([0])
        before = w.clone()
        assert not torch.equal(softhebb_weights(self.inputs(), w, [0]), before)
        assert torch.equal(w, before)


class TestForwardForward:
    def test_it_climbs_on_each_layers_own_objective(self) -> None:
        h, sign = normal(1, 6, 8, seed=1, sd=1.0), torch.tensor([1.0, -1.0] * 3).double()[:, None]
        weights = [normal(1, 8, 7, seed=2), normal(1, 7, 5, seed=3)]
        changes = forward_forward_updates(h, sign, weights)
        for w, change in zip(weights, changes, strict=True):
            w.requires_grad_()
            activity = torch.relu(h @ w)
            goodness = activity.square().mean(-1, keepdim=True) - 1
            F.logsigmoid(sign * goodness).sum().backward()
            torch.testing.assert_close(change, w.grad)
            h = to_unit_size(activity).detach()

    def test_layers_do_not_see_those_above(self) -> None:
        h, sign = normal(1, 6, 8, seed=1, sd=1.0), torch.ones(6, 1).double()
        below, above = normal(1, 8, 7, seed=2), normal(1, 7, 5, seed=3)
        first = forward_forward_updates(h, sign, [below, above])[0]
        again = forward_forward_updates(h, sign, [below, above + 1])[0]
        assert torch.equal(first, again)

    def test_a_layer_hands_on_the_direction_and_not_the_size(self) -> None:
        h = normal(2, 6, 8, seed=1, sd=1.0)
        below, above = normal(2, 8, 7, seed=2), normal(2, 7, 5, seed=3)
        once, larger = (goodness_of_label(h, [scale * below, above]) for scale in (1, 3))
        of_first, of_first_larger = (goodness_of_label(h, [scale * below]) for scale in (1, 3))
        assert once.shape == (2, 6)
        torch.testing.assert_close(of_first_larger, 9 * of_first)
        torch.testing.assert_close(larger - of_first_larger, once - of_first, rtol=0, atol=1e-5)
        assert (once - of_first).max() > 0.1


class TestRecurrent:
    def test_tied_feedback_gives_autograds_gradient(self) -> None:
        x, target = normal(2, 4, 7, 3, seed=1), normal(2, 4, 7, 2, seed=2)
        h_0, w_x, w_h, w_y = (
            normal(*shape, seed=5 + i).requires_grad_()
            for i, shape in enumerate([(2, 1, 6), (2, 3, 6), (2, 6, 6), (2, 6, 2)])
        )
        h = rnn_forward(x, h_0, w_x, w_h)
        y = at_each_step(h[:, :, 1:], w_y)
        (0.5 * (target - y).square().sum()).backward()
        with torch.no_grad():
            xi, delta = rnn_errors(h, target - y, w_y, w_h)
            updates = [
                over_time(x, delta),
                over_time(h[:, :, :-1], delta),
                over_time(h[:, :, 1:], target - y),
            ]
        assert xi.shape == delta.shape == (2, 4, 7, 6)
        for w, update in zip((w_x, w_h, w_y), updates, strict=True):
            torch.testing.assert_close(update, -w.grad)

    def test_an_error_comes_from_its_own_and_later_outputs_only(self) -> None:
        h, xi_y = torch.tanh(normal(1, 4, 8, 6, seed=1)), normal(1, 4, 7, 2, seed=2)
        theta_y, theta_h = normal(1, 6, 2, seed=3), normal(1, 6, 6, seed=4)
        before, _ = rnn_errors(h, xi_y, theta_y, theta_h)
        xi_y[:, :, 4] += 1
        after, _ = rnn_errors(h, xi_y, theta_y, theta_h)
        changed = [not torch.equal(before[:, :, i], after[:, :, i]) for i in range(7)]
        assert changed == [True] * 5 + [False] * 2

    def test_the_clip_bounds_the_errors_that_go_on(self) -> None:
        h, xi_y = torch.tanh(normal(1, 4, 8, 6, seed=1)), normal(1, 4, 7, 2, seed=2)
        xi, delta = rnn_errors(h, xi_y, normal(1, 6, 2, seed=3), normal(1, 6, 6, seed=4), clip=0.1)
        assert float(xi.abs().max()) == 0.1
        torch.testing.assert_close(delta, xi * slope(h[:, :, 1:]))


class TestTask:
    def test_targets_are_labels_smoothed(self) -> None:
        task, images = load_task("digits", 0.2, CPU), data.images("digits")
        assert task.target.shape == (len(images.train_y), 10)
        assert (task.classes, task.shape) == (10, images.shape)
        torch.testing.assert_close(task.target.sum(1), torch.ones(len(task.target)))
        assert torch.equal(task.target.argmax(1), torch.from_numpy(images.train_y))
        assert sorted(task.target[0].tolist()) == pytest.approx([0.02] * 9 + [0.82])

    def test_each_part_is_where_its_name_says(self) -> None:
        task, images = load_task("digits", 0.1, CPU), data.images("digits")
        for part in ("train_x", "validation_x", "validation_y", "test_x", "test_y"):
            assert torch.equal(getattr(task, part), torch.from_numpy(getattr(images, part)))

    def test_the_way_to_standardise_is_passed_on(self) -> None:
        means = load_task("digits", 0.1, CPU, "feature").train_x.mean(0).abs()
        assert means.max() < 1e-5
        assert load_task("digits", 0.1, CPU).train_x.mean(0).abs().max() > 0.1

    def test_weights_start_with_the_deviation_given_or_that_of_the_fan_in(self) -> None:
        for sd, expected in ((0.3, 0.3), (None, 0.1)):
            w = start((100, 200), sd, generators([0, 1]))
            assert w.shape == (2, 100, 200)
            assert float(w.std()) == pytest.approx(expected, rel=0.02)

    def test_a_cosine_for_every_replica(self) -> None:
        a = normal(3, 4, 5, seed=1)
        b = torch.stack([2 * a[0], -a[1], torch.zeros(4, 5).double()])
        torch.testing.assert_close(flat_cosine(a, b), torch.tensor([1.0, -1.0, 0.0]).double())


class TestAdam:
    shapes = ((2, 4, 3), (2, 3))

    def climb(self, pairs: list[tuple[Tensor, Any]], which: slice = slice(None)) -> list[Tensor]:
        """Twenty steps up a slope that changes with the weights; the rate falls to 0."""
        tensors = [t.clone()[which] for t, _ in pairs]
        adam = Adam(tensors, [rate for _, rate in pairs])
        for i in range(20):
            adam.step(self.updates(tensors, i, which), 1 - i / 20)
        return tensors

    def updates(self, tensors: list[Tensor], i: int, which: slice = slice(None)) -> list[Tensor]:
        return [
            normal(*shape, seed=10 * i + k)[which] - t
            for k, (shape, t) in enumerate(zip(self.shapes, tensors, strict=True))
        ]

    def tensors(self) -> list[Tensor]:
        return [normal(*shape, seed=k, sd=2.0) for k, shape in enumerate(self.shapes)]

    def test_with_one_rate_it_is_pytorchs(self) -> None:
        ours = self.climb([(t, 0.1) for t in self.tensors()])
        theirs = self.tensors()
        optimizer = torch.optim.Adam(theirs, lr=0.1, maximize=True)
        for i in range(20):
            for t, update in zip(theirs, self.updates(theirs, i), strict=True):
                t.grad = update
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - i / 20)
            optimizer.step()
        for a, b, begin in zip(ours, theirs, self.tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
            assert (a - begin).abs().max() > 0.5

    def test_a_rate_per_replica_is_a_run_per_replica(self) -> None:
        rates = [0.1, 0.02]
        together = self.climb([(t, torch.tensor(rates)) for t in self.tensors()])
        for k, rate in enumerate(rates):
            alone = self.climb([(t, rate) for t in self.tensors()], slice(k, k + 1))
            for a, b in zip(together, alone, strict=True):
                # The rates of the replicas are single-precision numbers.
                torch.testing.assert_close(a[k], b[0], rtol=0, atol=1e-6)

    def test_each_tensor_has_its_own_rate(self) -> None:
        moved, still = self.climb(list(zip(self.tensors(), (0.1, 0.0), strict=True)))
        assert not torch.equal(moved, self.tensors()[0])
        assert torch.equal(still, self.tensors()[1])

    def test_betas_and_eps_are_those_of_pytorch(self) -> None:
        ours, theirs = self.tensors(), self.tensors()
        adam = Adam(ours, [0.1, 0.1], betas=(0.5, 0.7), eps=0.3)
        optimizer = torch.optim.Adam(theirs, lr=0.1, betas=(0.5, 0.7), eps=0.3, maximize=True)
        for i in range(5):
            adam.step(self.updates(ours, i))
            for t, update in zip(theirs, self.updates(theirs, i), strict=True):
                t.grad = update
            optimizer.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


class TestGenerators:
    def test_numbers_are_drawn_where_the_generators_are(self, monkeypatch: Any) -> None:
        """On a stand-in for a second device, so that the test needs none."""
        drawn = []

        class Elsewhere:
            def __init__(self, device: Any = "cpu") -> None:
                self.device = torch.device(device)

            def manual_seed(self, seed: int) -> Elsewhere:
                self.seed = seed
                return self

        def randn(shape: tuple[int, ...], generator: Elsewhere, device: Any) -> Tensor:
            drawn.append(generator.seed)
            return torch.empty(shape, device=device)

        monkeypatch.setattr(torch, "Generator", Elsewhere)
        monkeypatch.setattr(torch, "randn", randn)
        assert draw((2, 3), 0.5, generators([4, 5], 1, "meta")).device.type == "meta"
        assert draw((2, 3), 0.5, generators([4, 5], 1)).device.type == "cpu"
        assert drawn == [1_000_007, 1_000_008] * 2

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_a_gpu_draws_on_the_gpu(self) -> None:
        first, again = (draw((2, 3), 0.5, generators([4], 1, "cuda")) for _ in range(2))
        assert first.device.type == "cuda"
        assert torch.equal(first, again)

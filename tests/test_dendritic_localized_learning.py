"""Equivalences and properties of the chapter, on the notebook's own definitions.

What the notebook takes from ``helpers.learning_rules`` is tested in test_learning_rules.py.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.execution import load_definitions

SIZES = [6, 9, 7, 5, 4]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dll() -> Any:
    return load_definitions("dendritic_localized_learning")


def normal(*shape: int, seed: int, sd: float = 0.5) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.double) * sd


@pytest.fixture(scope="module")
def small(dll: Any) -> dict[str, Any]:
    """A small network: its activities, the error at its top, and weights for the way back."""
    pairs = list(itertools.pairwise(SIZES))
    weights = [normal(*pair, seed=i) for i, pair in enumerate(pairs)]
    theta = [None] + [normal(*pair, seed=50 + i) for i, pair in enumerate(pairs[1:])]
    u = dll.forward(normal(5, SIZES[0], seed=99, sd=1.0), weights)
    top = dll.top_error(u[-1], F.one_hot(torch.arange(5) % SIZES[-1], SIZES[-1]).double())
    return {"u": u, "top": top, "theta": theta}


seeds = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)


class TestEquivalence:
    @pytest.mark.parametrize("rate", [0.1, 0.9, 1.0, 1.5, 1.9])
    def test_relaxation_reaches_the_fixed_point(self, dll: Any, small: Any, rate: float) -> None:
        path = dll.relax(**small, rate=rate, steps=600)
        xi, _ = dll.local_errors(**small)
        for i in range(1, len(SIZES) - 1):
            torch.testing.assert_close(path[-1][i], xi[i], rtol=0, atol=1e-9)

    def test_relaxation_with_too_large_a_rate_diverges(self, dll: Any, small: Any) -> None:
        path = dll.relax(**small, rate=2.1, steps=200)
        xi, _ = dll.local_errors(**small)
        assert float((path[-1][1] - xi[1]).norm()) > 1e3

    def test_conv_network_with_tied_kernels_gives_autograds_gradient(self, dll: Any) -> None:
        recipe = dll.Recipe((0, 1), 1, 4, 1e-3, 0.3)
        layers = ["conv 3 3 1", "max 2", "conv 4 2 0", "average 2", "dense 6"]
        net = dll.ConvolutionalNetwork((2, 9, 9), 5, layers, dll.Arm("transposed"), recipe, 1, CPU)
        x = normal(2, 4, 2 * 81, seed=1, sd=1.0).float()
        y = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
        updates = [change.clone() for _, change in net.updates(x, F.one_hot(y, 5).float())]
        for layer in net.plastic:
            layer.w.requires_grad_()
        F.cross_entropy(net.outputs(x).flatten(0, 1), y.flatten(), reduction="sum").backward()
        for update, layer in zip(updates, net.plastic, strict=True):
            torch.testing.assert_close(update, -layer.w.grad, rtol=1e-4, atol=1e-4)

    def test_rnn_with_tied_feedback_gives_autograds_gradient(self, dll: Any) -> None:
        recipe = dll.Recipe((0, 1), 1, 4, 1e-3, 0.3)
        net = dll.RecurrentNetwork((3, 6, 2), dll.Arm("transposed", theta_sd=0.3), recipe, 1, CPU)
        x, target = normal(2, 4, 7, 3, seed=1).float(), normal(2, 4, 7, 2, seed=2).float()
        updates = [change for _, change, _ in net.updates(x, target)]
        for tensor in (net.w_y, net.w_h, net.w_x):
            tensor.requires_grad_()
        (0.5 * (target - net.outputs(x)[1]).square().sum()).backward()
        for update, tensor in zip(updates, (net.w_y, net.w_h, net.w_x), strict=True):
            torch.testing.assert_close(update, -tensor.grad, rtol=1e-4, atol=1e-4)

    def test_rnn_of_one_step_is_a_network_with_one_hidden_layer(self, dll: Any) -> None:
        recipe = dll.Recipe((0,), 1, 4, 1e-3, 0.3)
        net = dll.RecurrentNetwork((3, 6, 2), dll.Arm("learned", 1.0, 0.5), recipe, 1, CPU)
        net.h_0.zero_()
        x, target = normal(1, 4, 1, 3, seed=1).float(), normal(1, 4, 1, 2, seed=2).float()
        changes = net.updates(x, target)
        u = dll.forward(x[0, :, 0], [net.w_x[0], net.w_y[0]])
        xi, delta = dll.local_errors(u, target[0, :, 0] - u[-1], [None, net.theta_y[0]])
        by_name = {id(tensor): change for tensor, change, _ in changes}
        dense = dll.weight_updates(u, delta)
        torch.testing.assert_close(by_name[id(net.w_x)][0], dense[0])
        torch.testing.assert_close(by_name[id(net.w_y)][0], dense[1])
        torch.testing.assert_close(by_name[id(net.theta_y)][0], dll.theta_updates(xi, delta)[1])
        assert not by_name[id(net.theta_h)].any()

    def test_replicas_side_by_side_equal_replicas_alone(self, dll: Any) -> None:
        task = dll.load_task("digits", 0.1, CPU)

        def accuracies(which: tuple[int, ...]) -> list[float]:
            recipe = dll.Recipe(which, 2, 64, 1e-3)
            return dll.train_perceptron(task, [16, 12], dll.Arm("learned"), recipe).test

        together = accuracies((4, 7))
        assert together == pytest.approx([accuracies((4,))[0], accuracies((7,))[0]], abs=0.3)


class TestConvolution:
    def layer(self, dll: Any) -> Any:
        layer = dll.Convolution((3, 5), 3, 1, (0.5, 0.5), dll.generators([1, 2]), first=False)
        layer.w, layer.theta = layer.w.double(), layer.theta.double()
        return layer

    @few
    @given(seeds)
    def test_the_way_back_is_the_adjoint(self, dll: Any, seed: int) -> None:
        layer = self.layer(dll)
        v, d = normal(2, 6, 7, 6, seed=seed), normal(2, 10, 7, 6, seed=seed + 1)
        layer.u, layer.below = torch.zeros_like(d), v  # slope 1 everywhere
        back = layer.send_back(d, clip=float("inf"))
        there = F.conv2d(v, layer.theta, padding=1, groups=2)
        torch.testing.assert_close((there * d).sum(), (v * back).sum())

    def test_the_update_of_theta_lowers_half_the_squared_error_below(self, dll: Any) -> None:
        layer = self.layer(dll)
        layer.below, d = normal(2, 6, 7, 6, seed=3), normal(2, 10, 7, 6, seed=4)
        layer.u = torch.zeros_like(d)
        layer.send_back(d, clip=float("inf"))
        theta = layer.theta.clone().requires_grad_()
        (0.5 * F.conv_transpose2d(d, theta, padding=1, groups=2).square().sum()).backward()
        torch.testing.assert_close(layer.theta_update, -theta.grad)

    @pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
    @pytest.mark.parametrize("side", [6, 7])
    def test_pools_send_back_autograds_gradient(self, dll: Any, pool: str, side: int) -> None:
        layer = getattr(dll, pool)(2)
        u = normal(2, 3, side, side, seed=5).requires_grad_()
        out = layer.forward(u)
        xi = normal(*out.shape, seed=6)
        out.backward(xi)
        torch.testing.assert_close(layer.send_back(xi, clip=float("inf")), u.grad)


class TestOtherRules:
    def test_kolen_pollack_lets_the_difference_die_out(self, dll: Any) -> None:
        task = dll.load_task("digits", 0.1, CPU)

        def gap(decay: float) -> float:
            recipe = dll.Recipe((0,), 3, 64, 1e-2, None)
            arm = dll.Arm("kolen_pollack", 1.0, None, decay=decay)
            net = dll.Perceptron([64, 16, 10], arm, recipe, dll.step_count(task, recipe), CPU)
            before = float((net.theta[1] - net.weights[1]).norm())
            dll.train(net, task)
            return float((net.theta[1] - net.weights[1]).norm()) / before

        assert gap(0.0) == pytest.approx(1.0, abs=1e-3)
        assert gap(5.0) < 0.5

    def test_frozen_hidden_layers_do_not_move(self, dll: Any) -> None:
        task = dll.load_task("digits", 0.1, CPU)
        recipe = dll.Recipe((0, 1), 1, 64, 1e-2)
        net = dll.Perceptron([64, 16, 10], dll.Arm("frozen", train_hidden=False), recipe, 17, CPU)
        first, last = (w.clone() for w in net.weights)
        dll.train(net, task)
        assert torch.equal(net.weights[0], first)
        assert not torch.equal(net.weights[1], last)

    def test_arithmetic_of_a_step_stays_below_four_thirds(self, dll: Any) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        def count(arm: Any) -> int:
            net = dll.Perceptron(SIZES, arm, dll.Recipe((0,), 1, 4, 1e-3), 1, CPU)
            with FlopCounterMode(display=False) as counter:
                net.step(torch.zeros(1, 8, SIZES[0]), torch.zeros(1, 8, SIZES[-1]))
            return counter.get_total_flops()

        ratio = count(dll.Arm("learned")) / count(dll.Arm("transposed"))
        products = [a * b for a, b in itertools.pairwise(SIZES)]
        expected = 1 + sum(products[1:]) / (3 * sum(products[1:]) + 2 * products[0])
        assert ratio == pytest.approx(expected)
        assert 1 < ratio < 4 / 3


class TestBadInput:
    def test_a_text_shorter_than_a_window_is_refused(self, dll: Any, tmp_path: Any) -> None:
        short = tmp_path / "short.txt"
        short.write_text("abc" * 60, encoding="utf-8")
        with pytest.raises(ValueError, match="fewer than one window"):
            dll.CharacterTask(str(short), 10_000, 500, CPU)

    def test_an_unknown_layer_is_named(self, dll: Any) -> None:
        with pytest.raises(ValueError, match="'flatten 2'"):
            dll.ConvolutionalNetwork(
                (1, 8, 8), 10, ["flatten 2"], dll.Arm(), dll.Recipe((0,), 1, 4, 1e-3), 1, CPU
            )

    @pytest.mark.parametrize("lag", [3, 12, 200])
    def test_baselines_repeat_an_earlier_value_of_the_whole_series(
        self, dll: Any, lag: int
    ) -> None:
        from helpers import data

        table = data.series("elnino")
        task = dll.ForecastTask("elnino", 24, 3, CPU)
        whole = [*table.train[:, 0], *table.validation[:, 0], *table.test[:, 0]]
        first = len(whole) - len(table.test) + 24 + 3 - 1  # the first value that is forecast
        errors = [(whole[i - lag] - whole[i]) ** 2 for i in range(first, len(whole))]
        assert task.baseline(lag) == pytest.approx(sum(errors) / len(errors), rel=1e-5)

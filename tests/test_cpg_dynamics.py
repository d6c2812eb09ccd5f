"""The spikes and the pattern generator of the CPG-PE chapter, on the notebook's definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from helpers.execution import load_definitions
from helpers.project import UsageError
from helpers.spiking import RepeatedInput, Spikformer, lif
from helpers.training import generators

few = settings(max_examples=25, deadline=None)
neurons = st.integers(1, 40)
scales = st.floats(1.5, 20_000)
lengths = st.integers(1, 300)


@pytest.fixture(scope="module")
def cpg() -> Any:
    return load_definitions("cpg_positional_encoding")


class TestNeuron:
    """Written by hand, in helpers.spiking and in SpikingJelly."""

    @given(
        seed=st.integers(0, 10_000),
        tau=st.sampled_from([1.0, 1.5, 2.0, 5.0]),
        threshold=st.sampled_from([0.3, 0.5, 1.0]),
        alpha=st.sampled_from([1.0, 2.0, 4.0]),
    )
    @few
    def test_spikes_and_gradients_agree(
        self, cpg: Any, seed: int, tau: float, threshold: float, alpha: float
    ) -> None:
        noise = torch.randn(
            2, 7, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.double
        )
        drive, arriving = 1.0 + 2.0 * noise[0], noise[1]
        potentials, spikes = cpg.fire_by_hand(drive, tau, threshold)
        assert set(spikes.unique().tolist()) == {0.0, 1.0}
        expected = cpg.gradient_by_hand(potentials, spikes, arriving, tau, threshold, alpha)

        def ours(current: Tensor) -> Tensor:
            return lif(current, tau, threshold, alpha)

        node = neuron.LIFNode(
            tau=tau if tau > 1 else 2.0,
            v_threshold=threshold,
            detach_reset=True,
            surrogate_function=surrogate.ATan(alpha),
            step_mode="m",
        )
        for layer in (ours, node) if tau > 1 else (ours,):  # SpikingJelly refuses 1
            current = drive.clone().requires_grad_()
            fired = layer(current)
            fired.backward(arriving)
            assert torch.equal(fired, spikes)
            torch.testing.assert_close(current.grad, expected, rtol=0, atol=1e-9)

    @pytest.mark.parametrize(
        ("current", "spikes"),
        [
            ([1.5] * 4, [0, 1, 0, 1]),
            ([0.9] * 4, [0, 0, 0, 0]),
            ([2.0] * 3, [1, 1, 1]),  # reaches the threshold exactly
            ([5.0, 0.0, 1.9], [1, 0, 0]),  # what went above the threshold is lost
        ],
    )
    def test_by_hand(self, cpg: Any, current: list[float], spikes: list[int]) -> None:
        assert cpg.fire_by_hand(torch.tensor(current))[1].tolist() == spikes


class TestTokens:
    def test_patches_are_squares_in_the_order_of_reading(self, cpg: Any) -> None:
        picture = torch.arange(24.0).reshape(1, 4, 6)
        tokens = cpg.patches(picture, 2)
        assert tokens.shape == (1, 6, 4)
        assert tokens[0, 1].tolist() == [2, 3, 8, 9]
        assert tokens[0, 3].tolist() == [12, 13, 18, 19]

    def test_flat_and_coloured_pictures(self, cpg: Any) -> None:
        square = torch.rand(3, 8, 8)
        torch.testing.assert_close(cpg.patches(square.flatten(1), 4), cpg.patches(square, 4))
        coloured = torch.stack([square, 2 * square], dim=1)
        tokens = cpg.patches(coloured, 4)
        assert tokens.shape == (3, 4, 32)
        torch.testing.assert_close(tokens[..., 16:], 2 * cpg.patches(square, 4))

    @pytest.mark.parametrize(
        ("shape", "side", "message"),
        [
            ((2, 60), 2, "no square picture"),
            ((2, 8, 9), 2, "divides both"),
            ((2, 9, 8), 2, "divides both"),
            ((2, 8, 8), 0, "divides both"),
        ],
    )
    def test_pictures_that_cannot_be_cut(
        self, cpg: Any, shape: tuple[int, ...], side: int, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            cpg.patches(torch.zeros(shape), side)

    @pytest.mark.parametrize("residual", ["spikes", "membrane"])
    def test_no_code_loses_order_and_a_code_keeps_it(self, cpg: Any, residual: Any) -> None:
        class Placed(cpg.NoCode):
            def forward(self, spikes: Tensor) -> Tensor:
                count, channels = spikes.shape[2], spikes.shape[-1]
                code = cpg.cpg_spikes(count, channels, 100.0)
                return spikes + code.to(spikes)[:, None]

        def change(position: Any) -> float:
            sources = generators([0, 1])
            stem = RepeatedInput(3, 16, 4, sources)
            sizes: dict[str, Any] = {"width": 16, "inner": 16, "heads": 2, "blocks": 2}
            network = Spikformer(
                stem, position, 3, **sizes, sources=sources, residual=residual
            ).double()
            for part in network.modules():
                if isinstance(part, torch.nn.BatchNorm1d):
                    torch.nn.init.ones_(part.bias)  # neurons fire, in the attention too
            x = torch.randn(
                8, 10, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.double
            )
            with torch.no_grad():
                for _ in range(20):
                    network(x)
                network.eval()
                return float((network(x.flip(1)) - network(x)).abs().max())

        assert change(cpg.NoCode(16)) < 1e-5
        assert change(Placed(16)) > 1e-3


class TestPair:
    """Property (a): the dynamics."""

    @given(rate=st.floats(0.01, 2.0), dt=st.sampled_from([0.5, 0.1, 0.02]))
    @few
    def test_energy_stays_and_the_solution_is_sine_and_cosine(
        self, cpg: Any, rate: float, dt: float
    ) -> None:
        duration = 20
        path = cpg.oscillate(rate, duration, dt)
        assert path.shape == (round(duration / dt) + 1, 2)
        torch.testing.assert_close(path.square().sum(1), torch.ones(len(path)).double())
        steps = torch.arange(len(path), dtype=torch.double)
        turned = 2 * math.atan(dt * rate / 2) * steps  # the midpoint rule's own angle
        on_the_circle = torch.stack([turned.sin(), turned.cos()], dim=1)
        torch.testing.assert_close(path, on_the_circle, rtol=0, atol=1e-9)
        solution = torch.stack([(rate * dt * steps).sin(), (rate * dt * steps).cos()], dim=1)
        lag = len(path) * (dt * rate) ** 3 / 12  # an angle; it bounds the distance
        assert float((path - solution).abs().max()) <= lag + 1e-9

    def test_eulers_method_winds_outwards_by_the_derived_factor(self, cpg: Any) -> None:
        energy = cpg.oscillate_by_euler(0.7, 30, 0.1).square().sum(1)
        steps = torch.arange(len(energy))
        torch.testing.assert_close(energy, (1 + 0.07**2) ** steps.double())


class TestTable:
    """Properties (b) to (f): the code."""

    @given(positions=lengths, n=neurons, scale=scales)
    @few
    def test_potentials_are_the_sinusoidal_encoding(
        self, cpg: Any, positions: int, n: int, scale: float
    ) -> None:
        table = cpg.cpg_potentials(positions, n, scale)
        assert table.dtype == torch.double
        assert table.shape == (positions, n)
        p = positions - 1
        for column in range(n):
            wave = math.cos if column % 2 else math.sin
            expected = wave(p / scale ** (2 * (column // 2) / n))
            assert float(table[p, column]) == pytest.approx(expected, abs=1e-12)

    @given(positions=lengths, n=neurons, scale=scales, threshold=st.floats(0.72, 1.0))
    @few
    def test_spikes(self, cpg: Any, positions: int, n: int, scale: float, threshold: float) -> None:
        code = cpg.cpg_spikes(positions, n, scale, threshold)
        assert code.dtype == torch.float32
        assert ((code == 0) | (code == 1)).all()
        assert code[0].tolist() == [float(column % 2) for column in range(n)]
        pairs = n // 2
        assert not (code[:, 0 : 2 * pairs : 2] * code[:, 1 : 2 * pairs : 2]).any()
        longer = cpg.cpg_spikes(positions + 50, n, scale, threshold)
        assert torch.equal(longer[:positions], code)
        assert cpg.distinct_codes(code) <= min(positions, 3 ** (pairs + n % 2))

    def test_the_threshold_itself_fires(self, cpg: Any) -> None:
        assert cpg.cpg_spikes(1, 2, 100.0, threshold=1.0).tolist() == [[0, 1]]
        assert cpg.cpg_spikes(1, 2, 100.0, threshold=0.0).tolist() == [[1, 1]]

    @pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
    def test_firing_rate(self, cpg: Any, threshold: float) -> None:
        expected = (math.pi - 2 * math.asin(threshold)) / (2 * math.pi)
        rates = cpg.cpg_spikes(50_000, 10, 100.0, threshold).double().mean(0)
        torch.testing.assert_close(rates, torch.full_like(rates, expected), rtol=0, atol=2e-3)

    @pytest.mark.parametrize(
        ("n", "scale", "distinct", "tokens", "constant_of_12"),
        [
            (10, 1e4, (7, 31, 74), 146, 6),
            (20, 1e3, (11, 130, 481), 167, 11),
            (40, 1e3, (12, 159, 614), 168, 23),
            (40, 1e4, (12, 149, 568), 168, 27),
            (64, 1e4, (12, 161, 639), 168, 45),
        ],
    )
    def test_distinct_codes(
        self,
        cpg: Any,
        n: int,
        scale: float,
        distinct: tuple[int, ...],
        tokens: int,
        constant_of_12: int,
    ) -> None:
        code = cpg.cpg_spikes(672, n, scale)
        assert tuple(cpg.distinct_codes(code[:length]) for length in (12, 168, 672)) == distinct
        assert cpg.distinct_codes(cpg.joint_code(code, 4)) == tokens
        assert cpg.constant_neurons(12, n, scale, 0.8) == constant_of_12

    @given(n=neurons, scale=scales, threshold=st.floats(0.72, 0.99))
    @few
    def test_constant_neurons(self, cpg: Any, n: int, scale: float, threshold: float) -> None:
        code = cpg.cpg_spikes(100, n, scale, threshold)
        silent_or_firing = int((code == code[0]).all(0).sum())
        # A fast neuron can step over its short arc; it is never counted as one that is too slow.
        assert cpg.constant_neurons(100, n, scale, threshold) <= silent_or_firing

    def test_a_sine_stays_longer_than_a_cosine(self, cpg: Any) -> None:
        # Rates 1 and 0.01; 80 positions on, the slow sine has phase 0.8 < asin 0.8, > acos 0.8.
        assert cpg.constant_neurons(81, 3, 1000.0, 0.8) == 1

    def test_joint_code_puts_a_tokens_rows_side_by_side(self, cpg: Any) -> None:
        rows = torch.arange(12.0).reshape(6, 2)  # two steps, three tokens, two neurons
        assert cpg.joint_code(rows, 2)[1].tolist() == [2, 3, 8, 9]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((10, 0, 100.0), "at least 1"),
            ((0, 4, 100.0), "at least 1"),
            ((10, 4, 1.0), "more than 1"),
            ((10, 4, math.nan), "more than 1"),
        ],
    )
    def test_what_makes_no_code(self, cpg: Any, arguments: Any, message: str) -> None:
        for table in (cpg.cpg_potentials, cpg.cpg_spikes):
            with pytest.raises(UsageError, match=message):
                table(*arguments)

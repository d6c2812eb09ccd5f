"""The encodings, tasks and measurements of the CPG-PE chapter, on the notebook's definitions.

Its neuron and its pattern generator are tested in test_cpg_dynamics.py.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers import claims
from helpers.data.splits import split_series
from helpers.execution import load_definitions
from helpers.execution import run as execute
from helpers.project import Project, UsageError
from helpers.spiking import LIF, ConvolvedInput, Dense, RepeatedInput, Synapses, WordInput, lif
from helpers.training import generators
from helpers.trials import summarise

CHAPTER = "cpg_positional_encoding"
ENCODINGS = ("none", "clock", "conv", "float", "random", "learned", "cpg", "cpg-add")
CONCATENATED = tuple(e for e in ENCODINGS if e not in ("conv", "cpg-add"))
CLAIMS = [
    "CPG-1", "CPG-2", "CPG-3a", "CPG-3b", "CPG-4", "CPG-5", "CPG-6", "CPG-7", "CPG-8a", "CPG-8b",
    "CPG-9", "CPG-10", "CPG-11",
]  # fmt: skip
CPU = torch.device("cpu")
SEEDS = [3, 5]
few = settings(max_examples=15, deadline=None)
very_few = settings(max_examples=5, deadline=None)


@pytest.fixture(scope="module")
def cpg() -> Any:
    return load_definitions(CHAPTER)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors are slower on more
    yield
    torch.set_num_threads(before)


@pytest.fixture
def double() -> Iterator[None]:
    """Everything in double precision, so that no rounding becomes a spike."""
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(torch.float)


def noise(*shape: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.double)


def random_spikes(*shape: int, seed: int = 0) -> Tensor:
    return (noise(*shape, seed=seed) > 0).double()


def lights(cpg: Any, tokens: int = 6, updates: int = 8, **changes: Any) -> Any:
    """One token is on: which?"""
    which = torch.arange(tokens).repeat(8)
    part = F.one_hot(which, tokens).unsqueeze(2).to(torch.get_default_dtype()), which
    problem = cpg.Problem(
        "lights",
        *[part] * 3,
        outputs=tokens,
        stem=partial(RepeatedInput, 1, 6, 4),
        grid=(1, tokens),
        batch=8,
        updates=updates,
        rate=2e-2,
    )
    return replace(problem, **changes)


def forecasts(cpg: Any) -> Any:
    """Windows of six steps of two noisy sines, two steps to forecast."""
    time = torch.arange(60)[:, None]
    values = torch.sin(time + torch.arange(2)) + 0.1 * noise(60, 2)
    part = tuple(p.to(torch.get_default_dtype()) for p in cpg.windows(values.numpy(), 6, 2))
    return lights(
        cpg,
        updates=25,
        train=part,
        validation=part,
        test=part,
        outputs=4,
        stem=partial(RepeatedInput, 2, 6, 4),
    )


def network_for(cpg: Any, problem: Any, name: str = "cpg", seeds: Any = SEEDS, **body: Any) -> Any:
    position = partial(cpg.encode, name, cpg.Code(4, 8, 30.0), problem.grid)
    return cpg.build(
        problem, position, cpg.Body(**{"width": 8, "inner": 6, "heads": 2} | body), seeds
    )


def awake(cpg: Any, network: Any, x: Tensor) -> Any:
    """An untrained network whose normalisation has seen x, with a current that makes it fire."""
    normalisations = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
    replicas = network.read.weight.shape[0]
    with torch.no_grad():
        for part in normalisations:
            part.bias.fill_(1.0)
        for _ in range(20):
            network(cpg.side_by_side(x, replicas))
    return network.eval()


class TestCode:
    @pytest.mark.parametrize(
        ("axis", "expected"),
        [
            ("steps", [[0, 10, 20], [30, 40, 50]]),
            ("tokens", [[0, 10, 20], [0, 10, 20]]),
        ],
    )
    def test_positions_run_over_tokens_and_then_over_steps(
        self, cpg: Any, axis: str, expected: list[list[int]]
    ) -> None:
        code = cpg.Code(steps=2, neurons=1, axis=axis)
        table = 10.0 * torch.arange(code.positions(3)).unsqueeze(1)
        placed = code.place(table, 3)
        assert placed.shape == (2, 1, 3, 1)
        assert placed[:, 0, :, 0].tolist() == expected
        with_seeds = code.place(torch.stack([table, table + 1], dim=1), 3)
        assert with_seeds.shape == (2, 1, 3, 2, 1)
        assert with_seeds[:, 0, :, 1, 0].tolist() == [[v + 1 for v in row] for row in expected]

    def test_the_table_is_long_enough_or_the_setting_is_named(self, cpg: Any) -> None:
        assert cpg.Code(steps=4, rows=24).positions(6) == 24
        assert cpg.Code(steps=4, rows=24, axis="tokens").positions(24) == 24
        for name in set(ENCODINGS) - {"conv"}:  # a convolution has no table
            with pytest.raises(UsageError, match=r"7 tokens need 28 .* 24 rows.*`table_rows`"):
                cpg.encode(name, cpg.Code(steps=4, rows=24), (1, 7), 3, generators(SEEDS))

    def test_an_unknown_encoding_names_the_known_ones(self, cpg: Any) -> None:
        with pytest.raises(UsageError, match=r"'gray'.*none, clock, conv"):
            cpg.encode("gray", cpg.Code(), (1, 4), 3, generators(SEEDS))


class TestEncodings:
    def test_all_are_tested_here(self, cpg: Any) -> None:
        assert cpg.ENCODINGS == ENCODINGS

    @pytest.mark.parametrize("axis", ["steps", "tokens"])
    @pytest.mark.parametrize("name", ENCODINGS)
    def test_shapes_and_values(self, cpg: Any, name: str, axis: str) -> None:
        code = cpg.Code(steps=4, neurons=6, scale=30.0, axis=axis)
        layer = cpg.encode(name, code, (3, 4), 5, generators(SEEDS))
        spikes = random_spikes(4, 3, 12, 2, 5).float()
        out = layer(spikes).detach()
        assert layer.channels == (11 if name in CONCATENATED else 5)
        assert out.shape == (4, 3, 12, 2, layer.channels)
        if name in CONCATENATED:
            assert torch.equal(out[..., :5], spikes)
            assert torch.equal(out[..., 5:], layer.code.expand(4, 3, 12, 2, 6))
        seen = set(out.unique().tolist())
        if name == "float":
            assert len(seen) > 20
            assert min(seen) < -0.5
        else:
            assert seen == ({0.0, 1.0, 2.0} if name in ("conv", "cpg-add") else {0.0, 1.0})

    def test_tables_that_the_pattern_generator_gives(self, cpg: Any) -> None:
        settings_of = cpg.Code(steps=3, neurons=6, scale=30.0)
        steps, tokens = torch.arange(3)[:, None], torch.arange(5)
        spikes = cpg.cpg_spikes(15, 6, 30.0)
        expected = {
            "cpg": spikes[5 * steps + tokens],
            "clock": spikes[5 * steps + 0 * tokens],
            "float": cpg.cpg_potentials(15, 6, 30.0)[5 * steps + tokens].float(),
            "none": torch.zeros(3, 5, 6),
        }
        for name, table in expected.items():
            layer = cpg.encode(name, settings_of, (1, 5), 2, generators(SEEDS))
            assert torch.equal(layer.code[:, 0, :, 0], table), name
            assert not list(layer.parameters())
        added = cpg.encode("cpg-add", settings_of, (1, 5), 9, generators(SEEDS))
        table = cpg.cpg_spikes(15, 9, 30.0)[5 * steps + tokens]
        assert torch.equal(added.code[:, 0, :, 0], table)

    def test_the_clock_says_nothing_about_tokens(self, cpg: Any) -> None:
        code = cpg.encode("clock", cpg.Code(), (1, 12), 2, generators(SEEDS)).code
        assert torch.equal(code, code[:, :, :1].expand_as(code))
        assert not torch.equal(code[0], code[1])

    def test_random_codes_are_one_per_seed_at_the_rate_of_the_rhythm(self, cpg: Any) -> None:
        def drawn(*seeds: int) -> Tensor:
            settings_of = cpg.Code(steps=4, neurons=40, threshold=0.5)
            return cpg.encode("random", settings_of, (1, 100), 2, generators(seeds)).code

        both = drawn(3, 5)
        assert torch.equal(both[..., 1:, :], drawn(5))
        assert float((both[..., 0, :] != both[..., 1, :]).float().mean()) > 0.3
        assert float(both.mean()) == pytest.approx(1 / 3, abs=0.01)  # acos(0.5) / pi

    @pytest.mark.parametrize(("axis", "rows"), [("steps", 20), ("tokens", 5)])
    def test_a_learned_code_is_binary_and_gets_a_gradient(
        self, cpg: Any, axis: str, rows: int
    ) -> None:
        layer = cpg.encode("learned", cpg.Code(4, 6, axis=axis), (1, 5), 2, generators(SEEDS))
        assert layer.table.shape == (rows, 2, 6)
        assert torch.equal(layer.code[0, 0], (layer.table[:5] >= 0.4).float())
        assert not torch.equal(layer.table[:, 0], layer.table[:, 1])
        out = layer(torch.zeros(4, 3, 5, 2, 2))
        (out * torch.rand_like(out)).sum().backward()
        assert (layer.table.grad != 0).all()

    def test_all_concatenated_codes_start_alike(self, cpg: Any) -> None:
        """Only the table differs: what is compared has the same seed, and the same start."""
        first = network_for(cpg, lights(cpg), "cpg")
        for name in CONCATENATED:
            other = network_for(cpg, lights(cpg), name)
            for (key, expected), found in zip(
                first.named_parameters(),
                (p for k, p in other.named_parameters() if not k.startswith("position.")),
                strict=True,
            ):
                assert torch.equal(expected, found), f"{name}: {key}"

    def test_a_code_is_not_drawn_from_the_numbers_of_the_weights(self, cpg: Any) -> None:
        problem = lights(cpg, stem=partial(RepeatedInput, 1, 32, 4))
        network = network_for(cpg, problem, "learned")  # a table of 24 positions, 8 neurons
        table = network.position.table.transpose(0, 1).flatten(1)[:, :32] / 0.5  # in units of sd
        weights = network.stem.synapses[0].weight[:, 0] * math.sqrt(3)
        assert not torch.isclose(table, weights).any()

    @pytest.mark.parametrize("grid", [(3, 4), (2, 5), (1, 7), (1, 1)])
    def test_convolution_is_pytorchs_seed_by_seed(self, cpg: Any, grid: tuple[int, int]) -> None:
        layer = cpg.Convolved(grid, 5, generators(SEEDS)).double()
        spikes = random_spikes(3, 4, math.prod(grid), 2, 5)
        out = layer(spikes)
        for s in range(2):
            size = 3 if grid[0] > 1 else 1, 3 if grid[1] > 1 else 1
            convolve = nn.Conv2d(5, 5, size, padding="same", bias=False).double()
            assert layer.kernels.shape[-2:] == size
            convolve.weight.data = layer.kernels[s].detach()
            maps = spikes[:, :, :, s].flatten(0, 1).mT.unflatten(2, grid)
            current = nn.BatchNorm2d(5).double()(convolve(maps))
            fired = lif(current.unflatten(0, (3, 4)))
            expected = spikes[:, :, :, s] + fired.flatten(3).mT
            assert torch.equal(out[:, :, :, s], expected)
        assert grid == (1, 1) or not torch.equal(out, spikes)


class TestInsertion:
    @given(
        shape=st.tuples(*[st.integers(1, 4)] * 3),
        replicas=st.integers(1, 3),
        sizes=st.tuples(*[st.integers(1, 6)] * 3),
        own=st.booleans(),
        seed=st.integers(0, 10_000),
    )
    @few
    def test_concatenation_is_cpg_linear(
        self,
        cpg: Any,
        shape: tuple[int, int, int],
        replicas: int,
        sizes: tuple[int, int, int],
        own: bool,
        seed: int,
    ) -> None:
        steps, batch, tokens = shape
        channels, n, width = sizes
        code = random_spikes(steps, 1, tokens, replicas if own else 1, n, seed=seed)
        spikes = random_spikes(steps, batch, tokens, replicas, channels, seed=seed + 1)
        dense = Dense(channels + n, width, generators(range(replicas))).double()
        joined = dense(cpg.Appended(code, channels)(spikes)).detach()
        split = cpg.CPGLinear(dense, code)(spikes).detach()
        torch.testing.assert_close(joined, split, rtol=0, atol=1e-12)
        moved = code.roll(1, dims=2)
        assume(not torch.equal(moved, code))
        assert not torch.allclose(cpg.CPGLinear(dense, moved)(spikes), joined, rtol=0, atol=1e-6)

    def test_a_constant_code_is_no_code(self, cpg: Any) -> None:
        def current(code: Tensor) -> tuple[Tensor, Tensor]:
            synapses: Any = Synapses(9, 7, generators(SEEDS)).double()
            out = synapses(cpg.Appended(code, 5)(random_spikes(4, 3, 6, 2, 5)))
            (out * noise(*out.shape, seed=4)).sum().backward()
            return out.detach(), synapses[0].weight.grad[:, 5:]

        silent, _ = current(torch.zeros(1, 1, 1, 1, 4).double())
        constant, pulled = current(noise(1, 1, 1, 1, 4))
        torch.testing.assert_close(constant, silent, rtol=0, atol=1e-10)
        torch.testing.assert_close(pulled, torch.zeros_like(pulled), rtol=0, atol=1e-10)
        told, pulled = current(random_spikes(4, 1, 6, 1, 4))
        assert float((told - silent).abs().max()) > 0.1
        assert float(pulled.abs().max()) > 0.1

    @pytest.mark.parametrize("residual", ["spikes", "membrane"])
    @pytest.mark.parametrize("stem", ["numbers", "words"])
    @pytest.mark.parametrize("name", ENCODINGS)
    def test_order_is_seen_with_a_code_for_tokens_only(
        self, cpg: Any, double: None, name: str, stem: str, residual: str
    ) -> None:
        if stem == "words":
            x = torch.randint(1, 20, (8, 6), generator=torch.Generator().manual_seed(1))
            problem = lights(cpg, stem=partial(WordInput, 20, 6, 4))
        else:
            x = noise(8, 6, 3)
            problem = lights(cpg, stem=partial(RepeatedInput, 3, 6, 4))
        network = awake(cpg, network_for(cpg, problem, name, residual=residual), x)
        assert float(cpg.answers(network, x, 2).std(0).min()) > 1e-3  # they are not silent
        changes = cpg.change_when_shuffled(network, x, 2, seed=1)
        assert max(changes) < 1e-9 if name in ("none", "clock") else min(changes) > 1e-3


class TestSeries:
    @given(
        length=st.integers(8, 20),
        variables=st.integers(1, 3),
        window=st.integers(1, 4),
        horizon=st.integers(1, 3),
    )
    @few
    def test_windows_and_what_follows(
        self, cpg: Any, length: int, variables: int, window: int, horizon: int
    ) -> None:
        part = noise(length, variables).numpy()
        x, y = cpg.windows(part, window, horizon)
        assert len(x) == len(y) == length - window - horizon + 1
        record = split_series("toy", noise(100, variables).numpy(), ["v"] * variables)
        by_step = cpg.SeriesTask(record, window, horizon).by_step(y)
        for n in range(len(x)):
            assert x[n].tolist() == part[n : n + window].tolist()
            follows = part[n + window : n + window + horizon]
            assert by_step[n].tolist() == follows.tolist()
            assert y[n].tolist() == [value for step in follows for value in step]

    def test_a_window_that_is_too_long(self, cpg: Any) -> None:
        assert len(cpg.windows(np.zeros((8, 1)), 4, 3)[0]) == 2
        with pytest.raises(UsageError, match=r"8 time steps .* 4 steps with 4 .*shorter"):
            cpg.windows(np.zeros((8, 1)), 4, 4)

    def test_forecasts_without_a_network(self, cpg: Any) -> None:
        record = split_series("toy", noise(100, 2).numpy(), ["a", "b"])
        task = cpg.SeriesTask(record, 4, 5)
        x = torch.tensor([[[1.0, 10], [2, 20], [3, 30], [4, 40]]])
        assert cpg.persistence(task, x).tolist() == [[4, 40] * 5]
        assert cpg.seasonal(task, x, 3).tolist() == [[2, 20, 3, 30, 4, 40, 2, 20, 3, 30]]
        assert cpg.seasonal(task, x, 1).tolist() == [[4, 40] * 5]
        assert cpg.seasonal(task, x, 4).tolist() == [[1, 10, 2, 20, 3, 30, 4, 40, 1, 10]]
        assert task.name == "toy, 5 ahead"
        assert [len(x) for x, _ in task.parts()] == [62, 2, 12]  # of 70, 10 and 20 steps

    @given(seed=st.integers(0, 10_000), count=st.integers(3, 12))
    @few
    def test_measures(self, cpg: Any, seed: int, count: int) -> None:
        horizon, variables = 3, 4
        record = split_series("toy", noise(100, variables).numpy(), ["v"] * variables)
        task = cpg.SeriesTask(record, 2, horizon)
        truth = noise(count, horizon * variables, seed=seed)
        forecast = truth.unsqueeze(1) + noise(count, 2, horizon * variables, seed=seed + 1)
        y = truth.numpy()
        for s, miss in enumerate((forecast.numpy() - y[:, None]).transpose(1, 0, 2)):
            expected = np.sqrt((miss**2).sum() / ((y - y.mean(axis=0)) ** 2).sum())
            assert cpg.rse(forecast, truth)[s].item() == pytest.approx(expected)
            rows = (a.reshape(-1, variables) for a in (y, y + miss))
            r2 = r2_score(*rows, multioutput="uniform_average")
            assert cpg.variance_explained(task, forecast, truth)[s].item() == pytest.approx(r2)
            at_once = r2_score(y.ravel(), (y + miss).ravel())
            assert cpg.variance_explained_flat(forecast, truth)[s].item() == pytest.approx(at_once)
        mean, exact = truth.mean(0).expand(count, 1, -1), truth.unsqueeze(1)
        assert cpg.rse(mean, truth).item() == pytest.approx(1.0)
        assert cpg.rse(exact, truth).item() == 0.0
        levels = 100.0 * torch.arange(variables).repeat(horizon)
        there = forecast + levels, truth + levels
        torch.testing.assert_close(cpg.rse(*there), cpg.rse(forecast, truth))
        per_variable = cpg.variance_explained(task, forecast, truth)
        torch.testing.assert_close(cpg.variance_explained(task, *there), per_variable)
        assert (cpg.variance_explained_flat(*there) > 0.99).all()
        assert (per_variable < 0.8).all()

    def test_the_generated_series(self, cpg: Any) -> None:
        made, again = cpg.generated_series(), cpg.load_series("generated")
        parts = [made.train, made.validation, made.test]
        assert [len(p) for p in parts] == [1050, 150, 300]
        for part, other in zip(parts, (again.train, again.validation, again.test), strict=True):
            assert np.array_equal(part, other)
        np.testing.assert_allclose(made.train.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(made.train.std(0), 1, atol=1e-5)
        np.testing.assert_allclose(made.mean, 3 * np.arange(8), atol=0.1)
        raw = np.concatenate(parts).astype(float) * made.sd + made.mean
        power = np.abs(np.fft.rfft(raw[: 84 * 17] - raw[: 84 * 17].mean(0), axis=0))
        assert (np.sort(power.argsort(axis=0)[-2:], axis=0) == [[17], [119]]).all()  # 84 and 12
        raw[-300:] = 50 + 7 * raw[-300:]
        changed = split_series("changed", raw, made.columns)
        np.testing.assert_allclose(changed.train, made.train, atol=1e-5)
        assert np.abs(changed.test - made.test).min() > 1

    def test_a_series_of_ones_own(self, cpg: Any, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("a,b\n" + "\n".join(f"{t % 7},{t}" for t in range(40)) + "\n")
        assert cpg.load_series(str(path)).columns == ("a", "b")


class TestImages:
    @pytest.mark.parametrize(("shape", "side"), [((1, 4, 6), 2), ((3, 6, 6), 3), ((2, 4, 4), 1)])
    def test_tokens_are_the_picture(self, cpg: Any, shape: tuple[int, int, int], side: int) -> None:
        images = noise(5, *shape)
        tokens = cpg.tokens_of(images.flatten(1).numpy(), shape, side)
        high, wide = shape[1] // side, shape[2] // side
        assert tokens.shape == (5, high * wide, shape[0] * side * side)
        again = tokens.reshape(5, high, wide, shape[0], side, side).permute(0, 3, 1, 4, 2, 5)
        assert torch.equal(again.reshape(5, *shape), images)

    @pytest.mark.parametrize("shape", [(1, 9, 8), (1, 8, 9)])
    def test_a_side_that_does_not_divide(self, cpg: Any, shape: tuple[int, int, int]) -> None:
        with pytest.raises(UsageError, match=r"squares of 4: give a `patch` that divides both"):
            cpg.tokens_of(np.zeros((2, 72)), shape, 4)

    def test_the_float_transformer_needs_a_code_for_order(self, cpg: Any) -> None:
        def change(code: Tensor) -> list[float]:
            body = cpg.Body(8, 6, 2, blocks=2)
            network = cpg.FloatTransformer(3, 5, code, 4, body, generators(SEEDS)).double()
            x = noise(8, 6, 3)
            assert cpg.answers(awake(cpg, network, x), x, 2).shape == (8, 2, 4)
            return cpg.change_when_shuffled(network, x, 2, seed=1)

        assert max(change(torch.zeros(1, 6, 1, 4))) < 1e-10
        assert min(change(cpg.cpg_potentials(6, 4, 30.0).reshape(1, 6, 1, 4))) > 1e-3

    def test_branches_that_say_nothing_leave_the_float_tokens_as_they_are(self, cpg: Any) -> None:
        code, body = cpg.cpg_potentials(6, 4, 30.0).reshape(1, 6, 1, 4), cpg.Body(8, 6, 2, blocks=2)
        network = cpg.FloatTransformer(3, 5, code, 4, body, generators(SEEDS)).double()
        x = cpg.side_by_side(noise(8, 6, 3), 2)
        with_branches = network(x)
        for block in network.blocks:
            for last in ("answer", "second"):
                nn.init.zeros_(block[last][0].weight)
        spread = code.expand(8, 6, 2, 4)
        tokens = network.merge(torch.cat([network.stem(x).relu(), spread], dim=-1)).relu()
        torch.testing.assert_close(network(x), network.read(tokens.mean(1)))
        assert not torch.allclose(network(x), with_branches)

    def test_softmax_attention_by_hand(self, cpg: Any) -> None:
        network = cpg.FloatTransformer(
            3, 5, torch.zeros(1, 4, 1, 2), 4, cpg.Body(6, 6, 2), generators(SEEDS)
        )
        asked = noise(3, 4, 2, 18)
        seen = network.attend(asked)
        for b, s, head in itertools.product(range(3), range(2), range(2)):
            q, k, v = (asked[b, :, s, 6 * i + 3 * head : 6 * i + 3 * head + 3] for i in range(3))
            expected = (q @ k.T / math.sqrt(3)).softmax(-1) @ v
            torch.testing.assert_close(seen[b, :, s, 3 * head : 3 * head + 3], expected)


class TestText:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("The list's items, 12 of them.", ["the", "list's", "items", "12", "of", "them"]),
            ("你好 world", ["你", "好", "world"]),
            ("abc你12_x", ["abc", "你", "12", "x"]),
            ("Don't 'quote' Café", ["don't", "quote", "café"]),
            ("... -- ", []),
        ],
    )
    def test_words(self, cpg: Any, text: str, words: list[str]) -> None:
        assert cpg.words_of(text) == words

    def test_the_vocabulary_is_the_most_frequent_words(self, cpg: Any) -> None:
        texts = ["b a b", "c a", "d c"]
        assert cpg.vocabulary_of(texts, 3) == {"a": 2, "b": 3, "c": 4}
        assert list(cpg.vocabulary_of(texts, 10)) == ["a", "b", "c", "d"]

    def test_numbers_are_cut_or_filled(self, cpg: Any) -> None:
        numbers = cpg.numbered(["B a x", "a", "", "a b a b a"], {"a": 2, "b": 3}, 4)
        assert numbers.tolist() == [[3, 2, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [2, 3, 2, 3]]

    @given(st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=6))
    @few
    def test_both_ways(self, cpg: Any, sentences: list[list[int]]) -> None:
        x = torch.tensor([s + [0] * (5 - len(s)) for s in sentences])
        both, classes = cpg.both_ways(x)
        forward, backward = both.split(len(x))
        assert classes.tolist() == [1] * len(x) + [0] * len(x)
        assert torch.equal(forward, x)
        assert backward.tolist() == [s[::-1] + [0] * (5 - len(s)) for s in sentences]
        assert torch.equal(cpg.both_ways(backward)[0][len(x) :], x)
        bags = cpg.bag_of_words(both, 10)
        assert np.array_equal(bags[: len(x)], bags[len(x) :])

    def test_what_is_asked(self, cpg: Any) -> None:
        part, known = [("a b", 4), ("b", 7)], {"a": 2, "b": 3}
        x, y = cpg.asked(part, known, 3, "label")
        assert (x.tolist(), y.tolist()) == ([[2, 3, 0], [3, 0, 0]], [4, 7])
        x, y = cpg.asked(part, known, 3, "direction")
        assert x.tolist() == [[2, 3, 0], [3, 0, 0], [3, 2, 0], [3, 0, 0]]
        assert y.tolist() == [1, 1, 0, 0]

    def test_a_bag_counts_words_and_no_fillers(self, cpg: Any) -> None:
        bag = cpg.bag_of_words(torch.tensor([[2, 3, 2, 0], [1, 0, 0, 0]]), 4)
        assert bag.tolist() == [[0, 0, 2, 1], [0, 1, 0, 0]]


class Fixed(nn.Module):
    """Outputs (B, S, n) that are the tokens' mean, times 1, 2, ... for each network."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) * torch.arange(1, x.shape[2] + 1)[:, None]


class TestTraining:
    def test_errors_are_means_per_network_and_sums_over_networks(self, cpg: Any) -> None:
        outputs, targets = noise(5, 3, 4), torch.arange(15).reshape(5, 3) % 4
        likely = outputs.softmax(-1)
        expected = sum(
            -math.log(likely[b, s, targets[b, s]]) / 5 for b in range(5) for s in range(3)
        )
        assert float(cpg.error(outputs, targets)) == pytest.approx(expected)
        values = noise(5, 3, 4, seed=1)
        by_network = sum(float(((outputs - values)[:, s] ** 2).mean()) for s in range(3))
        assert float(cpg.error(outputs, values)) == pytest.approx(by_network)

    def test_batches_pass_every_example_before_the_next_epoch(self, cpg: Any) -> None:
        batches = list(itertools.islice(cpg.endless_batches(7, 3, generators(SEEDS)), 6))
        for epoch in (torch.cat(batches[:3], dim=1), torch.cat(batches[3:], dim=1)):
            assert epoch.sort().values.tolist() == [list(range(7))] * 2
        assert not torch.equal(batches[0], batches[3])

    def test_the_loss_falls(self, cpg: Any) -> None:
        problem = lights(cpg, updates=150)
        network = network_for(cpg, problem, width=24, inner=24)
        targets = problem.test[1].unsqueeze(1).expand(-1, 2)

        def loss() -> float:
            return float(cpg.error(cpg.answers(network, problem.test[0], 2), targets))

        before = loss()
        cpg.train(network, problem, SEEDS)
        assert loss() < 0.5 * before
        assert min(cpg.score(network, problem, 2)) > 60  # per cent; chance is 17

    @pytest.mark.parametrize("name", ["cpg", "random", "learned", "conv"])
    def test_a_seed_does_not_notice_its_neighbours(self, cpg: Any, double: None, name: str) -> None:
        def trained(*seeds: int) -> Any:
            problem = lights(cpg, updates=6)
            network = network_for(cpg, problem, name, seeds)
            cpg.train(network, problem, seeds)
            awake(cpg, network, problem.test[0])  # so that every weight shows in the answers
            return cpg.answers(network, problem.test[0], len(seeds)), network

        (together, network), (turned, _), (alone, single) = (
            trained(3, 5),
            trained(5, 3),
            trained(5),
        )
        torch.testing.assert_close(together[:, 1:], alone)
        torch.testing.assert_close(turned, together.flip(1))
        torch.testing.assert_close(network.merge[0].weight[1:], single.merge[0].weight)
        assert float((together[:, 0] - together[:, 1]).abs().max()) > 0.01

    def test_answers_do_not_depend_on_the_chunk(self, cpg: Any) -> None:
        problem = lights(cpg)
        network, x = network_for(cpg, problem), problem.test[0]
        whole = cpg.answers(awake(cpg, network, x).train(), x, 2)
        torch.testing.assert_close(cpg.answers(network, x, 2, chunk=5), whole)
        assert not network.training

    def test_scores_by_hand(self, cpg: Any) -> None:
        x = torch.tensor([[3.0, 1, 2], [1, 2, 3], [1, 3, 2], [5, 4, 1]]).unsqueeze(1)
        part = x, torch.tensor([0, 1, 1, 0])
        classes = lights(cpg, test=part, validation=(x, torch.tensor([0, 2, 1, 0])))
        assert cpg.score(Fixed(), classes, 2) == [75, 75]
        assert cpg.score(Fixed(), classes, 2, "validation") == [100, 100]
        values = lights(cpg, test=(x, 2 * x[:, 0]), train=(x, 2 * x[:, 0]))
        assert values.forecasts
        assert not classes.forecasts
        spread = 2 * (x[:, 0] - x[:, 0].mean(0))
        expected = math.sqrt(x.square().sum() / spread.square().sum())
        assert cpg.score(Fixed(), values, 2) == pytest.approx([expected, 0.0])

    def test_the_control_joins_its_partners(self, cpg: Any) -> None:
        assert cpg.with_control(["cpg", "none"]) == ["none", "clock", "cpg"]
        assert cpg.with_control(["random", "conv", "cpg"]) == ["conv", "random", "cpg"]

    def test_comparing_is_training_each_alone(self, cpg: Any, double: None) -> None:
        problem, body = lights(cpg, updates=3), cpg.Body(8, 6, 2)
        code = cpg.Code(4, 8, 30.0)
        found = cpg.compare(problem, ["cpg", "float"], code, body, SEEDS, CPU)
        assert list(found) == ["cpg", "float"]
        alone = network_for(cpg, problem, "float")
        cpg.train(alone, problem, SEEDS)
        for (name, trained), expected in zip(
            found["float"].named_parameters(), alone.parameters(), strict=True
        ):
            torch.testing.assert_close(trained, expected, msg=name)
        assert not torch.equal(found["cpg"].merge[0].weight, alone.merge[0].weight)


class TestAblation:
    def test_a_point_of_the_grid_is_a_network_alone(self, cpg: Any, double: None) -> None:
        problem, body = forecasts(cpg), cpg.Body(8, 6, 2)
        variants = [
            cpg.Code(4, 8, 30.0),
            cpg.Code(4, 5, 100.0, axis="tokens"),
            cpg.Code(4, 8, 30.0, threshold=0.3),
        ]
        found = cpg.ablate(problem, variants, body, SEEDS, CPU)
        assert np.shape(found) == (3, 2)
        for variant, scores in zip(variants, found, strict=True):
            code = variant.place(cpg.code_table("cpg", variant, 6, []), 6)
            padded = cpg.silent_beyond(code, 8)
            alone = cpg.build(problem, lambda c, _, p=padded: cpg.Appended(p, c), body, SEEDS)
            cpg.train(alone, problem, SEEDS)
            assert scores == pytest.approx(cpg.score(alone, problem, 2, "validation"), rel=1e-6)
        assert found[0] != pytest.approx(found[2], rel=1e-6)

    def test_silent_neurons_are_put_behind(self, cpg: Any) -> None:
        padded = cpg.silent_beyond(torch.ones(2, 3), 5)
        assert padded.tolist() == [[1, 1, 1, 0, 0]] * 2

    @given(
        code=st.tuples(st.integers(1, 4), st.integers(1, 12), st.floats(2, 5000)),
        tokens=st.integers(1, 40),
        axis=st.sampled_from(["steps", "tokens"]),
    )
    @few
    def test_unlike_counts_sets(
        self, cpg: Any, code: tuple[int, int, float], tokens: int, axis: str
    ) -> None:
        steps, n, scale = code
        settings_of = cpg.Code(steps, n, scale, axis=axis)
        rows = [tuple(row) for row in cpg.cpg_spikes(steps * tokens, n, scale).tolist()]
        if axis == "tokens":
            rows = rows[:tokens] * steps
        joint = {tuple(rows[t * tokens + i] for t in range(steps)) for i in range(tokens)}
        assert cpg.unlike(settings_of, tokens) == (len(set(rows)), len(joint))

    @given(tokens=st.integers(1, 40), n=st.integers(1, 12))
    @few
    def test_doubles_are_positions_that_share_a_code(self, cpg: Any, tokens: int, n: int) -> None:
        rows = [tuple(row) for row in cpg.cpg_spikes(2 * tokens, n, 50.0).tolist()]
        counts = Counter(rows)
        expected = sum(counts[row] > 1 for row in rows) / len(rows)
        found = cpg.share_of_doubles(cpg.Code(2, n, 50.0), tokens)
        assert found == pytest.approx(expected)


class TestInside:
    def test_every_map_is_watched(self, cpg: Any) -> None:
        network, x = network_for(cpg, lights(cpg), blocks=2), lights(cpg).test[0]
        read = cpg.what_is_read(network, x, 2)
        maps = {name: m for name, m in network.named_modules() if isinstance(m, Dense)}
        assert read.keys() == maps.keys()
        assert len(maps) == 1 + 1 + 2 * 4 + 1
        for name, values in read.items():
            assert values.shape[-2:] == maps[name].weight.shape[:2]
        assert torch.equal(read["stem.synapses.0"], cpg.side_by_side(x, 2))
        assert not any(m._forward_hooks for m in maps.values())

    def test_every_example_is_watched(self, cpg: Any) -> None:
        network, x = network_for(cpg, lights(cpg)), torch.rand(300, 6, 1)
        assert cpg.what_is_read(network, x, 2)["merge.0"].shape[1] == 300

    @pytest.mark.parametrize("name", ENCODINGS)
    @pytest.mark.parametrize("residual", ["spikes", "membrane"])
    def test_what_is_binary_at_evaluation(self, cpg: Any, name: str, residual: str) -> None:
        x = noise(8, 6, 3).float()
        problem = lights(cpg, stem=partial(RepeatedInput, 3, 6, 4))
        network = awake(cpg, network_for(cpg, problem, name, residual=residual, blocks=2), x)
        read = cpg.what_is_read(network, x, 2)
        assert min(cpg.share_not_binary(read.pop("stem.synapses.0"))) == 1
        read.pop("read")
        behind = cpg.share_not_binary(read.pop("merge.0"))
        assert min(behind) > 0 if name in ("float", "conv", "cpg-add") else behind == [0, 0]
        inside = {key: max(cpg.share_not_binary(values)) for key, values in read.items()}
        if residual == "membrane":
            assert set(inside.values()) == {0.0}
        else:
            assert inside["blocks.1.attention.ask.0"] > 0

    def test_share_of_other_values(self, cpg: Any) -> None:
        values = torch.tensor([[[0.0, 1, 0.5], [0, 1, 1]], [[2.0, 0, -1], [1, 1, 0.1]]])
        assert cpg.share_not_binary(values) == pytest.approx([3 / 6, 1 / 6])

    def test_another_code_is_put_back(self, cpg: Any) -> None:
        network = network_for(cpg, lights(cpg))
        before = network.position.code
        other = torch.zeros_like(before)
        with cpg.other_code(network, other):
            assert network.position.code is other
        assert network.position.code is before
        with pytest.raises(ZeroDivisionError), cpg.other_code(network, other):
            _ = 1 / 0
        assert network.position.code is before

    def test_a_pair_held_keeps_its_mean(self, cpg: Any) -> None:
        code = noise(4, 1, 6, 2, 7)
        code[..., 4:6] = 0.25
        held = cpg.with_pair_held(code, 1)
        torch.testing.assert_close(held.mean((0, 2)), code.mean((0, 2)))
        torch.testing.assert_close(held[..., 2:4].std((0, 2)), torch.zeros(1, 2, 2).double())
        others = [0, 1, 4, 5, 6]
        assert torch.equal(held[..., others], code[..., others])
        assert torch.equal(cpg.with_pair_held(code, 2), code)
        assert not torch.equal(held, code)

    def test_losses_are_losses(self, cpg: Any) -> None:
        assert cpg.loss_of([90.0, 80.0], [70.0, 85.0], lights(cpg)) == [20, -5]
        assert cpg.loss_of([0.5, 0.25], [0.75, 0.0], forecasts(cpg)) == [0.25, -0.25]

    @pytest.mark.parametrize("n", [6, 7])
    def test_strength_is_that_of_the_codes_synapses(self, cpg: Any, n: int) -> None:
        network = network_for(cpg, lights(cpg))
        weights = network.merge[0].weight[:, -n:]  # of eight code neurons
        for s, pair in itertools.product(range(2), range(3)):
            expected = weights[s, 2 * pair : 2 * pair + 2].pow(2).mean().sqrt()
            found = cpg.strength_of_pairs(network, n)
            assert found.shape == (2, 3)
            torch.testing.assert_close(found[s, pair], expected)

    def test_a_shifted_code_is_that_of_a_later_token(self, cpg: Any) -> None:
        code = noise(2, 1, 5, 2, 3)
        for by in (0, 1, 3, 7):
            moved = cpg.shifted(code, 5, by)
            for token in range(5):
                assert torch.equal(moved[:, :, token], code[:, :, (token + by) % 5])
        constant = cpg.shifted(code[:, :, :1], 5, 2)
        assert torch.equal(constant, code[:, :, :1].expand(2, 1, 5, 2, 3))

    def test_hamming_map(self, cpg: Any) -> None:
        code = random_spikes(3, 1, 4, 2, 5)
        found = cpg.hamming_map(code)
        for s, i, j in itertools.product(range(2), range(4), range(4)):
            differ = sum(
                code[t, 0, i, s, n] != code[t, 0, j, s, n] for t in range(3) for n in range(5)
            )
            assert found[s, i, j] == differ

    def test_attention_maps_count_common_spikes(self, cpg: Any) -> None:
        x = noise(5, 4, 3).float()
        problem = lights(cpg, tokens=4, stem=partial(RepeatedInput, 3, 6, 4))
        network = awake(cpg, network_for(cpg, problem), x)
        attention = network.blocks[0].attention
        fired = cpg.fired_in(network, attention, x, 2)
        assert fired.shape == (4, 5, 4, 2, 24)
        assert set(fired.unique().tolist()) == {0.0, 1.0}
        found = cpg.scores_of(network, x, 2)
        for b, s, i, j in itertools.product(range(5), range(2), range(4), range(4)):
            common = float((fired[:, b, i, s, :8] * fired[:, b, j, s, 8:16]).sum())
            assert float(found[b, s, i, j]) == pytest.approx(0.125 * common / (4 * 2))
        torch.testing.assert_close(cpg.attention_map(network, x, 2), found.mean(0))
        assert not attention.ask_neurons._forward_hooks

    def test_share_of_place(self, cpg: Any) -> None:
        x = noise(40, 6, 3).float()
        problem = lights(cpg, stem=partial(RepeatedInput, 3, 6, 4))
        network = awake(cpg, network_for(cpg, problem), x)
        assert all(0 < share < 0.9 for share in cpg.share_of_place(network, x, 2))
        same = x[:1].expand(10, -1, -1)  # scores that do not depend on the example
        assert cpg.share_of_place(network, same, 2) == pytest.approx([1, 1], abs=1e-5)
        maps = cpg.scores_of(network, x, 2).numpy()
        expected = [maps[:, s].mean(0).var() / maps[:, s].var() for s in range(2)]
        assert cpg.share_of_place(network, x, 2) == pytest.approx(expected, rel=1e-4)


def spiking_operations(cpg: Any, network: Any, x: Tensor) -> list[float]:
    """SynOps of all maps and attentions that read spikes, per example: one per network."""
    counted = cpg.operations(network, x, network.read.weight.shape[0])
    return sum(v for k, v in counted.items() if not k.startswith(cpg.ANALOGUE)).tolist()


def by_spikingjelly(cpg: Any, network: Any, x: Tensor) -> int:
    counter = SynOpCounter()
    with torch.no_grad(), DispatchCounterMode([counter]):
        network.eval()(cpg.side_by_side(x, network.read.weight.shape[0]))
    return counter.get_total()


class TestOperations:
    @given(
        heads=st.integers(1, 3),
        inner=st.integers(1, 9),
        blocks=st.integers(1, 2),
        tokens=st.integers(2, 6),
        name=st.sampled_from(["none", "random", "cpg"]),
        seed=st.integers(0, 1000),
    )
    @very_few
    def test_spikingjelly_counts_the_same(
        self, cpg: Any, heads: int, inner: int, blocks: int, tokens: int, name: str, seed: int
    ) -> None:
        x = noise(5, tokens, 3, seed=seed).float()
        problem = lights(cpg, tokens, stem=partial(RepeatedInput, 3, 6, 4))
        sizes = {"width": 4 * heads, "heads": heads, "inner": inner, "blocks": blocks}
        network = network_for(cpg, problem, name, [seed, seed + 1], residual="membrane", **sizes)
        network = awake(cpg, network, x)
        read_out = cpg.what_is_read(network, x, 2)["read"]
        assume(max(cpg.share_not_binary(read_out)) > 0)  # a mean of 0 or 1 would pass for a spike
        assert round(5 * sum(spiking_operations(cpg, network, x))) == by_spikingjelly(
            cpg, network, x
        )

    @pytest.mark.parametrize("grid", [(1, 6), (2, 3), (3, 4)])
    def test_spikingjelly_counts_the_same_convolution(
        self, cpg: Any, grid: tuple[int, int]
    ) -> None:
        x = noise(5, math.prod(grid), 3).float()
        problem = lights(cpg, len(x[0]), stem=partial(RepeatedInput, 3, 6, 4), grid=grid)
        network = awake(cpg, network_for(cpg, problem, "conv", residual="membrane"), x)
        counted = cpg.operations(network, x, 2)
        assert float(counted["position"].min()) > 0
        assert float(cpg.what_is_read(network, x, 2)["merge.0"].max()) == 2
        counted.pop("merge.0")  # it reads sums of spikes, which the tool does not count
        ours = sum(v.sum() for k, v in counted.items() if not k.startswith(cpg.ANALOGUE))
        assert round(5 * float(ours)) == by_spikingjelly(cpg, network, x)

    def test_spikingjelly_loses_maps_that_read_counts(self, cpg: Any) -> None:
        x = noise(20, 6, 3).float()
        problem = lights(cpg, stem=partial(RepeatedInput, 3, 6, 4))
        network = awake(cpg, network_for(cpg, problem, residual="spikes", blocks=2), x)
        read, ours = cpg.what_is_read(network, x, 2), cpg.operations(network, x, 2)
        lost = [name for name, values in read.items() if name[:6] == "blocks" and values.max() > 1]
        counts = 20 * sum(float(ours[name].sum()) for name in lost)
        all_of_them = 20 * sum(spiking_operations(cpg, network, x))
        assert all_of_them - by_spikingjelly(cpg, network, x) == pytest.approx(counts)
        assert counts > 0

    @pytest.mark.parametrize("residual", ["spikes", "membrane"])
    def test_one_by_one(self, cpg: Any, residual: str) -> None:
        x = noise(2, 3, 3).float()
        problem = lights(cpg, 3, stem=partial(RepeatedInput, 3, 2, 4))
        sizes = {"width": 4, "inner": 3, "residual": residual}
        network = awake(cpg, network_for(cpg, problem, "cpg-add", **sizes), x)
        counted, read = cpg.operations(network, x, 2), cpg.what_is_read(network, x, 2)
        assert read["merge.0"].max() == 2  # two spikes at once are two operations
        for name, values in read.items():
            outputs = dict(network.named_modules())[name].weight.shape[2]
            for s in range(2):
                arrived = 0
                for value in values[..., s, :].flatten().tolist():
                    if name.startswith(("stem", "read")):
                        arrived += 1
                    else:
                        assert value in (0, 1, 2)
                        arrived += int(value)
                assert float(counted[name][s]) == pytest.approx(arrived * outputs / 2)
        fired = cpg.fired_in(network, network.blocks[0].attention, x, 2)
        for s in range(2):
            count = 0
            for t, b in itertools.product(range(4), range(2)):
                queries, keys, values = fired[t, b, :, s].split(4, dim=-1)
                for asks, looked in itertools.product(range(3), range(3)):
                    for channel in range(4):  # those of all heads
                        count += int(queries[asks, channel] * keys[looked, channel])
                        count += int(values[looked, channel])
            assert float(counted["blocks.0.attention"][s]) == count / 2
        assert len(counted) == 1 + 1 + 4 + 1 + 1

    def test_the_mean_over_many_examples(self, cpg: Any) -> None:
        x = noise(300, 6, 3).float()
        problem = lights(cpg, stem=partial(RepeatedInput, 3, 6, 4))
        network = awake(cpg, network_for(cpg, problem), x)
        halves = [cpg.operations(network, part, 2) for part in x.split(150)]
        for name, whole in cpg.operations(network, x, 2).items():
            expected = sum(part[name] for part in halves) / 2
            torch.testing.assert_close(whole, expected, msg=name)

    def test_kernels_of_a_series_are_multiply_adds(self, cpg: Any) -> None:
        problem = lights(cpg, stem=partial(ConvolvedInput, 5, 4))
        counted = cpg.operations(network_for(cpg, problem), noise(3, 6, 5).float(), 2)
        assert counted["stem.kernels"].tolist() == [6 * 5 * 4 * 3] * 2

    @pytest.mark.parametrize("blocks", [1, 2])
    def test_multiply_adds_are_half_of_pytorchs_flops(self, cpg: Any, blocks: int) -> None:
        code = torch.rand(1, 6, 1, 4)
        network = cpg.FloatTransformer(3, 5, code, 7, cpg.Body(8, 6, 2, blocks), generators(SEEDS))
        x = torch.rand(4, 6, 3)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            network.eval()(cpg.side_by_side(x, 2))
        assert cpg.multiply_adds(network, x, 2) == counter.get_total_flops() / 2 / (4 * 2)

    @pytest.mark.parametrize("residual", ["membrane", "spikes"])
    @pytest.mark.parametrize("blocks", [1, 2])
    def test_if_all_fired(
        self, cpg: Any, monkeypatch: pytest.MonkeyPatch, residual: str, blocks: int
    ) -> None:
        problem, x = lights(cpg), lights(cpg).test[0][:4]
        network = network_for(cpg, problem, residual=residual, blocks=blocks)
        network.position.code.fill_(1.0)
        expected = cpg.if_all_fired(network, x, 2).tolist()
        monkeypatch.setattr(LIF, "forward", lambda self, current: torch.ones_like(current))
        assert spiking_operations(cpg, network, x) == pytest.approx(expected)


class TestFloatTransformer:
    def test_is_the_formula_one_head_at_a_time(self, cpg: Any) -> None:
        code, x = torch.rand(1, 6, 1, 4), torch.rand(5, 6, 2, 3)
        sizes = cpg.Body(width=8, inner=6, heads=2)
        network = cpg.FloatTransformer(3, 6, code, 4, sizes, generators(SEEDS)).eval()
        h = F.relu(network.stem(x))
        h = F.relu(network.merge(torch.cat([h, code.expand(5, 6, 2, 4)], -1)))
        block = network.blocks[0]
        queries, keys, values = block["ask"](h).split(8, dim=-1)
        seen = torch.zeros_like(h)
        for s in range(2):
            for head in (slice(0, 4), slice(4, 8)):
                q, k, v = (part[:, :, s, head] for part in (queries, keys, values))
                seen[:, :, s, head] = torch.softmax(q @ k.mT / 2, dim=-1) @ v
        h = h + F.relu(block["answer"](seen))
        h = h + F.relu(block["second"](F.relu(block["first"](h))))
        torch.testing.assert_close(network(x), network.read(h.mean(1)))


class FirstToken(nn.Module):
    """Sees the first token only; each network a multiple of it."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * torch.arange(1, x.shape[2] + 1)[:, None]


class TestMeasurements:
    def test_change_when_shuffled(self, cpg: Any) -> None:
        x = noise(5, 4, 3)
        found = cpg.change_when_shuffled(FirstToken(), x, 2, seed=7, times=40)
        largest = (x - x[:, :1]).abs().max()  # in 40 orders, every token comes first
        assert found == pytest.approx([float(largest), 2 * float(largest)])
        assert max(cpg.change_when_shuffled(Fixed(), x, 2, seed=7)) < 1e-12
        once = [cpg.change_when_shuffled(FirstToken(), x, 2, seed=7, times=n)[0] for n in (1, 2, 3)]
        assert once == sorted(once)

    def test_difference_of_currents(self, cpg: Any) -> None:
        problem, x = lights(cpg), noise(5, 6, 1).float()
        network = awake(cpg, network_for(cpg, problem), x)
        code = network.position.code
        assert max(cpg.difference_of_currents(network, code, x, 2)) < 1e-5
        moved = cpg.shifted(code, 6, 1)
        found = cpg.difference_of_currents(network, moved, x, 2)
        weights = network.merge[0].weight[:, -8:]
        for s in range(2):
            expected = float(((moved - code)[..., 0, :] @ weights[s].detach()).abs().max())
            assert found[s] == pytest.approx(expected, rel=1e-4)
            assert expected > 0.1


def follows(claim: dict[str, Any]) -> str:
    """The verdict by the rule as it is written, from the numbers of the ledger."""
    written = re.fullmatch(r"(mean|whole 95% interval) ([<>≤≥]) (\S+)(?: .+)?", claim["rule"])
    assert written, claim["rule"]
    what, relation, bound = written.groups()

    def met(numbers: dict[str, Any]) -> bool:
        summary = summarise(numbers["values"])
        near = summary.low if relation in ">≥" else summary.high
        value = summary.mean if what == "mean" else near
        limit = float(bound.replace("−", "-"))
        return {
            ">": value > limit,
            "<": value < limit,
            "≥": value >= limit,
            "≤": value <= limit,
        }[relation]

    if not met(claim):
        return claims.FAILS
    return claims.INCONCLUSIVE if met(claim["control"]) else claims.HOLDS


class TestLedger:
    def test_the_verdicts_follow_from_their_values(self) -> None:
        notebook = json.loads(Project.find().notebook(CHAPTER).read_text(encoding="utf-8"))
        found = claims.read(notebook)
        assert [claim["id"] for claim in found] == CLAIMS
        for claim in found:
            assert claim["verdict"] == follows(claim), claim["id"]


TINY: dict[str, Any] = {
    "seeds": [0, 1],
    "steps": 2,
    "width": 8,
    "inner": 8,
    "heads": 2,
    "population": 6,
    "series_updates": 2,
    "image_updates": 2,
    "text_updates": 2,
    "grid_neurons": [4],
    "grid_scales": [30.0],
    "grid_thresholds": [0.5],
    "grid_seeds": 2,
}


class TestReruns:
    """The notebook itself, with tiny settings: from its parameters to the ledger."""

    def ledger(self, tmp_path: Path, **changes: Any) -> list[dict[str, Any]]:
        target = tmp_path / "executed.ipynb"
        (outcome,) = execute([CHAPTER], overrides=TINY | changes, force=True, output=target)
        assert outcome.path is not None
        outcome.path.unlink()  # no other run needs it
        found = claims.read(json.loads(target.read_text(encoding="utf-8")))
        for claim in found:
            assert claim["verdict"] == follows(claim), claim["id"]
            assert claim["seeds"] == [0, 1]
        return found

    def test_a_series_of_ones_own_and_all_claims(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        rows = (f"{math.sin(t / 2):.3f},{t % 5},{t}" for t in range(200))
        path.write_text("a,b,c\n" + "\n".join(rows) + "\n")
        found = self.ledger(tmp_path, series=[str(path)])
        assert [claim["id"] for claim in found] == CLAIMS
        exact = {c["id"]: c["verdict"] for c in found if c["id"] in ("CPG-4", "CPG-5", "CPG-6")}
        assert exact["CPG-5"] == exact["CPG-6"] == claims.HOLDS

    def test_one_task_and_two_encodings(self, tmp_path: Path) -> None:
        found = self.ledger(tmp_path, task="text", encodings=["none", "cpg"])
        assert [claim["id"] for claim in found] == ["CPG-4", "CPG-5", "CPG-6", "CPG-9"]

    def test_a_series_with_the_authors_input_and_without_partners(self, tmp_path: Path) -> None:
        found = self.ledger(
            tmp_path,
            task="series",
            series=["elnino"],
            horizons=[1, 3],
            encodings=["conv", "cpg-add"],
            series_input="convolution",
            residual="membrane",
            axis="tokens",
            blocks=2,
        )
        assert [claim["id"] for claim in found] == ["CPG-4", "CPG-5", "CPG-6"]

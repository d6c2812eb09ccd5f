"""The spiking backbone: equal to SpikingJelly, to PyTorch seed by seed, and binary where due."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import spikformer
from torch import Tensor, nn

from helpers.project import UsageError
from helpers.spiking import (
    LIF,
    Block,
    ConvolvedInput,
    Dense,
    Normalise,
    RepeatedInput,
    Spikformer,
    SpikingSelfAttention,
    Synapses,
    WordInput,
    lif,
)
from helpers.training import generators

logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
few = settings(max_examples=25, deadline=None)
STEPS, BATCH, TOKENS, SEEDS, WIDTH = 3, 4, 6, 2, 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors are slower on more
    yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return (normal(*shape, seed=seed) > 0.3).double()


def node(tau: float = 2.0, threshold: float = 1.0, alpha: float = 2.0) -> Any:
    return neuron.LIFNode(
        tau=tau,
        v_threshold=threshold,
        detach_reset=True,
        step_mode="m",
        surrogate_function=surrogate.ATan(alpha=alpha),
    )


class Step(torch.autograd.Function):
    """A step with the slope of an arctangent, for the plain loop."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.alpha = alpha
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        slope = ctx.alpha / 2 / (1 + (torch.pi / 2 * ctx.alpha * u) ** 2)
        return gradients[0] * slope, None


def loop(current: Tensor, tau: float, threshold: float, alpha: float) -> Tensor:
    v, fired = torch.zeros_like(current[0]), []
    for now in current:
        h = v + (now - v) / tau
        s = Step.apply(h - threshold, alpha)
        v = (1 - s.detach()) * h
        fired.append(s)
    return torch.stack(fired)


def with_gradient(run: Callable[[Tensor], Tensor], current: Tensor) -> tuple[Tensor, Tensor]:
    x = current.clone().requires_grad_()
    y = run(x)
    y.backward(normal(*y.shape, seed=1))
    assert x.grad is not None
    return y.detach(), x.grad


class NoCode(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x


KINDS = ["repeated", "words", "convolved"]
RESIDUALS = ["spikes", "membrane"]


def make_stem(kind: str, sources: list[torch.Generator]) -> Any:
    if kind == "repeated":
        return RepeatedInput(3, 7, STEPS, sources)
    if kind == "words":
        return WordInput(9, 7, STEPS, sources)
    return ConvolvedInput(3, STEPS, sources)


def inputs(kind: str, seeds: int = SEEDS) -> Tensor:
    if kind == "words":
        source = torch.Generator().manual_seed(3)
        return torch.randint(0, 9, (BATCH, TOKENS, seeds), generator=source)
    return normal(BATCH, TOKENS, seeds, 3)


def make_network(
    kind: str, residual: Any = "spikes", seeds: list[int] | None = None, **change: int
) -> Spikformer:
    sources = generators(range(SEEDS) if seeds is None else seeds)
    stem = make_stem(kind, sources)
    sizes: Any = {"outputs": 5, "width": WIDTH, "inner": 12, "heads": 2, "blocks": 2} | change
    network = Spikformer(stem, NoCode(stem.channels), sources=sources, residual=residual, **sizes)
    return network.double()  # fmt: skip


def excite(network: Any) -> None:
    """Add a steady current, with which neurons fire at times, but not to sums of currents."""
    for part in network.modules():
        if isinstance(part, Normalise):
            part.bias.data.fill_(1.75)
    for block in network.blocks if network.residual == "membrane" else ():
        for branch in (block.attention.answer, block.second):
            branch[1].bias.data.zero_()


def awake(kind: str, residual: str = "spikes", **change: int) -> Any:
    """A network in eval mode, every layer of which fires at times, with its inputs.

    The statistics are the inputs'.
    """
    network: Any = make_network(kind, residual, None, **change)
    x = inputs(kind)
    excite(network)
    with torch.no_grad():
        for _ in range(30):
            network(x)
    return network.eval(), x


class TestNeuron:
    @pytest.mark.parametrize(
        ("tau", "threshold", "alpha", "steps"),
        [(2.0, 1.0, 2.0, 4), (2.0, 0.5, 2.0, 4), (3.5, 1.2, 5.0, 9), (1.5, 0.3, 0.7, 1)],
    )
    def test_equals_spikingjelly(
        self, tau: float, threshold: float, alpha: float, steps: int
    ) -> None:
        current = 0.5 + 2 * normal(steps, 5, 7)
        ours, theirs = (
            with_gradient(run, current)
            for run in (lambda x: lif(x, tau, threshold, alpha), node(tau, threshold, alpha))
        )
        assert 0 < ours[0].mean() < 1
        assert torch.equal(ours[0], theirs[0])
        torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-12)

    @few
    @given(
        st.integers(0, 10_000), st.floats(1.0, 5.0), st.floats(0.1, 2.0), st.floats(0.5, 6.0),
        st.integers(1, 7),
    )  # fmt: skip
    def test_equals_the_plain_loop(
        self, seed: int, tau: float, threshold: float, alpha: float, steps: int
    ) -> None:
        current = 2 * normal(steps, 4, 3, seed=seed)
        ours = with_gradient(lambda x: lif(x, tau, threshold, alpha), current)
        plain = with_gradient(lambda x: loop(x, tau, threshold, alpha), current)
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize(
        ("current", "tau", "threshold", "expected"),
        [
            ([1.5] * 4, 2.0, 1.0, [0, 1, 0, 1]),
            ([0.9] * 4, 2.0, 1.0, [0, 0, 0, 0]),
            ([2.0, 0.0, 2.0], 2.0, 1.0, [1, 0, 1]),  # exactly at the threshold
            ([0.3, 0.5, 0.4], 1.0, 0.4, [0, 1, 1]),  # forgets at once
        ],
    )
    def test_by_hand(
        self, current: list[float], tau: float, threshold: float, expected: list[int]
    ) -> None:
        assert lif(torch.tensor(current), tau, threshold).int().tolist() == expected

    def test_the_reset_is_constant_on_the_way_back(self) -> None:
        """Only the second spike is asked about: through the reset of the first nothing comes."""
        x = torch.tensor([2.2, 1.8], dtype=torch.float64, requires_grad=True)
        lif(x)[1].backward()
        assert x.grad is not None
        assert x.grad[0] == 0
        assert x.grad[1] > 0

    def test_the_module_is_the_function(self) -> None:
        x = 2 * normal(5, 6)
        assert torch.equal(LIF(3.0, 0.7, 4.0)(x), lif(x, 3.0, 0.7, 4.0))
        assert "threshold=0.7" in repr(LIF(3.0, 0.7))

    @pytest.mark.parametrize(
        "turn", [lambda x: x[:1].expand(7, 6, 5), lambda x: x.permute(2, 0, 1)]
    )
    def test_the_layout_of_the_input_does_not_matter(self, turn: Any) -> None:
        x = 2 * normal(7, 6, 5)
        ours = with_gradient(lambda x: lif(turn(x)), x)
        plain = with_gradient(lambda x: loop(turn(x), 2.0, 1.0, 2.0), x)
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

    def test_the_input_is_left_alone(self) -> None:
        x = 2 * normal(5, 6)
        before = x.clone()
        lif(x)
        assert torch.equal(x, before)

    def test_nothing_is_left_behind(self) -> None:
        x = torch.full((3, 1), 1.5)
        assert torch.equal(lif(x), lif(x))
        kept = node()
        assert not torch.equal(kept(x), kept(x))  # so the comparison can fail


@pytest.mark.parametrize(("tau", "steps"), [(0.5, 3), (2.0, 0)])
def test_neurons_that_cannot_run_are_refused(tau: float, steps: int) -> None:
    with pytest.raises(UsageError, match="at least 1 of each"):
        lif(torch.ones(steps, 2), tau)


class TestLayers:
    @pytest.mark.parametrize("shape", [(4,), (3, 2, 4)])
    def test_a_dense_layer_is_one_linear_map_per_seed(self, shape: tuple[int, ...]) -> None:
        layer: Any = Dense(5, 3, generators([4, 9]), bias=True).double()
        assert (layer.bias == 0).all()
        layer.bias.data = normal(2, 3)
        x, slope = normal(*shape, 2, 5), normal(*shape, 2, 3, seed=1)
        y, back = with_gradient(layer, x)
        for s in range(2):
            plain = nn.Linear(5, 3).double()
            plain.weight.data, plain.bias.data = layer.weight[s].T.clone(), layer.bias[s].clone()
            alone = x[..., s, :].clone().requires_grad_()
            expected = plain(alone)
            expected.backward(slope[..., s, :])
            for ours, theirs in [
                (y[..., s, :], expected),
                (back[..., s, :], alone.grad),
                (layer.weight.grad[s].T, plain.weight.grad),
                (layer.bias.grad[s], plain.bias.grad),
            ]:
                torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize("training", [True, False])
    def test_synapses_are_a_linear_map_then_a_normalisation_of_each_seed(
        self, training: bool
    ) -> None:
        ours: Any = Synapses(5, 3, generators([4, 9])).double()
        x = 2 + normal(3, 4, 6, 2, 5)
        ours(x)
        y, back = with_gradient(ours.train(training), x)
        slope = normal(*y.shape, seed=1)
        for s in range(2):
            linear, norm = nn.Linear(5, 3, bias=False).double(), nn.BatchNorm1d(3).double()
            linear.weight.data = ours[0].weight[s].detach().T.clone()
            plain = nn.Sequential(linear, norm)
            alone = x[..., s, :].reshape(-1, 5)
            plain(alone)
            plain.train(training)
            alone.requires_grad_()
            expected = plain(alone)
            expected.backward(slope[..., s, :].reshape(-1, 3))
            for mine, theirs in [
                (y[..., s, :].reshape(-1, 3), expected),
                (back[..., s, :].reshape(-1, 5), alone.grad),
                (ours[0].weight.grad[s].T, linear.weight.grad),
            ]:
                torch.testing.assert_close(mine, theirs)

    def test_a_normalised_layer_has_no_bias_of_its_own(self) -> None:
        assert Synapses(5, 3, generators([0]))[0].bias is None

    def test_weights_have_the_spread_of_pytorchs_start(self) -> None:
        weights = Dense(300, 200, generators([0])).weight
        assert weights.std().item() == pytest.approx((3 * 300) ** -0.5, rel=0.02)
        assert torch.nn.Linear(300, 200).weight.std().item() == pytest.approx(
            weights.std().item(), rel=0.03
        )

    @pytest.mark.parametrize("training", [True, False])
    def test_normalisation_is_that_of_each_seed(self, training: bool) -> None:
        ours: Any = Normalise(5, 2).double()
        theirs: list[Any] = [nn.BatchNorm1d(5).double() for _ in range(2)]
        warm, x = normal(3, 4, 6, 2, 5), normal(3, 4, 6, 2, 5, seed=4)
        scale, shift = normal(10, seed=2), normal(10, seed=3)
        ours.weight.data, ours.bias.data = scale, shift
        ours(warm)
        ours.train(training)
        y, slope = with_gradient(ours, x)
        for s, one in enumerate(theirs):
            one.weight.data, one.bias.data = scale.view(2, 5)[s], shift.view(2, 5)[s]
            one(warm[..., s, :].reshape(-1, 5))
            one.train(training)
            alone = x[..., s, :].reshape(-1, 5).requires_grad_()
            expected = one(alone)
            expected.backward(normal(3, 4, 6, 2, 5, seed=1)[..., s, :].reshape(-1, 5))
            torch.testing.assert_close(y[..., s, :].reshape(-1, 5), expected.detach())
            torch.testing.assert_close(slope[..., s, :].reshape(-1, 5), alone.grad)
            torch.testing.assert_close(ours.running_var.view(2, 5)[s], one.running_var)
            torch.testing.assert_close(ours.running_mean.view(2, 5)[s], one.running_mean)
            torch.testing.assert_close(ours.weight.grad.view(2, 5)[s], one.weight.grad)
            torch.testing.assert_close(ours.bias.grad.view(2, 5)[s], one.bias.grad)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_stem_alone_is_the_stem_side_by_side(self, kind: str) -> None:
        x = inputs(kind, seeds=1)
        both = make_stem(kind, generators([8, 3])).double()(torch.cat([x, x], dim=2))
        assert not torch.equal(both[..., 0, :], both[..., 1, :])
        for place, seed in enumerate([8, 3]):
            alone = make_stem(kind, generators([seed])).double()(x)
            assert torch.equal(alone[..., 0, :], both[..., place, :])

    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_a_network_alone_is_the_network_side_by_side(self, residual: str) -> None:
        """At the start, and trained and evaluated."""

        def outputs(seeds: list[int], x: Tensor) -> Tensor:
            network = make_network("repeated", residual, seeds)
            excite(network)
            optimiser = torch.optim.SGD(network.parameters(), 0.02)
            start = network(x)
            for _ in range(10):
                optimiser.zero_grad()
                (network(x) - 1).pow(2).mean((0, 2)).sum().backward()
                optimiser.step()
            return torch.stack([start, network.eval()(x)]).detach()

        seeds, x = [8, 3, 5], inputs("repeated", seeds=3)
        together = outputs(seeds, x)
        assert (together[1] - together[0]).abs().mean() > 0.1  # it learned
        assert together.std(1).min() > 1e-3
        for place, seed in enumerate(seeds):
            alone = outputs([seed], x[:, :, place : place + 1])
            torch.testing.assert_close(alone[:, :, 0], together[:, :, place])


class Tokens(nn.Module):
    """SpikingJelly's block reads pictures (T, N, C, H, W); this reads tokens (T, N, C, L)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.unsqueeze(-1)).squeeze(-1)


class TestAgainstSpikingJelly:
    """Weights are copied, layouts turned: ours (T, B, L, S, D), theirs (T, N, C, L)."""

    def copy(self, pairs: list[tuple[Any, Any]]) -> None:
        """Weights as drawn; scales and shifts with which the neurons fire at times."""
        for (dense, norm), (conv, their_norm) in pairs:
            count = norm.num_features
            norm.weight.data = 1 + 0.3 * normal(count, seed=5)
            norm.bias.data = 1.75 + 0.3 * normal(count, seed=6)
            conv.weight.data = dense.weight[0].detach().T.unsqueeze(-1).clone()
            their_norm.load_state_dict(norm.state_dict())

    def compare(self, ours: nn.Module, theirs: Any, pairs: list[tuple[Any, Any]]) -> None:
        for training in (True, False):  # the second with the statistics of the first
            x = spikes(STEPS, BATCH, TOKENS, 1, WIDTH, seed=int(training))
            functional.reset_net(theirs)
            for network in (ours.train(training), theirs.train(training)):
                network.zero_grad()
            mine = with_gradient(ours, x)
            other = with_gradient(lambda x: theirs(x.squeeze(3).mT).mT.unsqueeze(3), x)
            weights = [(dense.weight.grad[0].T, conv.weight.grad[..., 0])
                       for (dense, _), (conv, _) in pairs]  # fmt: skip
            shifts = [(norm.bias.grad, their.bias.grad) for (_, norm), (_, their) in pairs]
            for a, b in [*zip(mine, other, strict=True), *weights, *shifts]:
                assert a.abs().max() > 1e-3
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

    def attention(self) -> tuple[Any, Any, list[tuple[Any, Any]]]:
        ours = SpikingSelfAttention(WIDTH, 2, generators([1])).double()
        theirs = layer.SpikingSelfAttention(WIDTH, 2, surrogate_function=surrogate.ATan()).double()
        return ours, theirs, [(ours.ask, theirs.qkv_conv_bn), (ours.answer, theirs.proj_conv_bn)]

    def test_attention(self) -> None:
        ours, theirs, pairs = self.attention()
        self.copy(pairs)
        self.compare(nn.Sequential(ours, LIF()), theirs, pairs)

    def test_attention_with_other_queries_differs(self) -> None:
        """The comparison can fail: queries and values change places."""
        ours, theirs, pairs = self.attention()
        self.copy(pairs)
        conv = theirs.qkv_conv_bn[0]
        conv.weight.data = conv.weight.data.unflatten(0, (3, -1)).flip(0).flatten(0, 1)
        with pytest.raises(AssertionError, match="not close"):
            self.compare(nn.Sequential(ours, LIF()), theirs, pairs)

    def test_a_block(self) -> None:
        ours: Any = Block(WIDTH, 32, 2, generators([1])).double()
        theirs: Any = spikformer.SpikformerBlock(
            WIDTH, 2, mlp_ratio=2.0, surrogate_function=surrogate.ATan()
        ).double()
        pairs = [
            (ours.attention.ask, theirs.attn.qkv_conv_bn),
            (ours.attention.answer, theirs.attn.proj_conv_bn),
            (ours.first, theirs.mlp.fc1),
            (ours.second, theirs.mlp.fc2),
        ]
        self.copy(pairs)
        self.compare(ours, Tokens(theirs), pairs)

    def test_convolved_input_is_the_authors_encoder(self) -> None:
        """Microsoft SeqSNN's ConvEncoder; with a bias it would vanish in the normalisation."""
        ours: Any = ConvolvedInput(5, STEPS, generators([2])).double()
        conv: Any = nn.Conv2d(1, STEPS, (1, 3), padding=(0, 1), bias=False).double()
        norm: Any = nn.BatchNorm2d(STEPS).double()
        conv.weight.data = ours.kernels.weight[0].detach().T.reshape(STEPS, 1, 1, 3).clone()
        ours.normalise.bias.data = 0.5 + normal(STEPS, seed=4)
        norm.load_state_dict(ours.normalise.state_dict())

        def theirs(x: Tensor) -> Tensor:  # the steps are channels: (B, T, variables, L)
            current = norm(conv(x.squeeze(2).mT.unsqueeze(1)))
            return lif(current.permute(1, 0, 3, 2)).unsqueeze(3)

        for training in (True, False):
            x = normal(BATCH, TOKENS, 1, 5, seed=int(training))
            for part in (ours.train(training), norm.train(training), conv):
                part.zero_grad()
            mine, other = with_gradient(ours, x), with_gradient(theirs, x)
            assert mine[0].shape == (STEPS, BATCH, TOKENS, 1, 5)
            assert torch.equal(mine[0], other[0])
            assert 0.05 < mine[0].mean() < 0.95
            torch.testing.assert_close(mine[1], other[1])
            kernels = ours.kernels.weight.grad[0].T
            torch.testing.assert_close(kernels, conv.weight.grad[:, 0, 0])


class TestAttention:
    @pytest.mark.parametrize("heads", [3, 0, -2])
    def test_heads_that_do_not_divide_the_width_are_refused(self, heads: int) -> None:
        with pytest.raises(UsageError, match=f"width 8 is not a multiple of heads {heads}"):
            SpikingSelfAttention(8, heads, generators([0]))

    def test_scores_are_scaled_counts_of_common_spikes(self) -> None:
        attention = SpikingSelfAttention(4, 1, generators([0]), scale=0.5)
        queries = torch.tensor([[1.0, 1, 0, 1], [0, 1, 0, 0]])
        keys = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]])
        assert attention.scores(queries, keys).tolist() == [[1.0, 0.5], [0.0, 0.5]]

    def test_split_keeps_every_spike(self) -> None:
        attention = SpikingSelfAttention(WIDTH, 2, generators(range(SEEDS)))
        fired = normal(STEPS, BATCH, TOKENS, SEEDS, 3 * WIDTH)
        parts = attention.split(fired)
        assert parts.shape == (3, STEPS, BATCH, SEEDS, 2, TOKENS, WIDTH // 2)
        for kind in range(3):
            for head in range(2):
                start = kind * WIDTH + head * WIDTH // 2
                columns = slice(start, start + WIDTH // 2)
                expected = fired[..., columns].permute(0, 1, 3, 2, 4)
                assert torch.equal(parts[kind, :, :, :, head], expected)

    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_the_map_of_a_network_holds_counts(
        self, residual: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maps = []
        plain = SpikingSelfAttention.scores

        def keep(self: SpikingSelfAttention, queries: Tensor, keys: Tensor) -> Tensor:
            maps.append(plain(self, queries, keys))
            return maps[-1]

        monkeypatch.setattr(SpikingSelfAttention, "scores", keep)
        network, x = awake("repeated", residual)
        maps.clear()
        network(x)
        assert len(maps) == 2
        for found in maps:
            assert found.shape == (STEPS, BATCH, SEEDS, 2, TOKENS, TOKENS)
            counts = found / 0.125
            assert torch.equal(counts, counts.round())
            assert counts.min() >= 0
            assert 1 < counts.max() <= WIDTH / 2


def readings(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What each linear map reads, but the stem's, which reads numbers, and the read-out."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, given, result: seen.update({name: given[0]})

    for name, module in network.named_modules():
        if isinstance(module, Dense) and not name.startswith("stem.") and name != "read":
            module.register_forward_hook(keep(name))
    network(x)
    return seen


class TestSpikformer:
    @pytest.mark.parametrize("residual", RESIDUALS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_layer_fires_at_times(self, kind: str, residual: str) -> None:
        """In the networks of these tests; in silence the others would prove little."""
        network, x = awake(kind, residual)
        rates = {}
        for name, module in network.named_modules():
            if isinstance(module, LIF):
                module.register_forward_hook(
                    lambda module, given, result, name=name: rates.update({name: result.mean()})
                )
        network(x)
        assert len(rates) == 2 + 5 * 2
        assert all(0.2 < rate < 0.8 for rate in rates.values()), rates

    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_silent_branches_leave_the_input_as_it_is(self, residual: Any) -> None:
        block: Any = Block(WIDTH, 12, 2, generators(range(SEEDS)), residual).double()
        x = 3 * spikes(STEPS, BATCH, TOKENS, SEEDS, WIDTH)  # enough to fire as a current
        assert not torch.equal(block(x), x)
        for branch in (block.attention.answer, block.second):
            branch[1].weight.data.zero_()
        assert torch.equal(block(x), x)

    @pytest.mark.parametrize("kind", KINDS)
    def test_with_the_membrane_residual_every_map_reads_spikes(self, kind: str) -> None:
        seen = readings(*awake(kind, "membrane"))
        assert len(seen) == 1 + 4 * 2
        for name, values in seen.items():
            assert set(values.unique().tolist()) == {0.0, 1.0}, name

    @pytest.mark.parametrize("kind", KINDS)
    def test_with_the_residual_of_spikes_blocks_read_counts(self, kind: str) -> None:
        seen = readings(*awake(kind))
        assert len(seen) == 1 + 4 * 2
        adds = {"blocks.0.attention.ask": 1, "blocks.0.first": 2,
                "blocks.1.attention.ask": 3, "blocks.1.first": 4}  # fmt: skip
        for name, values in seen.items():
            largest = adds.get(name.removesuffix(".0"), 1)
            assert set(values.unique().tolist()) <= {float(n) for n in range(largest + 1)}, name
            assert values.max() > (largest > 1), name  # counts where spikes are added

    @pytest.mark.parametrize("residual", RESIDUALS)
    @pytest.mark.parametrize("kind", ["repeated", "words"])
    def test_without_a_code_no_order_is_seen(self, kind: str, residual: str) -> None:
        network, x = awake(kind, residual)
        before = network(x)
        assert before.std(0).min() > 1e-3  # examples differ, so orders could

        @few
        @given(st.permutations(range(TOKENS)))
        def check(order: list[int]) -> None:
            torch.testing.assert_close(network(x[:, order]), before, rtol=0, atol=1e-5)

        check()

    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_a_convolution_sees_neighbours(self, residual: str) -> None:
        network, x = awake("convolved", residual)
        change = network(x[:, [3, 0, 5, 1, 4, 2]]) - network(x)
        assert change.abs().max() > 1e-3

    @pytest.mark.parametrize("residual", RESIDUALS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_is_left_behind(self, kind: str, residual: str) -> None:
        network, x = awake(kind, residual)
        before = network(x)
        assert torch.equal(network(x), before)
        network(x[:1])
        assert torch.equal(network(x), before)

    @pytest.mark.parametrize("residual", RESIDUALS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_weight_learns(self, kind: str, residual: str) -> None:
        network, x = awake(kind, residual)
        out = network.train()(x)
        assert out.shape == (BATCH, SEEDS, 5)
        assert out.dtype == torch.float64
        out.backward(normal(*out.shape))
        for name, weight in network.named_parameters():
            parts = weight.grad.unflatten(0, (SEEDS, -1)) if weight.ndim == 1 else weight.grad
            for s in range(SEEDS):
                part = parts[:, s] if name == "stem.table" else parts[s]
                assert part.abs().sum() > 0, (name, s)

    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_the_read_out_is_the_mean_over_steps_and_tokens(self, residual: str) -> None:
        network, x = awake("repeated", residual, blocks=1)
        current = network.merge(network.stem(x))
        if residual == "spikes":
            activity = network.blocks(network.neurons(current))
        else:
            activity = network.neurons(network.blocks(current))
        torch.testing.assert_close(network(x), network.read(activity.mean((0, 2))))

    def test_padding_excites_nothing_and_is_not_learned(self) -> None:
        stem: Any = WordInput(9, 7, STEPS, generators(range(SEEDS))).double()
        seen: list[Tensor] = []
        stem.normalise.register_forward_hook(lambda module, given, result: seen.append(given[0]))
        words = torch.tensor([[0, 4, 0], [1, 0, 8]]).unsqueeze(-1).expand(-1, -1, SEEDS)
        (stem(words) * normal(STEPS, 2, 3, SEEDS, 7)).sum().backward()
        assert (seen[0][words == 0] == 0).all()
        assert (seen[0][words > 0] != 0).all()
        assert stem.table.grad is not None
        learned = stem.table.grad.abs().sum((1, 2)).nonzero().flatten().tolist()
        assert learned == [1, 4, 8]

    def test_each_step_of_direct_coding_gets_the_same_current(self) -> None:
        stem = RepeatedInput(3, 7, 5, generators([0])).double()
        x = normal(BATCH, TOKENS, 1, 3)
        current = stem.synapses(x)
        assert torch.equal(stem(x), lif(torch.stack([current] * 5)))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"heads": 3}, "width 16 is not a multiple of heads 3"),
            ({"residual": "none"}, "residual is 'spikes' or 'membrane', not 'none'"),
            *[({name: 0}, f"{name}.*: at least 1")
              for name in ("width", "inner", "heads", "blocks", "outputs")],
        ],
    )  # fmt: skip
    def test_what_cannot_be_built_is_said(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            make_network("repeated", **change)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_gpu_agrees(self, kind: str) -> None:
        network, x = awake(kind)
        before = network(x)
        torch.testing.assert_close(network.cuda()(x.cuda()).cpu(), before)

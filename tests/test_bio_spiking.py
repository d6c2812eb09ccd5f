"""Properties of the spike-timing family, on the notebook's own definitions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from biologically_plausible import definitions
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based.learning import MSTDPLearner, STDPLearner
from torch import Tensor


@pytest.fixture(scope="module")
def bio() -> Any:
    return definitions()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of a few numbers are slower on more
    yield
    torch.set_num_threads(before)


seeds = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)
SMALL: dict[str, Any] = {"neurons": 12, "passes": 1, "batch": 16, "steps": 15}


def spikes(*shape: int, seed: int, chance: float = 0.3) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=source) < chance).double()


def at(*times: int, steps: int = 10) -> Tensor:
    """The train of one neuron, (1, 1, steps, 1)."""
    return torch.tensor([float(t in times) for t in range(steps)]).double()[None, None, :, None]


def pictures(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of 16 pixels in three classes: one third of the pixels is bright."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    bright = torch.arange(16) // 6 == labels[:, None]
    return 0.1 * torch.rand((count, 16), generator=source) + 0.8 * bright, labels


class TestRule:
    @given(
        st.integers(0, 9),
        st.integers(0, 9),
        st.floats(0.1, 50),
        st.floats(0.1, 2),
        st.floats(0.1, 2),
    )
    def test_one_pair_gives_the_pair_rule(
        self, bio: Any, t_pre: int, t_post: int, tau: float, plus: float, minus: float
    ) -> None:
        change = float(bio.stdp_update(at(t_pre), at(t_post), tau, plus, minus))
        size = math.exp(-abs(t_post - t_pre) / tau)
        sign = plus * (t_post >= t_pre) - minus * (t_post <= t_pre)
        assert change == pytest.approx(sign * size, rel=1e-9, abs=1e-12)

    def test_the_order_gives_the_sign(self, bio: Any) -> None:
        assert bio.stdp_update(at(2), at(5), 10.0, 1.0, 0.5) > 0
        assert bio.stdp_update(at(5), at(2), 10.0, 1.0, 0.5) < 0

    def test_without_spikes_nothing_changes(self, bio: Any) -> None:
        pre, post = spikes(2, 3, 10, 4, seed=1), spikes(2, 3, 10, 5, seed=2)
        assert not bio.stdp_update(pre, 0 * post, 5.0, 1.0, 0.5).any()
        assert not bio.stdp_update(0 * pre, post, 5.0, 1.0, 0.5).any()
        post[:, :, :, 3] = 0  # a silent neuron keeps its weights while the others change
        change = bio.stdp_update(pre, post, 5.0, 1.0, 0.5)
        assert change.any()
        assert not change[:, :, 3].any()

    @few
    @given(seeds)
    def test_every_pair_of_spikes_counts_once(self, bio: Any, seed: int) -> None:
        pre, post = spikes(1, 1, 12, 3, seed=seed), spikes(1, 1, 12, 2, seed=seed + 1)
        expected = torch.zeros(3, 2).double()
        for i, j in torch.cartesian_prod(torch.arange(3), torch.arange(2)).tolist():
            for before in pre[0, 0, :, i].nonzero().flatten().tolist():
                for after in post[0, 0, :, j].nonzero().flatten().tolist():
                    lag = after - before
                    sign = 0.9 * (lag >= 0) - 0.4 * (lag <= 0)
                    expected[i, j] += sign * math.exp(-abs(lag) / 6.0)
        torch.testing.assert_close(bio.stdp_update(pre, post, 6.0, 0.9, 0.4)[0], expected)

    @few
    @given(seeds, st.floats(0, 3), st.floats(0, 3))
    def test_linear_in_the_two_sizes(self, bio: Any, seed: int, plus: float, minus: float) -> None:
        pre, post = spikes(2, 3, 10, 4, seed=seed), spikes(2, 3, 10, 5, seed=seed + 1)
        growth = bio.stdp_update(pre, post, 7.0, 1.0, 0.0)
        shrinkage = bio.stdp_update(pre, post, 7.0, 0.0, 1.0)
        assert (growth >= 0).all()
        assert (shrinkage <= 0).all()
        torch.testing.assert_close(
            bio.stdp_update(pre, post, 7.0, plus, minus), plus * growth + minus * shrinkage
        )

    @few
    @given(seeds)
    def test_samples_add_up_and_do_not_meet(self, bio: Any, seed: int) -> None:
        pre, post = spikes(2, 5, 10, 4, seed=seed), spikes(2, 5, 10, 3, seed=seed + 1)
        parts = [
            bio.stdp_update(pre[:, b : b + 1], post[:, b : b + 1], 7.0, 1.0, 0.5) for b in range(5)
        ]
        torch.testing.assert_close(bio.stdp_update(pre, post, 7.0, 1.0, 0.5), sum(parts))

    def test_a_very_short_memory_gives_no_infinite_trace(self, bio: Any) -> None:
        train = spikes(1, 1, 200, 3, seed=4).float()
        torch.testing.assert_close(bio.trace(train, 0.01), train)


class TestAgainstSpikingJelly:
    @few
    @given(seeds, st.floats(1.0, 20.0))
    def test_stdp_learner(self, bio: Any, seed: int, tau: float) -> None:
        pre, post = spikes(1, 4, 20, 7, seed=seed), spikes(1, 4, 20, 5, seed=seed + 1)
        synapse, neuron = torch.nn.Linear(7, 5, bias=False).double(), torch.nn.Identity()
        fade = 1 / (1 - math.exp(-1 / tau))  # it fades by 1 - 1/fade, we by exp(-1/tau)
        learner = STDPLearner(
            "m", synapse, neuron, fade, fade,
            f_pre=lambda w: torch.full_like(w, 0.4), f_post=lambda w: torch.full_like(w, 0.7),
        )  # fmt: skip
        synapse(pre[0].transpose(0, 1))
        neuron(post[0].transpose(0, 1))
        theirs = learner.step(on_grad=False)
        torch.testing.assert_close(
            bio.stdp_update(pre, post, tau, 0.7, 0.4)[0], theirs.T, rtol=0, atol=1e-10
        )

    @few
    @given(seeds, st.floats(1.0, 20.0))
    def test_reward_modulated_learner(self, bio: Any, seed: int, tau: float) -> None:
        pre, post = spikes(1, 4, 20, 7, seed=seed), spikes(1, 4, 20, 5, seed=seed + 1)
        reward = torch.tensor([1.0, -1.0, 0.3, -0.2]).double()
        synapse, neuron = torch.nn.Linear(7, 5, bias=False).double(), torch.nn.Identity()
        learner = MSTDPLearner(
            "s", synapse, neuron, tau, tau,
            f_pre=lambda w: torch.full_like(w, 0.4), f_post=lambda w: torch.full_like(w, 0.7),
        )  # fmt: skip
        theirs = torch.zeros(5, 7).double()
        for step in range(21):  # a reward pays for the step before: one silent step at the end
            silent = step == 20
            synapse(0 * pre[0, :, 0] if silent else pre[0, :, step])
            neuron(0 * post[0, :, 0] if silent else post[0, :, step])
            theirs += learner.step(reward, on_grad=False)
        ours = bio.stdp_update(pre, reward[:, None, None] * post, tau, 0.7, 0.4)[0]
        torch.testing.assert_close(ours, theirs.T, rtol=0, atol=1e-10)


class TestNetwork:
    @few
    @given(seeds, st.floats(0.05, 3.0))
    def test_at_most_one_winner_in_a_step_and_it_is_the_right_one(
        self, bio: Any, seed: int, threshold: float
    ) -> None:
        pre = spikes(2, 4, 12, 6, seed=seed)
        weights = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(seed)).double()
        theta = torch.full((2, 5), threshold).double()
        post = bio.winner_spikes(pre, weights, theta, 8.0)
        assert post.shape == (2, 4, 12, 5)
        assert (post.sum(-1) <= 1).all()
        assert set(post.unique().tolist()) <= {0.0, 1.0}
        v = torch.zeros(5).double()  # one sample, written out
        for t in range(12):
            v = v * math.exp(-1 / 8.0) + pre[1, 2, t] @ weights[1]
            fires = bool((v >= theta[1]).any())
            assert post[1, 2, t].sum() == fires
            if fires:
                assert post[1, 2, t, (v - theta[1]).argmax()] == 1
                v = torch.zeros(5).double()

    def test_a_neuron_below_its_threshold_never_wins(self, bio: Any) -> None:
        pre, weights = torch.ones(1, 1, 5, 3), torch.ones(1, 3, 2) * torch.tensor([1.0, 2.0])
        post = bio.winner_spikes(pre, weights, torch.tensor([[0.5, 1e6]]), 10.0)
        assert post[..., 0].all()
        assert not post[..., 1].any()

    @few
    @given(seeds, st.floats(0, 1))
    def test_spikes_come_with_the_intensity(self, bio: Any, seed: int, p: float) -> None:
        images = torch.tensor([[[0.0, p, 1.0]]]).expand(2, 1, 3)
        trains = bio.spike_trains(images, 4000, bio.generators([seed, seed + 1]))
        assert not trains[..., 0].any()
        assert trains[..., 2].all()
        assert float(trains[..., 1].mean()) == pytest.approx(p, abs=0.05)
        if 0.1 < p < 0.9:
            assert not torch.equal(trains[0], trains[1])

    @few
    @given(seeds, st.sampled_from([1e-5, 1e-3, 0.1, 10.0]))
    def test_weights_stay_in_bounds_and_normalised(self, bio: Any, seed: int, rate: float) -> None:
        images, _ = pictures()
        weights, thresholds = bio.train_stdp(images, [seed, seed + 1], rate=rate, **SMALL)
        assert weights.shape == (2, 16, 12)
        assert thresholds.shape == (2, 12)
        assert (weights >= 0).all()
        assert (weights <= 1).all()
        assert (thresholds > 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(2, 12))

    def test_one_batch_is_the_rule_times_the_rate(self, bio: Any) -> None:
        images, _ = pictures(16)
        kept: dict[str, Tensor] = {}
        settings = {**SMALL, "a_minus": 0.2, "tau": 6.0}

        def keep(counts: Tensor, chosen: Tensor) -> Tensor:
            kept["counts"], kept["chosen"] = counts, chosen
            return torch.ones_like(chosen, dtype=counts.dtype)

        start, theta = bio.train_stdp(images, [3], rate=0.0, **settings)
        end, _ = bio.train_stdp(images, [3], rate=1e-3, reward=keep, **settings)
        plain, _ = bio.train_stdp(images, [3], rate=1e-3, **settings)
        assert torch.equal(end, plain)  # a reward of 1 changes nothing
        pre = bio.spike_trains(images[kept["chosen"]], 15, bio.generators([3], stream=2))
        post = bio.winner_spikes(pre, start, torch.full((1, 12), 0.5), 20.0)
        assert torch.equal(post.sum(2), kept["counts"])
        change = bio.stdp_update(pre, post, 6.0, 1.0, 0.2)
        torch.testing.assert_close(end, bio.normalised(start + 1e-3 * change))
        torch.testing.assert_close(theta, 0.99 * 0.5 + 0.4 * kept["counts"].mean(1))

    def test_replicas_side_by_side_equal_replicas_alone(self, bio: Any) -> None:
        images, labels = (
            part.double() if part.is_floating_point() else part for part in pictures()
        )
        rates = torch.tensor([1e-4, 1e-3, 1e-3]).double().reshape(3, 1, 1)
        small = {key: value for key, value in SMALL.items() if key != "neurons"}
        together = bio.train_stdp(images, [0, 1, 7], rate=rates, **SMALL)
        rewarded = bio.train_rstdp(images, labels, 3, [0, 1, 7], rate=rates, per_class=4, **small)
        counts = bio.spike_counts(images, *together, [0, 1, 7], steps=15)
        for i, seed in enumerate([0, 1, 7]):
            alone = bio.train_stdp(images, [seed], rate=float(rates[i]), **SMALL)
            again = bio.train_rstdp(
                images, labels, 3, [seed], rate=float(rates[i]), per_class=4, **small
            )
            for ours, theirs in zip((*together, *rewarded), (*alone, *again), strict=True):
                torch.testing.assert_close(ours[i : i + 1], theirs)
            assert torch.equal(
                counts[i : i + 1], bio.spike_counts(images, *alone, [seed], steps=15)
            )

    def test_counting_in_chunks_covers_every_image_once(self, bio: Any) -> None:
        images = torch.zeros(7, 16)
        images[[2, 5]] = 1.0  # pixels at 1 and 0 leave nothing to chance
        weights, thresholds = torch.full((1, 16, 3), 1 / 16), torch.full((1, 3), 0.5)
        whole = bio.spike_counts(images, weights, thresholds, [0])
        assert torch.equal(whole, bio.spike_counts(images, weights, thresholds, [0], chunk=3))
        assert whole[0].sum(1).nonzero().flatten().tolist() == [2, 5]


class TestReadOut:
    def test_labels_by_hand(self, bio: Any) -> None:
        counts = torch.tensor([[[4.0, 0, 0], [0, 3.0, 0], [1.0, 3.0, 0], [0, 3.0, 0]]])
        labels = torch.tensor([0, 1, 1, 1])
        assert bio.assign_labels(counts, labels, 2).tolist() == [[0, 1, -1]]
        # Per image of a class, not in all: class 0 has one image, class 1 has three.
        counts = torch.tensor([[[2.0], [1.0], [1.0], [1.0]]])
        assert bio.assign_labels(counts, labels, 2).tolist() == [[0]]

    def test_the_vote_is_a_mean_over_members(self, bio: Any) -> None:
        assigned = torch.tensor([[0, 1, 1, -1]])
        counts = torch.tensor([[[3.0, 2.0, 2.0, 9.0], [1.0, 0.0, 4.0, 9.0]]])
        assert bio.vote(counts, assigned, 3).tolist() == [[0, 1]]

    @few
    @given(seeds)
    def test_a_permutation_of_the_neurons_changes_no_answer(self, bio: Any, seed: int) -> None:
        source = torch.Generator().manual_seed(seed)
        counts = torch.randint(0, 9, (2, 8, 10), generator=source).float()
        labels = torch.randint(0, 3, (8,), generator=source)
        order = torch.randperm(10, generator=source)
        assigned = bio.assign_labels(counts, labels, 3)
        shuffled = bio.assign_labels(counts[..., order], labels, 3)
        assert torch.equal(shuffled, assigned[:, order])
        assert torch.equal(bio.vote(counts, assigned, 3), bio.vote(counts[..., order], shuffled, 3))

    def test_labels_of_the_test_part_change_nothing(self, bio: Any) -> None:
        images, labels = pictures(90)
        network = bio.train_stdp(images[:60], [0, 1], rate=1e-3, **SMALL)
        counts = bio.spike_counts(images, *network, [0, 1], steps=15)
        answers = []
        for shift in (0, 1):  # every label of the test part is wrong in the second round
            all_labels = torch.cat([labels[:60], (labels[60:] + shift) % 3])
            assigned = bio.assign_labels(counts[:, :60], all_labels[:60], 3)
            answers.append(bio.vote(counts[:, 60:], assigned, 3))
        assert torch.equal(*answers)
        assert (answers[0] == labels[60:]).float().mean() > 0.9  # and it does learn
        wrong = bio.assign_labels(counts[:, :60], (labels[:60] + 1) % 3, 3)
        assert (bio.vote(counts[:, 60:], wrong, 3) == labels[60:]).float().mean() < 0.1


class TestReward:
    @few
    @given(seeds)
    def test_rewarding_a_sample_scales_its_own_update(self, bio: Any, seed: int) -> None:
        pre, post = spikes(1, 3, 10, 4, seed=seed), spikes(1, 3, 10, 5, seed=seed + 1)
        reward = torch.tensor([[1.0, -1.0, 0.25]]).double()
        expected = sum(
            reward[0, b] * bio.stdp_update(pre[:, b : b + 1], post[:, b : b + 1], 7.0, 1.0, 0.5)
            for b in range(3)
        )
        ours = bio.stdp_update(pre, reward[..., None, None] * post, 7.0, 1.0, 0.5)
        torch.testing.assert_close(ours, expected)

    def test_only_right_and_wrong_enter(self, bio: Any, monkeypatch: Any) -> None:
        """The reward is 1 or -1 without expectation, and unexpected success otherwise."""
        seen: list[Tensor] = []
        images, labels = pictures(48)

        def spy(images: Tensor, seeds: Any, *, reward: Any, **settings: Any) -> None:
            counts = torch.zeros(1, 4, 6)
            counts[0, [0, 1, 2, 3], [0, 1, 2, 5]] = 5.0  # they answer 0, 0, 1, 2
            chosen = torch.tensor([[0, 1, 4, 2]])  # of classes 0, 1, 1, 2
            seen.extend([reward(counts, chosen), reward(counts, chosen)])

        monkeypatch.setitem(bio.train_rstdp.__globals__, "train_stdp", spy)
        raw = torch.tensor([[1.0, -1.0, 1.0, 1.0]])
        bio.train_rstdp(images, labels, 3, [0], per_class=2, expect=None)
        assert torch.equal(seen[0], raw)
        assert torch.equal(seen[1], raw)
        seen.clear()
        bio.train_rstdp(images, labels, 3, [0], per_class=2, expect=0.5)
        guess = 2 / 3 - 1
        torch.testing.assert_close(seen[0], raw - guess)
        torch.testing.assert_close(seen[1], raw - (guess + 0.5) / 2)  # half-way to the mean 0.5

    def test_it_learns_and_the_labels_matter(self, bio: Any) -> None:
        images, labels = pictures(90)
        members = bio.class_members([0, 1], 3, 4)
        assert members.tolist() == [[0] * 4 + [1] * 4 + [2] * 4] * 2
        small: dict[str, Any] = {"per_class": 4, "passes": 8, "batch": 10, "steps": 15}

        def accuracy(rate: float) -> float:
            network = bio.train_rstdp(images[:60], labels[:60], 3, [0, 1], rate=rate, **small)
            counts = bio.spike_counts(images[60:], *network, [0, 1], steps=15)
            return float((bio.vote(counts, members, 3) == labels[60:]).float().mean())

        assert accuracy(3e-2) > 0.9
        assert accuracy(0.0) < 0.7

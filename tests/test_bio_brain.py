"""The comparison with brains: on the chapter's own definitions, and against rsatoolbox."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from biologically_plausible import definitions
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from rsatoolbox.data import Dataset
from rsatoolbox.inference import boot_noise_ceiling
from rsatoolbox.rdm import RDMs, calc_rdm, compare
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from helpers import data
from helpers.project import MissingError, UsageError

seeds = st.integers(0, 10_000)
few = settings(max_examples=20, deadline=None)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bio() -> Any:
    return definitions()


def normal(*shape: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.double)


def brain_of(bio: Any, subjects: Tensor, pixels: Tensor | None = None) -> Any:
    """A brain with given RDMs, (K, P), for which no stimuli are needed."""
    stimuli = round((1 + (1 + 8 * subjects.shape[1]) ** 0.5) / 2)
    pixels = bio.rdm(normal(stimuli, 20, seed=77)) if pixels is None else pixels
    seen = bio.Stimuli(torch.empty(stimuli, 0), torch.zeros(stimuli), pixels, {})
    return bio.Brain("made up", True, subjects, seen)


def mean_similarity(bio: Any, models: Tensor, subjects: Tensor, **options: Tensor) -> float:
    return float(bio.similarity(models, subjects, **options).mean())


class TestMatrix:
    @few
    @given(seeds)
    def test_is_symmetric_with_a_zero_diagonal(self, bio: Any, seed: int) -> None:
        matrix = bio.square(bio.rdm(normal(2, 7, 5, seed=seed)))
        assert matrix.shape == (2, 7, 7)
        assert torch.equal(matrix, matrix.mT)
        assert (matrix.diagonal(dim1=1, dim2=2) == 0).all()
        assert ((matrix >= -1e-12) & (matrix <= 2 + 1e-12)).all()

    @few
    @given(seeds)
    def test_does_not_see_the_order_of_units(self, bio: Any, seed: int) -> None:
        x = normal(8, 6, seed=seed)
        order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(bio.rdm(x[:, order]), bio.rdm(x))

    @few
    @given(seeds)
    def test_does_not_see_the_level_and_size_of_a_pattern(self, bio: Any, seed: int) -> None:
        x, size, level = normal(8, 6, seed=seed), normal(8, 1, seed=1).exp(), normal(8, 1, seed=2)
        torch.testing.assert_close(bio.rdm(size * x + level), bio.rdm(x))

    def test_sees_a_unit_that_changes_its_level(self, bio: Any) -> None:
        x = normal(8, 6, seed=0)
        assert not torch.allclose(bio.rdm(x + normal(6, seed=1)), bio.rdm(x), atol=1e-2)

    def test_equals_rsatoolbox(self, bio: Any) -> None:
        x = normal(3, 12, 9, seed=4)
        theirs = [calc_rdm(Dataset(f.numpy()), method="correlation") for f in x]
        expected = np.concatenate([r.get_vectors() for r in theirs])
        assert_allclose(bio.rdm(x).numpy(), expected, atol=1e-12)

    def test_of_two_opposite_patterns_and_one_across(self, bio: Any) -> None:
        x = torch.tensor([[0.0, 1.0, 2.0], [30.0, 20.0, 10.0], [1.0, 0.0, 1.0]])
        assert_allclose(bio.rdm(x), [2.0, 1.0, 1.0], atol=1e-12)

    def test_of_a_silent_layer_is_finite(self, bio: Any) -> None:
        x = torch.cat([torch.zeros(2, 4), torch.full((1, 4), 0.1), torch.eye(4)])
        entries = bio.square(bio.rdm(x))
        assert_allclose(entries[:3, 3:], 1.0, atol=1e-3)

    def test_upper_undoes_square(self, bio: Any) -> None:
        entries = bio.rdm(normal(2, 7, 5, seed=0))
        assert torch.equal(bio.upper(bio.square(entries)), entries)

    def test_of_categories_is_1_across_and_0_within(self, bio: Any) -> None:
        assert bio.category_rdm(torch.tensor([0, 0, 1])).tolist() == [0.0, 1.0, 1.0]


class TestComparison:
    @few
    @given(seeds, st.booleans())
    def test_equals_scipy_with_and_without_ties(self, bio: Any, seed: int, ties: bool) -> None:
        a, b = normal(2, 45, seed=seed), normal(3, 45, seed=seed + 1)
        if ties:
            a, b = a.round(), b.round()
        expected = [[spearmanr(x, y).statistic for y in b] for x in a]
        assert_allclose(bio.similarity(a, b)[0], expected, atol=1e-12)

    def test_equals_rsatoolbox(self, bio: Any) -> None:
        a, b = bio.rdm(normal(2, 12, 9, seed=1)), bio.rdm(normal(3, 12, 9, seed=2))
        expected = compare(RDMs(a.numpy()), RDMs(b.numpy()), "spearman")
        assert_allclose(bio.similarity(a, b)[0], expected, atol=1e-12)

    def test_is_destroyed_by_permuting_the_stimuli_of_one(self, bio: Any) -> None:
        x = normal(40, 10, seed=3)
        mine, noisy = bio.rdm(x)[None], bio.rdm(x + 0.3 * normal(40, 10, seed=4))[None]
        orders = [torch.randperm(40, generator=torch.Generator().manual_seed(k)) for k in range(20)]
        permuted = torch.cat([bio.upper(bio.square(noisy)[:, o][:, :, o]) for o in orders])
        assert mean_similarity(bio, mine, noisy) > 0.8
        assert abs(mean_similarity(bio, mine, permuted)) < 0.05
        assert bio.similarity(mine, permuted).abs().max() < 0.3

    def test_of_a_constant_matrix_is_zero(self, bio: Any) -> None:
        flat, subjects = torch.ones(1, 45), normal(2, 45, seed=0)
        assert (bio.similarity(flat, subjects) == 0).all()
        assert (bio.similarity(flat, subjects, control=normal(45, seed=1)) == 0).all()

    @few
    @given(seeds)
    def test_partial_is_the_correlation_of_residuals(self, bio: Any, seed: int) -> None:
        c = normal(45, seed=seed)
        a, b = c + normal(1, 45, seed=seed + 1), 0.5 * c + normal(1, 45, seed=seed + 2)
        design = np.stack([np.ones(45), rankdata(c)], axis=1)

        def residual(values: Tensor) -> np.ndarray:
            r = rankdata(values[0])
            return r - design @ np.linalg.lstsq(design, r, rcond=None)[0]

        expected = np.corrcoef(residual(a), residual(b))[0, 1]
        assert_allclose(bio.similarity(a, b, control=c), [[[expected]]], atol=1e-10)

    def test_partial_of_the_textbook(self, bio: Any) -> None:
        ab, ac, bc = (torch.tensor(r) for r in (0.5, 0.6, 0.4))
        assert_allclose(bio.partial_correlation(ab, ac, bc), 0.26 / (0.8 * 0.84**0.5), rtol=1e-6)

    def test_partial_is_zero_when_the_model_is_the_control(self, bio: Any) -> None:
        pixels = bio.rdm(normal(15, 8, seed=5))
        subjects = bio.rdm(normal(15, 8, seed=5) + 0.2 * normal(3, 15, 8, seed=6))
        assert mean_similarity(bio, pixels[None], subjects) > 0.5
        assert bio.similarity(pixels[None], subjects, control=pixels).abs().max() < 1e-6


class TestCeiling:
    @few
    @given(seeds, st.integers(2, 6), st.floats(0, 5))
    def test_lower_is_not_above_upper(self, bio: Any, seed: int, count: int, noise: float) -> None:
        x = normal(20, 10, seed=seed) + noise * normal(count, 20, 10, seed=seed + 1)
        low, high = bio.noise_ceiling(bio.rdm(x))
        assert low <= high + 1e-12

    def test_equals_rsatoolbox(self, bio: Any) -> None:
        subjects = bio.rdm(normal(20, 10, seed=0) + normal(5, 20, 10, seed=1))
        expected = boot_noise_ceiling(RDMs(subjects.numpy()), method="spearman")
        assert_allclose(bio.noise_ceiling(subjects), expected, atol=1e-12)

    def test_is_one_without_noise(self, bio: Any) -> None:
        subjects = bio.rdm(normal(20, 10, seed=0)).expand(3, -1)
        assert_allclose(bio.noise_ceiling(subjects), [1, 1], atol=1e-12)

    def test_falls_when_what_subjects_share_is_held_fixed(self, bio: Any) -> None:
        pixels = normal(20, 10, seed=0)
        subjects = bio.rdm(pixels + normal(5, 20, 10, seed=1))
        low, high = bio.noise_ceiling(subjects)
        fixed_low, fixed_high = bio.noise_ceiling(subjects, bio.rdm(pixels))
        assert fixed_low < low - 0.1
        assert fixed_low <= fixed_high < high

    def test_needs_two_subjects(self, bio: Any) -> None:
        with pytest.raises(UsageError, match="two or more"):
            bio.noise_ceiling(bio.rdm(normal(1, 10, 5, seed=0)))


class TestAlignment:
    @few
    @given(seeds)
    def test_is_one_with_itself_also_rotated_and_scaled(self, bio: Any, seed: int) -> None:
        x = normal(12, 6, seed=seed)
        rotation = torch.linalg.qr(normal(6, 6, seed=seed + 1))[0]
        for other in (x, x @ rotation, -3.0 * x, x + 2.0):
            assert_allclose(bio.cka(x, other), 1.0, atol=1e-10)

    def test_sees_a_stretched_unit_and_unrelated_layers(self, bio: Any) -> None:
        x = normal(200, 6, seed=0)
        stretched = x * torch.tensor([9.0, 1, 1, 1, 1, 1])
        assert bio.cka(x, stretched) < 0.8
        assert bio.cka(x, normal(200, 6, seed=1)) < 0.1

    def test_equals_the_form_with_features(self, bio: Any) -> None:
        x, y = normal(12, 6, seed=2), normal(12, 4, seed=3)
        a, b = x - x.mean(dim=0), y - y.mean(dim=0)
        expected = (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
        torch.testing.assert_close(bio.cka(x, y), expected)

    def test_between_rules_only_different_seeds_are_compared(self, bio: Any) -> None:
        # Each rule has its own direction per seed, and both rules have the same ones.
        units = torch.eye(3).double()
        assert torch.equal(bio.between_seeds([units, units]), torch.zeros(2, 2).double())
        same = units[:1].expand(3, -1)
        assert_allclose(bio.between_seeds([same, units]), [[1, 1 / 3], [1 / 3, 0]], atol=1e-12)

    def test_unit_ranks_give_spearman(self, bio: Any) -> None:
        x, y = normal(12, 6, seed=2), normal(12, 4, seed=3)
        expected = bio.similarity(bio.rdm(x)[None], bio.rdm(y)[None])
        assert_allclose(bio.unit_ranks(x) @ bio.unit_ranks(y), expected.item(), atol=1e-12)


@pytest.fixture(scope="module")
def networks() -> SimpleNamespace:
    """Small tanh networks trained on digits, with automatic differentiation: nine seeds."""
    digits = data.images("digits")
    x, y = torch.from_numpy(digits.train_x), torch.from_numpy(digits.train_y)
    source = torch.Generator().manual_seed(0)
    shapes = [(64, 128), (128, 64), (64, 10)]
    w = [torch.randn(9, *s, generator=source) / s[0] ** 0.5 for s in shapes]
    optimizer = torch.optim.Adam([p.requires_grad_() for p in w], lr=3e-3)

    def hidden(inputs: Tensor) -> list[Tensor]:
        first = torch.tanh(inputs @ w[0])
        return [first, torch.tanh(first @ w[1])]

    for _ in range(15):
        for rows in torch.randperm(len(x), generator=source).split(64):
            scores = hidden(x[rows])[-1] @ w[2]
            loss = torch.nn.functional.cross_entropy(
                scores.flatten(0, 1), y[rows].repeat(9), reduction="sum"
            )
            optimizer.zero_grad()
            (loss / len(rows)).backward()
            optimizer.step()
    test_x, test_y = torch.from_numpy(digits.test_x), torch.from_numpy(digits.test_y)
    task = SimpleNamespace(test_x=test_x, test_y=test_y, shape=(1, 8, 8))
    return SimpleNamespace(task=task, hidden=lambda x: [h.detach() for h in hidden(x)])


class TestSimulatedSubjects:
    @pytest.mark.parametrize("layer", [0, 1])
    def test_the_analysis_finds_the_layer_and_reaches_the_ceiling(
        self, bio: Any, networks: Any, layer: int
    ) -> None:
        stimuli = bio.images_by_class(networks.task, 9)
        layers = networks.hidden(stimuli.inputs)
        brain = bio.simulate_brain(stimuli, layers[layer][5:], 0.37, 4, 0)
        ours = [bio.rdm(h[:5]) for h in layers]  # other seeds than the subjects'
        found = torch.stack([bio.similarity(r, brain.subjects).mean(dim=(0, 2)) for r in ours])
        low, high = bio.noise_ceiling(brain.subjects)
        assert (found[layer] > found[1 - layer]).all()  # for every seed
        assert (found[layer] > low).all()
        assert found[layer].max() < high

    def test_they_have_the_ceiling_that_was_asked_for(self, bio: Any, networks: Any) -> None:
        stimuli = bio.images_by_class(networks.task, 9)
        generating = networks.hidden(stimuli.inputs)[-1][5:]
        for lower in (0.2, 0.37, 0.6):
            brain = bio.simulate_brain(stimuli, generating, lower, 4, 0)
            assert abs(bio.noise_ceiling(brain.subjects)[0] - lower) < 0.005

    def test_they_are_called_simulated(self, bio: Any, networks: Any) -> None:
        brain = bio.observe("simulated", networks.task, lambda x: networks.hidden(x)[-1], 9,
                            0.37, 4, 0)  # fmt: skip
        assert brain.simulated
        assert "simulated" in brain.name
        assert brain.subjects.shape == (4, 90 * 89 // 2)

    def test_more_noise_lowers_the_ceiling(self, bio: Any) -> None:
        generating = normal(1, 30, 4, seed=0) @ normal(4, 100, seed=1)
        lows = [
            bio.noise_ceiling(bio.simulate_subjects(generating, noise, 4, 0))[0]
            for noise in (0.0, 1.0, 3.0, 30.0)
        ]
        assert lows == sorted(lows, reverse=True)
        assert lows[0] > 0.8
        assert abs(lows[-1]) < 0.1

    def test_the_seed_decides(self, bio: Any) -> None:
        generating = normal(2, 12, 20, seed=0)
        first, again, other = (bio.simulate_subjects(generating, 1.0, 3, s) for s in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.allclose(first, other)

    def test_each_reads_its_own_network(self, bio: Any) -> None:
        two = normal(2, 30, 4, seed=0) @ normal(4, 100, seed=1)
        found = bio.similarity(bio.rdm(two), bio.simulate_subjects(two, 0.0, 3, 0))[0]
        assert (found.argmax(dim=0) == torch.tensor([0, 1, 0])).all()
        assert (found.max(dim=0).values > 0.8).all()
        assert (found.min(dim=0).values < 0.3).all()

    def test_images_are_sorted_and_equal_in_number(self, bio: Any, networks: Any) -> None:
        stimuli = bio.images_by_class(networks.task, 6)
        assert stimuli.categories.tolist() == [label for label in range(10) for _ in range(6)]
        assert stimuli.inputs.shape == (60, 64)
        assert (stimuli.controls["category"] == 0).sum() == 10 * 15


class TestBootstrap:
    def test_weights_equal_matrices_built_again_without_self_pairs(self, bio: Any) -> None:
        entries = bio.rdm(normal(2, 15, 8, seed=0))
        r = bio.square(bio.ranks(entries))
        draws = bio.bootstrap_draws(15, 2, 10, seed=1)
        ours = bio.similarity(entries[:1], entries[1:], bio.pair_weights(draws.stimuli))
        for found, times in zip(ours[:, 0, 0], draws.stimuli.long(), strict=True):
            members = torch.arange(15).repeat_interleave(times)
            row, column = torch.triu_indices(15, 15, offset=1)
            different = members[row] != members[column]
            a, b = (m[members[row], members[column]][different] for m in r)
            assert_allclose(found, np.corrcoef(a, b)[0, 1], atol=1e-10)

    def test_self_pairs_are_left_out(self, bio: Any) -> None:
        times = torch.tensor([[2.0, 1.0, 0.0]])
        assert bio.pair_weights(times).tolist() == [[2.0, 0.0, 0.0]]
        unrelated = bio.rdm(normal(2, 40, 10, seed=0))
        draws = bio.bootstrap_draws(40, 2, 200, seed=0)
        kept = bio.similarity(unrelated[:1], unrelated[1:], bio.pair_weights(draws.stimuli))
        # With them, each draw would have some 20 pairs of dissimilarity zero in both.
        assert abs(float(kept[1:].mean() - kept[0])) < 0.01

    def test_the_first_draw_is_the_sample(self, bio: Any) -> None:
        draws = bio.bootstrap_draws(7, 3, 50, seed=0)
        assert (draws.stimuli[0] == 1).all()
        assert (draws.stimuli.sum(dim=1) == 7).all()
        assert (draws.subjects[0] == 1 / 3).all()
        assert_allclose(draws.subjects.sum(dim=1), 1.0)
        assert len(draws.stimuli[1:].unique(dim=0)) > 40

    def test_subjects_are_drawn_too(self, bio: Any) -> None:
        # One subject is the model, the other its opposite: a draw of one of them shows it.
        model = bio.rdm(normal(10, 8, seed=0))[None]
        brain = brain_of(bio, torch.cat([model, -model]))
        once = torch.ones(3, 10).double()
        weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]).double()
        free, _ = bio.on_part(model, brain, bio.Draws(once, weights), torch.ones(10).bool())
        assert_allclose(free[:, 0], [1, -1, 0], atol=1e-12)


class TestLayerChoice:
    def two_faced(self, bio: Any) -> tuple[list[Tensor], Any, Tensor]:
        """Layer 0 is the subject on the first half and noise on the second; 1 the reverse."""
        half = torch.arange(40) < 20
        subject, noise = bio.rdm(normal(2, 40, 10, seed=0))
        inside, outside = (bio.pair_weights(part).bool() for part in (half, ~half))
        layers = [torch.where(part, subject, noise)[None] for part in (inside, outside)]
        return layers, brain_of(bio, subject[None]), half

    def test_a_layer_is_reported_where_it_was_not_chosen(self, bio: Any) -> None:
        layers, brain, half = self.two_faced(bio)
        once = bio.bootstrap_draws(40, 1, 0, seed=0)
        free, fixed = bio.compare_rules({"rule": layers}, brain, once, half[None])
        assert free["rule"].shape == fixed["rule"].shape == (1, 1)
        # Chosen on all stimuli, or on those that are reported, it would be near 1.
        assert abs(float(free["rule"])) < 0.25
        assert abs(float(fixed["rule"])) < 0.25

    def test_a_layer_that_is_good_everywhere_is_found(self, bio: Any) -> None:
        noise, subject = (bio.rdm(normal(1, 40, 10, seed=s)) for s in (3, 4))
        brain, once = brain_of(bio, subject), bio.bootstrap_draws(40, 1, 0, seed=0)
        halves = bio.random_halves(40, 3, seed=0)
        for layers in ([noise, subject], [subject, noise]):
            free, fixed = bio.compare_rules({"rule": layers}, brain, once, halves)
            assert_allclose(free["rule"], 1.0, atol=1e-10)
            assert_allclose(fixed["rule"], 1.0, atol=1e-10)

    @few
    @given(seeds)
    def test_stimuli_outside_a_part_have_no_influence(self, bio: Any, seed: int) -> None:
        half = bio.random_halves(20, 1, seed)[0]
        assert int(half.sum()) == 10
        x, y = normal(3, 20, 8, seed=seed), normal(3, 20, 8, seed=seed + 1)
        other = torch.where(half[:, None], x, y)
        draws = bio.bootstrap_draws(20, 2, 5, seed)
        brain = brain_of(bio, bio.rdm(normal(2, 20, 8, seed=seed + 2)))
        for a, b in zip(
            bio.on_part(bio.rdm(x), brain, draws, half),
            bio.on_part(bio.rdm(other), brain, draws, half),
            strict=True,
        ):
            torch.testing.assert_close(a, b)

    def test_rules_may_have_different_numbers_of_layers_and_seeds(self, bio: Any) -> None:
        brain = brain_of(bio, bio.rdm(normal(2, 20, 8, seed=0)))
        draws, halves = bio.bootstrap_draws(20, 2, 6, 0), bio.random_halves(20, 3, 0)
        one, two = bio.rdm(normal(5, 20, 8, seed=1)), bio.rdm(normal(5, 20, 8, seed=2))
        rules = {"deep": [one, two], "flat": [one], "pixels": [brain.stimuli.pixels[None]]}
        for table in bio.compare_rules(rules, brain, draws, halves):
            assert [tuple(s.shape) for s in table.values()] == [(7, 5), (7, 5), (7, 1)]
        alone, _ = bio.compare_rules({"flat": [one]}, brain, draws, halves)
        together, fixed = bio.compare_rules(rules, brain, draws, halves)
        torch.testing.assert_close(together["flat"], alone["flat"])
        assert fixed["pixels"].abs().max() < 1e-5


class TestMargin:
    scores = {  # noqa: RUF012
        "FA": [0.5, 0.2],
        "BP": [0.4, 0.1],
        "PC": [0.1, 0.3],
        "untrained": [0.9, 0.9],
    }

    def test_is_taken_to_the_best_other_rule_seed_by_seed(self, bio: Any) -> None:
        assert_allclose(bio.closest_margin(self.scores, "FA"), [0.1, -0.1], atol=1e-12)
        assert_allclose(bio.closest_margin(self.scores, "PC"), [-0.4, 0.1], atol=1e-12)

    def test_the_untrained_network_is_no_rival_but_has_a_margin(self, bio: Any) -> None:
        assert_allclose(bio.closest_margin(self.scores, "untrained"), [0.4, 0.6], atol=1e-12)

    def test_refuses_an_unknown_rule_and_a_rule_alone(self, bio: Any) -> None:
        with pytest.raises(UsageError, match="FA, BP"):
            bio.closest_margin(self.scores, "FB")
        with pytest.raises(UsageError, match="no other rule"):
            bio.closest_margin({"FA": [0.1], "untrained": [0.0]}, "FA")

    @few
    @given(seeds)
    def test_at_most_one_rule_has_a_positive_one(self, bio: Any, seed: int) -> None:
        scores = {str(rule): normal(3, seed=seed + rule).tolist() for rule in range(4)}
        margins = torch.tensor([bio.closest_margin(scores, rule) for rule in scores])
        assert ((margins > 0).sum(dim=0) <= 1).all()


@pytest.fixture(scope="module")
def record() -> Any:
    try:
        return data.recordings("brain-92-images")
    except MissingError as missing:
        pytest.skip(f"the recordings are not on this machine: {missing}")


@pytest.fixture(scope="module")
def recorded(bio: Any, record: Any) -> Any:
    task = SimpleNamespace(shape=(3, 32, 32), test_x=torch.empty(0))
    return bio.observe(record.name, task, lambda x: x, 9, 0.37, 4, 0)


class TestRecordings:
    # Measured by another program (NumPy and SciPy) before the chapter was written.
    @pytest.mark.parametrize(
        ("control", "expected"),
        [("animate or not", 0.386), ("monkey IT", 0.296), ("pixels", 0.079)],
    )
    def test_controls_have_the_known_similarity(
        self, bio: Any, recorded: Any, control: str, expected: float
    ) -> None:
        entries = {"pixels": recorded.stimuli.pixels, **recorded.stimuli.controls}[control]
        assert abs(mean_similarity(bio, entries[None], recorded.subjects) - expected) < 1e-3

    def test_the_ceiling_is_the_known_one(self, bio: Any, recorded: Any) -> None:
        assert_allclose(bio.noise_ceiling(recorded.subjects), [0.372, 0.666], atol=1e-3)

    def test_networks_get_small_standardised_pictures(self, recorded: Any) -> None:
        assert not recorded.simulated
        assert "simulated" not in recorded.name
        assert recorded.stimuli.inputs.shape == (92, 3 * 32 * 32)
        pictures = recorded.stimuli.inputs.reshape(92, 3, -1)
        assert_allclose(pictures.mean(dim=(0, 2)), 0, atol=1e-5)
        assert_allclose(pictures.std(dim=(0, 2)), 1, atol=1e-3)

    def test_everything_is_in_the_same_order(self, bio: Any, record: Any, tmp_path: Any) -> None:
        source = np.random.default_rng(0)
        order = source.permutation(92)
        path = tmp_path / "shuffled.npz"
        np.savez(path, stimuli=record.stimuli[order], animate=record.animate[order],
                 rdms=record.subjects[:, order][:, :, order])  # fmt: skip
        shuffled = bio.recorded_brain(str(path), (1, 8, 8), CPU)
        for entries, expected in ((shuffled.stimuli.controls["animate or not"], 0.386),
                                  (shuffled.stimuli.pixels, 0.079)):  # fmt: skip
            assert abs(mean_similarity(bio, entries[None], shuffled.subjects) - expected) < 1e-3
        # The networks' pictures follow the same order as the raw ones.
        small = bio.rdm(shuffled.stimuli.inputs)[None]
        known = bio.recorded_brain("brain-92-images", (1, 8, 8), CPU)
        assert_allclose(
            mean_similarity(bio, small, shuffled.subjects),
            mean_similarity(bio, bio.rdm(known.stimuli.inputs)[None], known.subjects),
            atol=1e-6,
        )


def test_own_recordings_without_extras_have_the_pixel_control_only(bio: Any, tmp_path: Any) -> None:
    path = tmp_path / "mine.npz"
    source = np.random.default_rng(0)
    pictures = source.integers(0, 256, (8, 20, 20, 3), dtype=np.uint8)
    rdms = bio.square(bio.rdm(normal(2, 8, 5, seed=0))).numpy()
    np.savez(path, stimuli=pictures, rdms=rdms)
    brain = bio.recorded_brain(str(path), (3, 10, 10), CPU)
    assert brain.stimuli.controls == {}
    assert brain.stimuli.inputs.shape == (8, 300)
    assert_allclose(bio.square(brain.subjects), rdms, atol=1e-12)
    assert "mine.npz" in brain.name


def test_unknown_recordings_are_refused(bio: Any) -> None:
    task = SimpleNamespace(shape=(1, 8, 8), test_x=torch.empty(0))
    with pytest.raises(UsageError, match="brain-92-images"):
        bio.observe("brain-92-image", task, lambda x: x, 9, 0.37, 4, 0)

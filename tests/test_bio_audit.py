"""What the audit of plausibility measures, on the notebook's own definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from biologically_plausible import definitions
from torch import Tensor

SEEDS = (0, 1)
WIDTHS = (11, 9, 7)
FORWARD_ONLY = {  # the lowest update reads no weight against its direction
    "FeedbackAlignment",
    "DirectFeedback",
    "DendriticLocalized",
    "DifferenceTargets",
    "NodePerturbation",
    "WeightPerturbation",
    "ForwardForward",
    "Hebbian",
}
BOTH_WAYS = {
    "Backprop",
    "PredictiveCoding",
    "EquilibriumPropagation",
    "LocalLosses",
}


@pytest.fixture(scope="module")
def bio() -> Any:
    return definitions()


def make(bio: Any, name: str, widths: tuple[int, ...] = WIDTHS, **settings: Any) -> Any:
    maps = bio.layers_of([], (13,), list(widths), 4)
    rule = getattr(bio, name)(bio.Network(maps, SEEDS, torch.device("cpu")), **settings)
    if isinstance(rule, bio.SpikeTiming):
        rule.w[0] = bio.normalised(rule.w[0].abs())
        rule.thresholds = torch.full((len(SEEDS), rule.neurons), 0.5)
    return rule


def step() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(5)
    x = torch.rand(2, 6, 13, generator=source)
    return x, F.one_hot(torch.arange(6) % 4, 4).float().expand(2, -1, -1)


class TestTrace:
    @pytest.mark.parametrize("name", sorted(FORWARD_ONLY | BOTH_WAYS | {"SpikeTiming"}))
    def test_two_equal_worlds_stay_equal(self, bio: Any, name: str) -> None:
        log, updates = bio.traced(make(bio, name), *step())
        assert updates
        assert all(torch.equal(v.tensor, v.other) for v in log.values)
        assert float(updates[0].tensor.abs().max()) > 0

    @pytest.mark.parametrize("name", sorted(FORWARD_ONLY | BOTH_WAYS | {"SpikeTiming"}))
    def test_watching_changes_nothing(self, bio: Any, name: str) -> None:
        _, watched = bio.traced(make(bio, name), *step())
        alone = make(bio, name).hidden_updates(*step())
        assert all(torch.equal(v.tensor, u) for v, u in zip(watched, alone, strict=True))

    @pytest.mark.parametrize("name", ["Backprop", "FeedbackAlignment", "LocalLosses"])
    def test_the_second_world_is_a_run_with_the_change(self, bio: Any, name: str) -> None:
        x, t = step()
        rule = make(bio, name)
        _, updates = bio.traced(rule, x, t, {"W_1": 3 * rule.w[1], "label": t.roll(1, -1)})
        rule.w[1] = 3 * rule.w[1]
        for value, expected in zip(updates, rule.hidden_updates(x, t.roll(1, -1)), strict=True):
            torch.testing.assert_close(value.other, expected)
        assert float(bio.change(updates[0]).min()) > 0.1

    @pytest.mark.parametrize("name", ["NodePerturbation", "WeightPerturbation", "ForwardForward"])
    def test_both_worlds_have_the_same_noise(self, bio: Any, name: str) -> None:
        x, t = step()
        log, _ = bio.traced(make(bio, name), x, t, {"label": t.roll(1, -1)})
        noise = [v for v in log.values if v.name == "noise"]
        assert noise
        assert all(torch.equal(v.tensor, v.other) for v in noise)

    def test_an_unknown_source_is_refused(self, bio: Any) -> None:
        with pytest.raises(KeyError, match="W_9"):
            bio.traced(make(bio, "Backprop"), *step(), {"W_9": torch.zeros(1)})

    def test_messages_of_backprop_in_order(self, bio: Any) -> None:
        log, updates = bio.traced(make(bio, "Backprop"), *step())
        assert bio.messages(log) == [
            (1, "up", "W_0", 0, 1),
            (2, "up", "W_1", 1, 2),
            (3, "up", "W_2", 2, 3),
            (4, "up", "W_3", 3, 4),
            (5, "down", "W_3", 4, 3),
            (6, "down", "W_2", 3, 2),
            (7, "down", "W_1", 2, 1),
        ]
        assert [v.time for v in updates] == [7, 6, 5, 4]

    def test_a_matrix_carries_one_message_at_a_time(self, bio: Any) -> None:
        log, _ = bio.traced(make(bio, "EquilibriumPropagation", free_steps=3), *step())
        sent = [message[:3] for message in bio.messages(log)]
        assert len(sent) == len(set(sent))

    def test_writing_in_place_through_views_is_followed(self, bio: Any) -> None:
        class Writer(bio.FrozenHidden):
            def hidden_updates(self, x: Tensor, t: Tensor) -> list[Tensor]:
                made = torch.zeros_like(x)
                for row, source in zip(made, x, strict=True):
                    row.add_(source)
                made[..., 0] = t[..., 0] + t[..., 1:].sum(dim=-1)
                return [made.mT @ made]

        x, t = step()
        writer = Writer(make(bio, "FrozenHidden").net)
        _, (update,) = bio.traced(writer, x, t, {"x": 2 * x})
        assert {v.name for v in bio.history(update)} >= {"x", "label"}
        assert torch.equal(update.tensor[:, 0, 0], torch.full((2,), 6.0))
        torch.testing.assert_close(update.other[:, 1:, 1:], 4 * update.tensor[:, 1:, 1:])

    @pytest.mark.parametrize("way", ["item", "if", "tolist", "einsum"])
    def test_what_cannot_be_followed_is_refused(self, bio: Any, way: str) -> None:
        class Escape(bio.Backprop):
            def changes(self, x: Tensor, t: Tensor) -> list[Tensor]:
                e = bio.top_error(self.forward(x)[-1], t)
                if way == "einsum":
                    return [torch.einsum("sbk,snk->sbn", e, self.w[-1])]
                if way == "if" and e[0, 0, 0] > 0:
                    return [e]
                return [e * (e[0, 0, 0].item() if way == "item" else e[0, 0, :1].tolist()[0])]

        rule = Escape(make(bio, "Backprop").net)
        with pytest.raises(ValueError, match="The trace cannot follow"):
            bio.traced(rule, *step())


class TestTransport:
    @pytest.mark.parametrize("name", sorted(FORWARD_ONLY))
    def test_nothing_at_all_without_transport(self, bio: Any, name: str) -> None:
        assert bio.transport_per_seed(make(bio, name), *step()) == [0.0, 0.0]

    @pytest.mark.parametrize("what", ["sizes", "signs"])
    @pytest.mark.parametrize("name", sorted(BOTH_WAYS))
    def test_much_with_transport(self, bio: Any, name: str, what: str) -> None:
        assert float(bio.transport(make(bio, name), *step(), what).min()) > 0.1

    @pytest.mark.parametrize("sizes", ["equal", "fixed", "redrawn"])
    def test_sign_symmetric_feedback_sees_signs_only(self, bio: Any, sizes: str) -> None:
        rule = make(bio, "SignSymmetric", sizes=sizes)
        assert bio.transport(rule, *step(), "sizes").tolist() == [0.0, 0.0]
        assert float(bio.transport(rule, *step(), "signs").min()) > 0.1

    def test_a_rule_that_does_nothing_is_not_called_free_of_transport(self, bio: Any) -> None:
        with pytest.raises(ValueError, match="The update is zero"):
            bio.transport_per_seed(make(bio, "FrozenHidden"), *step())

    def test_the_way_up_is_spared(self, bio: Any) -> None:
        # frozen feedback reads W through the error: without the exemption it would move
        rule, (x, t) = make(bio, "FeedbackAlignment"), step()
        changed = {"W_1": 2 * rule.w[1]}
        _, moved = bio.traced(rule, x, t, changed)
        _, spared = bio.traced(rule, x, t, changed, spare_up=True)
        assert float(bio.change(moved[0]).min()) > 0.1
        assert bio.change(spared[0]).tolist() == [0.0, 0.0]

    @pytest.mark.parametrize("trick", ["a little", "copied", "columns", "absolute"])
    def test_a_rule_that_cheats_is_caught(self, bio: Any, trick: str) -> None:
        class Cheat(bio.FeedbackAlignment):
            def changes(self, x: Tensor, t: Tensor) -> list[Tensor]:
                h, w = self.forward(x), self.w
                delta = [None] * len(w) + [bio.top_error(h[-1], t)]
                for i in range(len(w) - 1, 0, -1):
                    d, b = delta[i + 1], self.b[i]
                    down = {
                        "a little": lambda d, b, v: d @ (b + 0.2 * v).mT,
                        "copied": lambda d, b, v: d @ v.transpose(1, 2).contiguous(),
                        "columns": lambda d, b, v: (v @ d.mT).mT,
                        "absolute": lambda d, b, v: d @ (b.sign() * v.abs()).mT,
                    }[trick](d, b, w[i])
                    delta[i] = down * bio.slope(h[i])
                return bio.weight_updates(h, delta, self.maps)

        cheat = Cheat(make(bio, "Backprop").net)
        assert min(bio.transport_per_seed(cheat, *step())) > 0.05


class TestIndependence:
    @pytest.mark.parametrize("name", ["LocalLosses", "ForwardForward"])
    @pytest.mark.parametrize("layer", [1, 2])
    def test_layers_above_do_not_matter(self, bio: Any, name: str, layer: int) -> None:
        x, t = step()
        rule = make(bio, name)
        _, updates = bio.traced(rule, x, t, {f"W_{layer}": -2 * rule.w[layer]})
        assert all(bio.change(v).tolist() == [0.0, 0.0] for v in updates[:layer])
        assert all(float(bio.change(v).min()) > 0.1 for v in updates[layer:])

    @pytest.mark.parametrize("name", ["LocalLosses", "ForwardForward"])
    def test_the_trace_says_so_too(self, bio: Any, name: str) -> None:
        _, updates = bio.traced(make(bio, name), *step())
        for i, update in enumerate(updates):
            past = bio.history(update)
            weights = {v.name for v in past if v.name.startswith("W_")}
            assert weights == {f"W_{j}" for j in range(i + 1)}
            assert max(v.place for v in past if v.place is not None) == i + 1

    def test_backprop_depends_on_all_layers(self, bio: Any) -> None:
        x, t = step()
        for layer in (1, 2, 3):
            rule = make(bio, "Backprop")
            _, updates = bio.traced(rule, x, t, {f"W_{layer}": -2 * rule.w[layer]})
            assert float(bio.change(updates[0]).min()) > 0.1

    def test_hebbian_reads_its_input_and_its_weights(self, bio: Any) -> None:
        for update in ("softhebb", "sanger", "oja"):
            found = bio.audit(make(bio, "Hebbian", update=update), *step())
            assert found["reads"] == ["W_0", "x"]
            assert found["layers above"] == 0


class TestMeasurements:
    @pytest.mark.parametrize(
        ("name", "route"),
        [
            ("Backprop", "per unit, layer 4"),
            ("DirectFeedback", "per unit, layer 4"),
            ("EquilibriumPropagation", "per unit, layer 4"),
            ("NodePerturbation", "scalar, layer 4"),
            ("WeightPerturbation", "scalar, layer 4"),
            ("LocalLosses", "per unit, layer 1"),
            ("ForwardForward", "input, layer 0"),
            ("RewardedSpikeTiming", "scalar, layer 1"),
            ("Hebbian", "none"),
            ("SpikeTiming", "none"),
        ],
    )
    def test_how_the_label_arrives(self, bio: Any, name: str, route: str) -> None:
        assert bio.label_route(make(bio, name), *step()) == route

    @pytest.mark.parametrize("widths", [(11,), (11, 9), WIDTHS])
    def test_waiting_and_reach_by_depth(self, bio: Any, widths: tuple[int, ...]) -> None:
        depth = len(widths) + 1
        expected = {  # layers above, longest read, passes, waiting
            "Backprop": (depth - 1, 1, 1, 2 * (depth - 1)),
            "FeedbackAlignment": (depth - 1, 1, 1, 2 * (depth - 1)),
            "DirectFeedback": (depth - 1, depth - 1, 1, depth),
            "NodePerturbation": (depth - 1, depth - 1, 2, depth),
            "LocalLosses": (0, 1, 1, 2),
            "Hebbian": (0, 1, 1, 0),
        }
        if depth > 2:
            expected["ForwardForward"] = (0, 1, 2, 0)
        for name, numbers in expected.items():
            found = bio.audit(make(bio, name, widths), *step())
            keys = ("layers above", "longest read", "passes", "waiting")
            assert tuple(found[key] for key in keys) == numbers, name

    @pytest.mark.parametrize(("nudging", "extra"), [("one-sided", 1), ("symmetric", 2)])
    def test_settling_is_counted(self, bio: Any, nudging: str, extra: int) -> None:
        settings = {"nudging": nudging, "free_steps": 9, "nudged_steps": 5}
        found = bio.audit(make(bio, "EquilibriumPropagation", **settings), *step())
        assert found["passes"] == 9 + extra * 5
        assert found["waiting"] == 9 + extra * 5 - 1

    def test_storage_by_hand(self, bio: Any) -> None:
        for widths in ((11,), (11, 9), WIDTHS):
            below = 13 + sum(widths)  # every activity waits for the error from the top
            found = bio.audit(make(bio, "Backprop", widths), *step())
            assert found["storage"] == below
            noisy = bio.audit(make(bio, "NodePerturbation", widths), *step())
            assert noisy["storage"] == below + sum(widths)  # and the noise of every unit
            local = bio.audit(make(bio, "LocalLosses", widths), *step())
            assert local["storage"] == 13 + 11  # what is below and in the lowest layer
            assert bio.audit(make(bio, "Hebbian", widths), *step())["storage"] == 0

    def test_only_spiking_rules_send_spikes(self, bio: Any) -> None:
        spiking = {
            name
            for name in (*FORWARD_ONLY, *BOTH_WAYS, "SpikeTiming", "RewardedSpikeTiming")
            if bio.audit(make(bio, name), *step())["binary"]
        }
        assert spiking == {"SpikeTiming", "RewardedSpikeTiming"}

    def test_binary_inputs_do_not_make_a_rule_spike(self, bio: Any) -> None:
        x, t = step()
        assert not bio.audit(make(bio, "Backprop"), (x > 0.5).float(), t)["binary"]

    def test_sign_flips(self, bio: Any) -> None:
        before = torch.tensor([[[1.0, -2.0], [3.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
        after = torch.tensor([[[-1.0, -9.0], [0.1, 5.0]], [[1.0, -1.0], [-1.0, -0.1]]])
        assert bio.sign_flips(before, after) == [0.25, 0.75]

    def test_ticks(self, bio: Any) -> None:
        def ticks(name: str) -> str:
            found = bio.audit(make(bio, name), *step())
            return " ".join(c for c in ("C1", "C2", "C3") if bio.meets(found, c))

        assert ticks("Backprop") == ""
        assert ticks("FeedbackAlignment") == "C1"
        assert ticks("SignSymmetric") == ""
        assert ticks("NodePerturbation") == "C1"
        assert ticks("LocalLosses") == "C2 C3"
        assert ticks("ForwardForward") == "C1 C2"
        assert ticks("EquilibriumPropagation") == ""
        assert ticks("Hebbian") == "C1 C2 C3"

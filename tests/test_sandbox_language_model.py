"""Loading, sampling and training of code models, on models of two layers that are made here."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import sandbox_chat_server as servers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.hub import hub_answers
from helpers.project import MissingError, UsageError
from helpers.sandbox import language_model as lm

nan = math.nan
WORDS = ["ab", "a longer question", "x"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return servers.tokenizer()


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {kind: lively(servers.model(kind)) for kind in ("gpt2", "llama", "mistral")}


@pytest.fixture(params=["gpt2", "llama", "mistral"])
def model(request: pytest.FixtureRequest, made: dict[str, Any]) -> Any:
    return made[request.param]


@pytest.fixture
def tiny(made: dict[str, Any]) -> Any:
    """A model that a test may change."""
    return deepcopy(made["llama"])


def lively(model: Any) -> Any:
    """Larger weights, so that the next token depends on those before it."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
    return model


def alone(model: Any, asked: Sequence[int], answer: Sequence[int], temperature: float) -> Tensor:
    """Log-probabilities of an answer, one token after the other, without a batch or padding."""
    found = []
    for place, token in enumerate(answer):
        ids = torch.tensor([[*asked, *answer[:place]]])
        with torch.no_grad():
            logits = model(ids).logits[0, -1].double()
        found.append(torch.log_softmax(logits / temperature, 0)[token])
    return torch.stack(found).float()


# ------------------------------------------------------------------ loading


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any], tokenizer: Any) -> Path:
    place = tmp_path_factory.mktemp("models") / "tiny"
    made["llama"].save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_a_folder_loads_as_it_was_saved(folder: Path, made: dict[str, Any]) -> None:
    for name in (folder, str(folder)):
        model, tokenizer = lm.load_code_model(name)
        assert model.dtype == torch.float32
        assert not model.training
        assert tokenizer.padding_side == "left"
        assert tokenizer.pad_token is not None
        ids = torch.tensor([tokenizer("print(1)")["input_ids"]])
        torch.testing.assert_close(model(ids).logits, made["llama"](ids).logits, rtol=0, atol=0)
    assert lm.load_code_model(folder, dtype="bfloat16")[0].dtype == torch.bfloat16


def test_a_tokenizer_without_a_filler_gets_one(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))
    model, tokenizer = lm.load_code_model(tmp_path)
    assert tokenizer.pad_token == tokenizer.eos_token
    assert lm.sample(model, tokenizer, WORDS, temperature=0, max_new_tokens=4)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"device": "gpu"}, UsageError, "device is 'gpu': give one of auto, cpu, cuda, mps"),
        ({"device": "meta"}, UsageError, "device is 'meta'"),
        ({"device": "cuda:99"}, MissingError, "PyTorch finds none|no GPU of that number"),
        ({"dtype": "float7"}, UsageError, "dtype is 'float7': give one of auto"),
        ({"dtype": "float64"}, UsageError, "dtype is 'float64'"),
        ({"name": "./nothing"}, MissingError, "no folder './nothing'"),
        ({"name": Path("nothing")}, MissingError, "no folder 'nothing'"),
        ({"name": "not a name!"}, MissingError, "'not a name!' cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded(
    folder: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        lm.load_code_model(**{"name": folder} | changes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        lambda folder: [file.unlink() for file in folder.iterdir()],
    ],
)
def test_a_damaged_folder_is_a_clear_error(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], Any]
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    with pytest.raises(MissingError, match="must hold what save_pretrained writes"):
        lm.load_code_model(tmp_path)


def test_pickled_weights_are_not_read(made: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").unlink()
    torch.save(made["llama"].state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingError, match="save_pretrained"):
        lm.load_code_model(tmp_path)


def test_without_a_network_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    asked = []

    class Hub(threading.Thread):
        """Takes connections, and answers that nothing is there."""

        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.door = socket.create_server(("127.0.0.1", 0))

        def run(self) -> None:
            while True:
                line, _ = self.door.accept()
                with line:
                    asked.append(line.recv(1000))
                    line.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")

    hub = Hub()
    hub.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{hub.door.getsockname()[1]}")
    assert hub_answers()
    assert asked[0].startswith(b"HEAD ")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    name = "nobody/no-such-model"
    for _ in range(2):
        with pytest.raises(MissingError) as caught:
            lm.load_code_model(name)
        for part in (name, "HF_HOME", "folder", "HF_TOKEN", "network"):
            assert part in str(caught.value)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_answers()


# ------------------------------------------------------------------ questions


def test_questions_become_tokens(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert lm.as_text(tokenizer, messages) == "<|user|>hi<|assistant|>"
    assert lm.encode(tokenizer, messages) == tokenizer("<|user|>hi<|assistant|>")["input_ids"]
    assert lm.encode(tokenizer, "hi") == tokenizer("hi")["input_ids"]
    plain = deepcopy(tokenizer)
    plain.chat_template = None
    assert lm.as_text(plain, [*messages, *messages]) == "hi\n\nhi\n"
    with pytest.raises(UsageError, match="empty"):
        lm.encode(tokenizer, "")
    plain.bos_token = "<|system|>"
    assert lm.encode(plain, "") == [plain.bos_token_id]


def test_marks_of_the_beginning_and_the_end(tokenizer: Any) -> None:
    """A tokenizer that adds them: the beginning stays, once; the end would end the question."""
    from tokenizers.processors import TemplateProcessing

    marked = deepcopy(tokenizer)
    marked.bos_token = "<|system|>"
    begin, end = marked.bos_token_id, marked.eos_token_id
    marked.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|system|> $A <|end|>",
        special_tokens=[("<|system|>", begin), ("<|end|>", end)],
    )
    assert lm.encode(marked, "hi") == [begin, *tokenizer("hi")["input_ids"]]
    chat = lm.encode(marked, [{"role": "user", "content": "hi"}])
    assert begin not in chat
    assert end not in chat


# ------------------------------------------------------------------ sampling


def test_a_seed_gives_the_same_answers_and_nothing_else_changes(model: Any, tokenizer: Any) -> None:
    settings = {"n": 3, "max_new_tokens": 6, "batch_size": 4}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = lm.sample(model, tokenizer, WORDS, seed=4, **settings)
    assert torch.equal(torch.rand(3), expected)
    assert one == lm.sample(model, tokenizer, WORDS, seed=4, **settings)
    assert one != lm.sample(model, tokenizer, WORDS, seed=5, **settings)
    assert [len(answers) for answers in one] == [3, 3, 3]
    assert len({text for answers in one for text in answers}) > 6
    assert lm.sample(model, tokenizer, [], n=2) == []


def test_neither_neighbours_nor_padding_change_an_answer(model: Any, tokenizer: Any) -> None:
    settings = {"temperature": 0, "max_new_tokens": 8}
    single = [lm.sample(model, tokenizer, [word], **settings)[0] for word in WORDS]
    assert lm.sample(model, tokenizer, WORDS, **settings) == single
    assert lm.sample(model, tokenizer, WORDS, n=2, **settings) == [texts * 2 for texts in single]
    assert lm.sample(model, tokenizer, WORDS, batch_size=2, **settings) == single
    # The likeliest token each time, by hand.
    ids = tokenizer(WORDS[1])["input_ids"]
    for _ in range(8):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    by_hand = tokenizer.decode(ids[len(tokenizer(WORDS[1])["input_ids"]) :], True)
    assert single[1] == [by_hand]


def test_answers_have_the_models_own_distribution(tiny: Any, tokenizer: Any) -> None:
    """At the temperature, whatever settings the model came with."""
    tiny.generation_config.update(
        top_k=1, repetition_penalty=3.0, temperature=0.01, no_repeat_ngram_size=1, typical_p=0.1
    )
    asked = tokenizer("ab")["input_ids"]
    with torch.no_grad():
        logits = tiny(torch.tensor([asked])).logits[0, -1]
    count = 4000
    for temperature, top_p in ((1.5, 1.0), (1.0, 0.6)):
        chances = torch.softmax(logits / temperature, 0)
        order = chances.argsort(descending=True)
        kept = order[: int((chances[order].cumsum(0) < top_p).sum()) + 1]
        wanted = torch.zeros_like(chances)
        wanted[kept] = chances[kept] / chances[kept].sum()
        rows = lm._generate(tiny, tokenizer, [asked] * count, temperature, top_p, 1, (), 0)
        seen = Counter(row[0] for row in rows)
        for token, chance in enumerate(wanted.tolist()):
            spread = math.sqrt(count * chance * (1 - chance)) + 1e-9
            assert abs(seen[token] - count * chance) < 5 * spread + 1


def test_an_answer_ends_at_a_stop_text_and_at_the_end(tiny: Any, tokenizer: Any) -> None:
    full = lm.sample(tiny, tokenizer, WORDS, n=2, temperature=1.0, max_new_tokens=30, seed=1)
    stop = [full[0][0][5:7], full[1][1][3]]
    short = lm.sample(
        tiny, tokenizer, WORDS, n=2, temperature=1.0, max_new_tokens=30, seed=1, stop=stop
    )
    assert short == [[lm.cut(text, stop) for text in texts] for texts in full]
    assert short != full
    # It stops drawing, and does not only cut.
    steps: list[int] = []
    hook = tiny.register_forward_hook(lambda *_: steps.append(1))
    likeliest = lm.sample(tiny, tokenizer, ["ab"], temperature=0, max_new_tokens=30)[0][0]
    assert len(steps) == 30
    steps.clear()
    lm.sample(tiny, tokenizer, ["ab"], temperature=0, max_new_tokens=30, stop=[likeliest[2]])
    assert len(steps) < 30
    hook.remove()
    # Any of several ends counts; what is beyond is left out.
    end = tokenizer(likeliest[3])["input_ids"][-1]
    tiny.generation_config.eos_token_id = [end, 7]
    rows = lm._generate(tiny, tokenizer, [tokenizer("ab")["input_ids"]] * 2, 0, 1.0, 30, (), 0)
    assert rows[0] == rows[1]
    assert rows[0][-1] == end
    assert not {end, 7} & set(rows[0][:-1])


def test_where_a_text_is_cut() -> None:
    assert lm.cut("one two three", [" three", " two"]) == "one"
    assert lm.cut("one", ["x"]) == lm.cut("one", []) == "one"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n": 0}, "n is 0"), ({"n": 1.5}, "n is 1.5"), ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.inf}, "temperature is inf"), ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.1}, "top_p is 1.1"), ({"batch_size": 0}, "batch_size is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"), ({"n": "2"}, "n is 2"),
        ({"stop": "\n"}, "stop is a list"), ({"stop": [""]}, "stop is a list"),
        ({"max_new_tokens": 255}, "beyond the 256 that the model can hold"),
    ],
)  # fmt: skip
def test_sampling_refuses(
    made: dict[str, Any], tokenizer: Any, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        lm.sample(made["gpt2"], tokenizer, ["ab"], **wrong)


# ------------------------------------------------------------------ the objective


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_each_sequence_alone(
    model: Any, tokenizer: Any, temperature: float
) -> None:
    asked = [tokenizer(word)["input_ids"] for word in WORDS]
    answers = [[5, 6, 7, 8], [9], [10, 256]]
    logs, mask = lm.log_probabilities(model, asked, answers, temperature)
    assert mask.sum(1).tolist() == [4, 1, 2]
    assert (logs[~mask] == 0).all()
    for row, (question, answer) in enumerate(zip(asked, answers, strict=True)):
        expected = alone(model, question, answer, temperature)
        torch.testing.assert_close(logs[row][mask[row]], expected, rtol=0, atol=2e-5)
    # What fills the rows is nothing to them.
    other, _ = lm.log_probabilities(model, asked, answers, temperature, filler=99)
    torch.testing.assert_close(other, logs, rtol=0, atol=1e-6)


def test_a_model_that_cannot_leave_out_logits_gives_the_same(tiny: Any, tokenizer: Any) -> None:
    asked, answers = [tokenizer("a question")["input_ids"]], [[5, 6]]
    assert lm._keeps(tiny)
    expected, _ = lm.log_probabilities(tiny, asked, answers)
    forward = tiny.forward

    def old_forward(input_ids: Any, attention_mask: Any, position_ids: Any, use_cache: Any) -> Any:
        return forward(input_ids, attention_mask, position_ids, use_cache=use_cache)

    tiny.forward = old_forward
    assert not lm._keeps(tiny)
    found, _ = lm.log_probabilities(tiny, asked, answers)
    torch.testing.assert_close(found, expected)


GROUP = st.lists(st.sampled_from([1.0, -0.3, -0.6, -1.0, nan, 0.25]), min_size=2, max_size=8)


@settings(max_examples=200, deadline=None)
@given(GROUP, st.floats(0.1, 10), st.floats(-5, 5))
def test_advantages_within_a_group(rewards: list[float], scale: float, shift: float) -> None:
    group = torch.tensor([rewards], dtype=torch.float64)
    found = lm.advantages(group)
    known = ~group.isnan()
    assert (found[~known] == 0).all()
    assert abs(found.sum()) < 1e-9
    different = len(set(group[known].tolist())) > 1
    if different:
        assert found[known].square().mean() == pytest.approx(1)
        torch.testing.assert_close(lm.advantages(group * scale + shift), found)
    else:
        assert (found == 0).all()


def test_a_tiny_difference_of_rewards_stays_tiny() -> None:
    found = lm.advantages(torch.tensor([[1.0, 1.0 + 1e-4], [1.0, 2.0]], dtype=torch.float64))
    assert found[0].abs().max() == pytest.approx(0.05)
    assert found[1].tolist() == pytest.approx([-1, 1])


def rows(*values: float) -> Tensor:
    return torch.tensor([values])


def test_the_objective_by_hand() -> None:
    mask = torch.tensor([[True, True, False]])
    old = rows(-1.0, -2.0, -9.0)
    ratio = torch.tensor([[1.5, 0.9, 7.0]])
    for gain, expected in ((2.0, -(1.2 * 2 + 0.9 * 2) / 2), (-2.0, (1.5 * 2 + 0.9 * 2) / 2)):
        loss = lm.objective(old + ratio.log(), old, old, torch.tensor([gain]), mask, 0.2, 0.0)
        assert loss.tolist() == pytest.approx([expected])
    # The divergence: 0 where they agree, positive elsewhere, with the reference over the policy.
    assert lm.divergence(rows(-1.0), rows(-1.0)).item() == 0
    assert lm.divergence(rows(-1.0), rows(-3.0)).item() == pytest.approx(math.exp(-2) + 2 - 1)
    assert lm.divergence(rows(-3.0), rows(-1.0)).item() == pytest.approx(math.exp(2) - 2 - 1)
    loss = lm.objective(old, old, old - 2, torch.tensor([0.0]), mask, 0.2, 0.5)
    assert loss.tolist() == pytest.approx([0.5 * (math.exp(-2) + 1)])


def test_the_gradients_of_the_objective() -> None:
    mask = torch.tensor([[True, True, False]])
    old = rows(-1.0, -2.0, -9.0)

    def gradient(new: Tensor, gain: float, kl: float, reference: Tensor = old) -> list[float]:
        new = new.clone().requires_grad_()
        lm.objective(new, old, reference, torch.tensor([gain]), mask, 0.2, kl).sum().backward()
        assert new.grad is not None
        return new.grad[0].tolist()

    # Where the policy is the one that drew: the policy gradient, and nothing from the divergence.
    assert gradient(old, 3.0, 0.0) == pytest.approx([-1.5, -1.5, 0])
    assert gradient(old, 3.0, 9.0) == pytest.approx([-1.5, -1.5, 0])
    assert gradient(old, 0.0, 0.0) == [0, 0, 0]
    # Too far already: no gradient onwards, but one back.
    far = old + math.log(1.5)
    assert gradient(far, 3.0, 0.0) == [0, 0, 0]
    assert gradient(far, -3.0, 0.0) == pytest.approx([2.25, 2.25, 0])
    # The divergence pulls back to the reference.
    assert gradient(far, 0.0, 1.0) == pytest.approx([(1 - 1 / 1.5) / 2] * 2 + [0])


def test_the_estimate_of_the_divergence_has_the_right_mean() -> None:
    torch.manual_seed(0)
    policy, reference = torch.log_softmax(torch.randn(2, 20), 1)
    exact = (policy.exp() * (policy - reference)).sum()
    drawn = torch.multinomial(policy.exp(), 200_000, replacement=True)
    found = lm.divergence(policy[drawn], reference[drawn])
    assert (found >= 0).all()
    assert found.mean().item() == pytest.approx(exact.item(), rel=0.03)
    assert found.std() < (policy - reference)[drawn].std()


# ------------------------------------------------------------------ training


def letters(problem: Any, answers: list[str]) -> list[float | None]:
    """Pays for capital letters, of which a random model writes few."""
    return [sum(c.isupper() for c in text) / 6 for text in answers]


def train(model: Any, tokenizer: Any, reward: Any = letters, **changes: Any) -> lm.Trained:
    how: dict[str, Any] = {
        "steps": 12, "batch": 2, "samples": 16, "lr": 2e-2, "max_new_tokens": 6, "kl": 0.0,
        "temperature": 1.0, "batch_size": 32, "micro_batch": 32,
    }  # fmt: skip
    return lm.train_lora(model, tokenizer, ["ab", "cd"], reward, **how | changes)


def adapter(model: Any) -> dict[str, Tensor]:
    return {n: w.detach().clone() for n, w in model.named_parameters() if "lora_" in n}


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([[5, 6, 7, 8]])).logits


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_what_is_paid_becomes_frequent(tiny: Any, tokenizer: Any) -> None:
    told: list[Any] = []
    trained = train(tiny, tokenizer, steps=25, log=told.append)
    rewards = [entry["reward"] for entry in trained.history]
    assert sum(rewards[-3:]) > 2.5 * sum(rewards[:3]) > 0
    answers = lm.sample(trained.model, tokenizer, ["ab", "zz"], n=40, max_new_tokens=6, top_p=1.0)
    with trained.model.disable_adapter():
        before = lm.sample(trained.model, tokenizer, ["ab", "zz"], 40, max_new_tokens=6, top_p=1.0)
    paid, unpaid = (sum(letters(None, texts)[i] for texts in found for i in range(40))
                    for found in (answers, before))  # fmt: skip
    assert paid > 2 * unpaid
    assert told == trained.history
    assert [entry["step"] for entry in told] == list(range(25))
    assert told[0]["divergence"] == 0 < told[-1]["divergence"]
    assert all(1 <= entry["tokens"] <= 6 and entry["gradient"] > 0 for entry in told)


def test_the_first_model_stays_and_is_the_reference(tiny: Any, tokenizer: Any) -> None:
    before = logits(tiny)
    weights = {name: weight.clone() for name, weight in tiny.state_dict().items()}
    trained = train(tiny, tokenizer, steps=2)
    assert not torch.equal(logits(trained.model), before)
    with trained.model.disable_adapter():
        assert torch.equal(logits(trained.model), before)
    after = trained.model.get_base_model().state_dict()
    for name, weight in weights.items():
        stays = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(stays, weight)


def test_a_new_adapter_changes_nothing(tiny: Any, tokenizer: Any) -> None:
    before = logits(tiny)
    policy = lm._with_adapter(tiny, 4, "all-linear", seed=0)
    assert torch.equal(logits(policy), before)
    assert any("lora_A" in name for name in adapter(policy))
    assert all(w.requires_grad == ("lora_" in n) for n, w in policy.named_parameters())


def test_without_an_advantage_nothing_is_learnt(tiny: Any, tokenizer: Any) -> None:
    trained = train(tiny, tokenizer, lambda problem, answers: [-0.3] * len(answers), steps=2)
    assert all((w == 0).all() for name, w in adapter(trained.model).items() if "lora_B" in name)
    assert [entry["gradient"] for entry in trained.history] == [0, 0]


def test_training_repeats_and_leaves_the_generators_alone(
    made: dict[str, Any], tokenizer: Any
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(3)
        found.append(train(deepcopy(made["llama"]), tokenizer, steps=2, seed=seed))
        assert torch.equal(torch.rand(2), expected)
    first, second, third = found
    assert first.history == second.history != third.history
    assert same(adapter(first.model), adapter(second.model))
    assert not same(adapter(first.model), adapter(third.model))


def test_a_heavy_price_keeps_the_policy(made: dict[str, Any], tokenizer: Any) -> None:
    free, bound = (
        train(deepcopy(made["llama"]), tokenizer, steps=10, kl=kl, lr=5e-3).history[-1]
        for kl in (0.0, 100.0)
    )
    assert bound["divergence"] < 0.1 * free["divergence"]


def test_several_passes_are_clipped(made: dict[str, Any], tokenizer: Any) -> None:
    once, often, wide = (
        train(deepcopy(made["llama"]), tokenizer, steps=1, lr=5e-2, passes=p, clip=c)
        for p, c in ((1, 0.2), (6, 0.2), (6, 0.99))
    )
    assert once.history[0]["clipped"] == 0 < often.history[0]["clipped"]
    assert not same(adapter(often.model), adapter(wide.model))  # the clip has a say


def test_the_size_of_a_part_does_not_matter(made: dict[str, Any], tokenizer: Any) -> None:
    whole, parts = (
        adapter(train(deepcopy(made["llama"]), tokenizer, steps=1, kl=0.1, passes=2,
                      micro_batch=m).model)
        for m in (32, 5)
    )  # fmt: skip
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-3, atol=1e-4)


def test_missing_rewards_are_left_out(made: dict[str, Any], tokenizer: Any) -> None:
    none = train(
        deepcopy(made["llama"]), tokenizer, lambda p, answers: [None] * len(answers), steps=1
    )
    assert all((w == 0).all() for name, w in adapter(none.model).items() if "lora_B" in name)
    assert none.history[0]["dropped"] == 1
    assert math.isnan(none.history[0]["reward"])

    # With the rewards of "cd" missing, only the answers to "ab" count: the same step as without.
    def only_ab(problem: str, answers: list[str]) -> list[float | None]:
        return letters(problem, answers) if problem == "ab" else [None] * len(answers)

    half = train(deepcopy(made["llama"]), tokenizer, only_ab, steps=1)
    assert half.history[0]["dropped"] == 0.5

    def update(rewards: list[list[float]], asked: list[str]) -> dict[str, Tensor]:
        policy = lm._with_adapter(deepcopy(made["llama"]), 4, "all-linear", seed=0)
        weights = [weight for weight in policy.parameters() if weight.requires_grad]
        lm._update(
            policy, torch.optim.SGD(weights, lr=1.0), weights,
            [tokenizer(a)["input_ids"] for a in asked], [[5], [6], [7], [8]][: len(asked)],
            torch.tensor(rewards), 1.0, 0, 0.2, 0.0, 1, 8,
        )  # fmt: skip
        return adapter(policy)

    two = update([[1.0, -1.0]], ["ab", "ab"])
    four = update([[1.0, -1.0], [nan, 3.0]], ["ab", "ab", "cd", "cd"])
    for name, weight in two.items():
        torch.testing.assert_close(four[name], weight)


def test_the_history_tells_the_levels(tiny: Any, tokenizer: Any) -> None:
    levels = [1.0, -0.3, -0.6, -1.0, -1.0, None]

    def reward(problem: Any, answers: list[str]) -> list[float | None]:
        return [levels[i % 6] for i in range(len(answers))]

    entry = train(tiny, tokenizer, reward, steps=1, samples=6).history[0]
    assert entry["right"] == pytest.approx(0.2)
    assert entry["not compiled"] == pytest.approx(0.4)
    assert entry["reward"] == pytest.approx(-1.9 / 5)
    assert entry["dropped"] == pytest.approx(1 / 6)


def test_problems_prompts_and_rewards_go_together(tiny: Any, tokenizer: Any) -> None:
    seen: list[tuple[Any, int]] = []

    def reward(problem: dict[str, str], answers: list[str]) -> list[float]:
        assert all(isinstance(answer, str) for answer in answers)
        seen.append((problem["name"], len(answers)))
        return [0.0] * len(answers)

    problems = [{"name": name} for name in "abc"]
    lm.train_lora(
        tiny, tokenizer, problems, reward, steps=3, batch=2, samples=4, max_new_tokens=2,
        prompt=lambda problem: [{"role": "user", "content": problem["name"]}],
    )  # fmt: skip
    assert [count for _, count in seen] == [4] * 6
    names = [name for name, _ in seen]
    assert sorted(names[:3]) == sorted(names[3:]) == ["a", "b", "c"]  # each once before any again


def test_the_learning_rate_rises_in_the_warmup(made: dict[str, Any], tokenizer: Any) -> None:
    cold, warm = (
        adapter(train(deepcopy(made["llama"]), tokenizer, steps=1, lr=lr, warmup=w).model)
        for lr, w in ((1e-3, 0), (1e-2, 10))
    )
    assert same(cold, warm)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "steps is 0"), ({"batch": 0}, "batch is 0"), ({"rank": 0}, "rank is 0"),
        ({"passes": 0}, "passes is 0"), ({"samples": 1}, "samples from 2 on"),
        ({"clip": 1.0}, "a clip between"), ({"lr": 0}, "an lr"), ({"kl": -1}, "kl from 0"),
        ({"temperature": 0}, "temperature above 0"), ({"micro_batch": 0}, "micro_batch is 0"),
        ({"target_modules": ["nothing"]}, "target_modules"),
        ({"max_new_tokens": 10_000}, "beyond the 8192"),
        ({"reward": lambda p, a: [1.0]}, "1 rewards for 16 answers"),
        ({"reward": lambda p, a: [nan] * len(a)}, "A reward is nan"),
        ({"reward": lambda p, a: ["1"] * len(a)}, "A reward is 1"),
        ({"reward": lambda p, a: [True] * len(a)}, "A reward is True"),
    ],
)  # fmt: skip
def test_training_refuses(tiny: Any, tokenizer: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        train(tiny, tokenizer, **changes)


def test_training_refuses_models_that_cannot_be_trained(tiny: Any, tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="no problem"):
        lm.train_lora(tiny, tokenizer, [], letters)
    with pytest.raises(UsageError, match="bfloat16 or float32"):
        train(deepcopy(tiny).half(), tokenizer)
    train(tiny, tokenizer, steps=1)
    with pytest.raises(UsageError, match="has an adapter already"):
        train(tiny, tokenizer, steps=1)


# ------------------------------------------------------------------ adapters on disk


def test_an_adapter_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = lm.load_code_model(folder)
    place = tmp_path / "new" / "adapter"
    trained = train(model, tokenizer, steps=3, folder=place, save_every=2)
    again = lm.load_adapter(lm.load_code_model(folder)[0], place)
    assert torch.equal(logits(again), logits(trained.model))
    assert not any(weight.requires_grad for weight in again.parameters())
    for file in place.iterdir():  # no path of this machine
        assert str(folder.parent).encode() not in file.read_bytes()
    assert json.loads((place / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        folder.name
    )
    # It is gone on with; one that is only for use is not.
    with pytest.raises(UsageError, match="trainable=True"):
        train(again, tokenizer, steps=1)
    further = lm.load_adapter(lm.load_code_model(folder)[0], place, trainable=True)
    before = adapter(further)
    assert same(before, adapter(trained.model))
    assert not same(before, adapter(train(further, tokenizer, steps=1).model))
    assert [file.name for file in place.parent.iterdir()] == ["adapter"]


def test_an_adapter_is_replaced_whole_or_not_at_all(
    tiny: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "adapter"
    trained = train(tiny, tokenizer, steps=1)
    trained.save(place)
    old = {file.name: file.read_bytes() for file in place.iterdir()}
    with torch.no_grad():
        next(w for n, w in trained.model.named_parameters() if "lora_B" in n).add_(1)
    move = Path.replace

    def full(self: Path, target: Any) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(MissingError, match="No space left"):
            trained.save(place)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == old
    assert [file.name for file in tmp_path.iterdir()] == ["adapter"]
    trained.save(place)
    assert {file.name: file.read_bytes() for file in place.iterdir()} != old
    assert [file.name for file in tmp_path.iterdir()] == ["adapter"]


def test_adapters_that_are_none(
    made: dict[str, Any], tiny: Any, tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(MissingError, match="no adapter in mine"):
        lm.load_adapter(tiny, tmp_path / "mine")
    trained = train(tiny, tokenizer, steps=1)
    with pytest.raises(UsageError, match="is no adapter"):
        trained.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    trained.save(tmp_path / "good")
    with pytest.raises(UsageError, match="has an adapter already"):
        lm.load_adapter(tiny, tmp_path / "good")
    with pytest.raises(UsageError, match="does not fit"):
        lm.load_adapter(servers.model(width=64), tmp_path / "good")
    (tmp_path / "good" / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UsageError, match="damaged"):
        lm.load_adapter(deepcopy(made["llama"]), tmp_path / "good")

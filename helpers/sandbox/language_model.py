"""Code models: load one by its name or folder, sample programs, train an adapter by a reward.

The trainer draws several answers to each question and moves the model towards those that earn more
than their group: PPO's clipped objective with advantages within the group in place of a value
network (GRPO). Only a low-rank adapter (LoRA) changes, so that the reference policy is the same
model with the adapter switched off.

Source: MPLSandbox, supplement, equation 2 (the objective: reward less beta times the divergence
from the first policy); Schulman et al. 2017 (the clipped ratio); Shao et al. 2024, DeepSeekMath
(the advantage within a group, and the divergence as a term of the loss); Hu et al. 2022 (LoRA).
"""

from __future__ import annotations

import inspect
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from helpers.hub import hub_answers, quiet_loading
from helpers.project import MissingError, UsageError
from helpers.runtime import DEVICES, select_device

from .prompts import Messages
from .records import REWARDS, Verdict

Question = str | Messages
Reward = Callable[[Any, list[str]], Sequence[float | None]]

DTYPES = ("auto", "float32", "bfloat16", "float16")
_ADAPTER = "adapter_config.json"


# ------------------------------------------------------------------ loading


def load_code_model(
    name: str | Path, device: str = "cpu", dtype: str = "auto", revision: str | None = None
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    What is in the cache of the hub is taken from there without a look at the network. Code that
    comes with a model is never run, and weights are read from safetensors files alone.

    Parameters
    ----------
    name : on the hub, such as ``Qwen/Qwen2.5-Coder-1.5B-Instruct``, or the path of a folder that
        ``save_pretrained`` wrote
    device : one of `helpers.runtime.DEVICES`, or one with a number such as ``cuda:1``
    dtype : one of `DTYPES`; ``auto`` takes bfloat16 on a GPU that has it, and float32 elsewhere
    revision : a commit of the hub, so that the same weights are loaded next year

    Raises
    ------
    UsageError : for a device or type that does not exist
    MissingError : if the model is not here and the hub does not have it or cannot be reached, or
        if it does not fit the device
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = _device(device)
    kind = _dtype(dtype, place)
    local = Path(name).is_dir()
    if not local and (isinstance(name, Path) or str(name).startswith((".", "/", "~", "\\"))):
        raise MissingError(f"There is no folder {str(name)!r} with a model: check the path.")

    def load(offline: bool) -> tuple[Any, Any]:
        how: dict[str, Any] = {
            "revision": revision, "local_files_only": offline, "trust_remote_code": False,
        }  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(str(name), **how)
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(
                str(name), dtype=kind, use_safetensors=True, **how
            )
        return model, tokenizer

    try:
        try:
            model, tokenizer = load(offline=True)
        except OSError:
            if local or not hub_answers():
                raise
            model, tokenizer = load(offline=False)
    except Exception as error:  # of whatever kind the libraries have for it
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        where = (
            "The folder must hold what save_pretrained writes, of the model and of its tokenizer."
            if local
            else "Connect to the network; or set HF_HOME to a cache that has it; or name a folder "
            "to which save_pretrained wrote it. A model that asks for consent needs HF_TOKEN."
        )
        raise MissingError(
            f"The model {str(name)!r} cannot be loaded ({reason}). {where}"
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    try:
        return model.to(place).eval(), tokenizer
    except torch.OutOfMemoryError:
        raise MissingError(
            f"The model {str(name)!r} does not fit the memory of {device}: take a smaller one, or "
            "dtype='bfloat16'."
        ) from None


def _device(name: str) -> Any:
    import torch

    if name in DEVICES:
        return select_device(name)
    try:
        place = torch.device(name)
    except (RuntimeError, TypeError):
        place = None
    if place is None or place.type not in DEVICES:
        raise UsageError(f"device is {name!r}: give one of {', '.join(DEVICES)}, or cuda:NUMBER.")
    select_device(place.type)  # says if there is none
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise MissingError(f"device is {name!r}, and this machine has no GPU of that number.")
    return place


def _dtype(name: str, place: Any) -> Any:
    import torch

    if name not in DTYPES:
        raise UsageError(f"dtype is {name!r}: give one of {', '.join(DTYPES)}.")
    if name == "auto":
        short = place.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if short else torch.float32
    return getattr(torch, name)


# ------------------------------------------------------------------ questions as tokens


def as_text(tokenizer: Any, question: Question) -> str:
    """Return a question as the text that the model is fed: messages by its chat template.

    A model without a template gets the messages one below the other.
    """
    if isinstance(question, str):
        return question
    if getattr(tokenizer, "chat_template", None):
        return str(
            tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        )
    return "\n\n".join(message["content"] for message in question) + "\n"


def encode(tokenizer: Any, question: Question) -> list[int]:
    """Return a question as tokens, with what the model expects at the beginning.

    Raises
    ------
    UsageError : if it has no token
    """
    text = as_text(tokenizer, question)
    # A template writes the mark of the beginning itself.
    templated = not isinstance(question, str) and getattr(tokenizer, "chat_template", None)
    ids = list(tokenizer(text, add_special_tokens=not templated)["input_ids"])
    if not templated and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids.pop()  # some tokenizers close a text, which is to be gone on with
    if not ids and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id]
    if not ids:
        raise UsageError("A question is empty: ask the model something.")
    return ids


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer."""
    known = model.generation_config.eos_token_id
    ends = {*([known] if isinstance(known, int) else known or []), tokenizer.eos_token_id}
    return sorted(end for end in ends if end is not None)


def _filler(tokenizer: Any) -> int:
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0  # it is masked wherever it stands


def _padded(rows: Sequence[Sequence[int]], filler: int, left: bool) -> tuple[Any, Any]:
    """Rows of tokens as (B, T) integers, and where they are tokens."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        part = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[row, part] = torch.tensor(tokens, dtype=torch.long)
        mask[row, part] = 1
    return ids, mask


# ------------------------------------------------------------------ sampling


def sample(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    n: int = 1,
    temperature: float = 0.8,
    top_p: float = 0.95,
    max_new_tokens: int = 384,
    stop: Sequence[str] = (),
    seed: int = 0,
    batch_size: int = 16,
) -> list[list[str]]:
    """Return ``n`` answers to each question.

    The same seed, batch size and machine give the same answers, whatever was drawn before; and what
    is drawn afterwards does not depend on this. Settings that came with the model, such as a
    penalty of repetition, do not count: the answers are drawn from the model's own distribution,
    at the temperature, within ``top_p``.

    Parameters
    ----------
    questions : texts to be gone on with, or messages; see `helpers.sandbox.prompts`
    temperature : 0 takes the likeliest token each time
    top_p : the smallest set of tokens with this probability
    stop : an answer ends before the first of these texts
    batch_size : answers that are generated at a time

    Raises
    ------
    UsageError : for settings that are out of range, or a question that is too long for the model
    """
    _above("n", n, 1)
    _above("batch_size", batch_size, 1)
    _above("max_new_tokens", max_new_tokens, 1)
    _above("temperature", temperature, 0)
    _above("top_p", top_p, 0, 1)
    if isinstance(stop, str) or not all(isinstance(mark, str) and mark for mark in stop):
        raise UsageError("stop is a list of texts, none of them empty.")
    asked = [encode(tokenizer, question) for question in questions]
    if not asked:
        return []
    _fits(model, asked, max_new_tokens)
    times = n if temperature > 0 else 1  # the likeliest answer is the same each time
    rows = [question for question, tokens in enumerate(asked) for _ in range(times)]
    rows.sort(key=lambda question: -len(asked[question]))  # questions of like length together
    answers: list[list[str]] = [[] for _ in asked]
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        new = _generate(
            model, tokenizer, [asked[question] for question in part], temperature, top_p,
            max_new_tokens, stop, seed + start,
        )  # fmt: skip
        texts = tokenizer.batch_decode(
            new, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        for question, text in zip(part, texts, strict=True):
            answers[question].append(cut(text, stop))
    return [texts * (n // times) for texts in answers]


def cut(text: str, stop: Sequence[str]) -> str:
    """Return what stands before the first of the stop texts."""
    places = [text.find(mark) for mark in stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]


def _generate(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Sequence[int]],
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    stop: Sequence[str],
    seed: int,
) -> list[list[int]]:
    """New tokens for each row, up to the token that ends it, if there is one."""
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    ends, filler = _ends(model, tokenizer), _filler(tokenizer)
    ids, mask = _padded(asked, filler, left=True)
    # Each setting is given, since what is not is taken from the model's own.
    how = GenerationConfig(
        do_sample=temperature > 0, temperature=temperature if temperature > 0 else 1.0,
        top_p=top_p, top_k=0, min_p=0.0, typical_p=1.0, epsilon_cutoff=0.0, eta_cutoff=0.0,
        repetition_penalty=1.0, no_repeat_ngram_size=0, num_beams=1, use_cache=True,
        max_new_tokens=max_new_tokens, min_new_tokens=0, pad_token_id=filler,
        eos_token_id=ends or None,
    )  # fmt: skip
    ends_at = [_Stop(tokenizer, stop, ids.shape[1])] if stop else []
    with _draws(model.device, seed), torch.no_grad():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=how,
            stopping_criteria=StoppingCriteriaList(ends_at),
        )
    rows = []
    for row in out[:, ids.shape[1] :].tolist():
        end = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
        rows.append(row[: end + 1])
    return rows


class _Stop:
    """Ends the rows that hold a stop text."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], start: int) -> None:
        self.tokenizer, self.stop, self.start = tokenizer, stop, start
        # A token holds at least a byte, or is a mark without text.
        self.reach = max(len(mark.encode()) for mark in stop) + 8

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        tail = ids[:, max(self.start, ids.shape[1] - self.reach) :]
        texts = self.tokenizer.batch_decode(tail, skip_special_tokens=True)
        found = [any(mark in text for mark in self.stop) for text in texts]
        return torch.tensor(found, device=ids.device)


@contextmanager
def _draws(device: Any, seed: int) -> Iterator[None]:
    """Draw by a seed, and leave the generators as they were."""
    import torch

    own = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(own, device_type="cuda" if not own else device.type):
        torch.manual_seed(seed % (1 << 63))
        yield


def _fits(model: Any, asked: Sequence[Sequence[int]], more: int) -> None:
    config = model.config
    room = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    longest = max(map(len, asked))
    if room and longest + more > room:
        raise UsageError(
            f"A question of {longest} tokens and an answer of {more} go beyond the {room} that the "
            "model can hold: lower max_new_tokens, or ask less."
        )


def _above(name: str, value: Any, least: float, most: float = math.inf) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if least == 1 and most == math.inf:
        number = number and value == int(value)
    if not number or not least <= value <= most or (most == 1 and value == 0):
        upto = "on" if most == math.inf else f"to {most}"
        raise UsageError(f"{name} is {str(value)[:60]}: give a number from {least} {upto}.")


# ------------------------------------------------------------------ the objective


def log_probabilities(
    model: Any,
    asked: Sequence[Sequence[int]],
    answered: Sequence[Sequence[int]],
    temperature: float = 1.0,
    filler: int = 0,
) -> tuple[Any, Any]:
    """Return the log-probability of each token of the answers, at a temperature.

    Parameters
    ----------
    asked, answered : tokens, as `encode` and generation give them
    filler : the token that fills the shorter rows, which nothing depends on

    Returns
    -------
    (B, T) log-probabilities, 0 where an answer has ended; (B, T) booleans, where it has not
    """
    import torch

    left, left_mask = _padded(asked, filler, left=True)
    right, right_mask = _padded(answered, filler, left=False)
    width = right.shape[1]
    ids = torch.cat([left, right], 1).to(model.device)
    mask = torch.cat([left_mask, right_mask], 1).to(model.device)
    # The place of a token does not count what fills the row before it.
    places = (mask.cumsum(1) - 1).clamp(min=0)
    how = {"logits_to_keep": width + 1} if _keeps(model) else {}
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, **how
    ).logits
    scaled = logits[:, -width - 1 : -1].float() / temperature
    picked = scaled.gather(-1, ids[:, -width:].unsqueeze(-1)).squeeze(-1)
    logs = picked - scaled.logsumexp(-1)
    there = mask[:, -width:].bool()
    return logs.masked_fill(~there, 0.0), there


def _keeps(model: Any) -> bool:
    """Whether the model can leave out the logits of the questions, which take most memory."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


def advantages(rewards: Any, floor: float = 1e-3) -> Any:
    """Return rewards less the mean of their group, over its standard deviation.

    A group of equal rewards has no advantage, nor has a reward that is missing or alone.

    Parameters
    ----------
    rewards : (G, n), a row for each question; nan where there is none
    floor : the least deviation that is divided by, so that a tiny difference stays tiny
    """
    import torch

    known = ~rewards.isnan()
    count = known.sum(1, keepdim=True).clamp(min=1)
    mean = rewards.nan_to_num().sum(1, keepdim=True) / count
    apart = torch.where(known, rewards - mean, torch.zeros_like(rewards))
    spread = (apart.square().sum(1, keepdim=True) / count).sqrt()
    # Equal rewards differ from their mean by an error of rounding.
    equal = apart.abs().amax(1, keepdim=True) < 1e-6
    return torch.where(equal, torch.zeros_like(apart), apart / spread.clamp(min=floor))


def divergence(new: Any, reference: Any) -> Any:
    """Return for each token an estimate of how far the policy is from the reference.

    With r the reference's probability over the policy's: r - log r - 1, never negative, and 0 where
    they agree. Its mean over tokens drawn from the policy is the divergence KL(policy, reference)
    (Schulman's estimator k3). Equation 2 has the plain -log r in its place, which has the same mean
    and a larger spread. As a term of the loss, this one's gradient is that of
    KL(reference, policy), which pulls to the same place.
    """
    ratio = reference - new
    return ratio.exp() - ratio - 1


def objective(
    new: Any, old: Any, reference: Any, gains: Any, mask: Any, clip: float, kl: float
) -> Any:
    """Return the loss of each answer, the mean over its tokens.

    Parameters
    ----------
    new, old, reference : (B, T) log-probabilities under the policy, under the policy that drew the
        answers, and under the model before training
    gains : (B,) advantages
    mask : (B, T) where there are tokens
    clip : the ratio of new to old counts only from 1 - clip to 1 + clip, where it would gain
    kl : beta, the price of `divergence`
    """
    import torch

    ratio = (new - old).exp()
    gain = gains.unsqueeze(1)
    better = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    value = better - kl * divergence(new, reference)
    return -(value * mask).sum(1) / mask.sum(1).clamp(min=1)


# ------------------------------------------------------------------ training


@dataclass
class Trained:
    """A model with its adapter, and what happened.

    Attributes
    ----------
    model : answers with the adapter; ``with model.disable_adapter():`` without it
    history : one entry per update:

        - ``step``, from 0
        - ``reward``: the mean, nan if none was known
        - ``right``, ``not compiled``: the share of known rewards that are the best and the worst
          of the four levels
        - ``dropped``: the share of answers without a reward, or the only one of their question
        - ``divergence``: `divergence` before the update, the mean over tokens
        - ``clipped``: the share of tokens whose ratio was out of bounds, in the last pass
        - ``tokens``: the mean length of an answer
        - ``gradient``: its norm before it is clipped, in the last pass
    """

    model: Any
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, folder: str | Path) -> None:
        """Write the adapter; see `save_adapter`."""
        save_adapter(self.model, folder)


def train_lora(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Any],
    reward: Reward,
    *,
    prompt: Callable[[Any], Question] | None = None,
    steps: int = 20,
    batch: int = 4,
    samples: int = 8,
    kl: float = 0.02,
    clip: float = 0.2,
    lr: float = 1e-4,
    rank: int = 8,
    target_modules: str | Sequence[str] = "all-linear",
    temperature: float = 0.8,
    max_new_tokens: int = 384,
    passes: int = 1,
    warmup: int = 0,
    seed: int = 0,
    batch_size: int = 16,
    micro_batch: int = 4,
    log: Callable[[dict[str, float]], None] | None = None,
    folder: str | Path | None = None,
    save_every: int = 0,
) -> Trained:
    """Train a low-rank adapter so that answers earn more.

    Each update draws ``samples`` answers to each of ``batch`` questions from the policy, at the
    temperature and without ``top_p``, so that what is optimised is what is drawn. Log-probabilities
    are taken at the same temperature. On a CPU, the same seed gives the same adapter.

    Parameters
    ----------
    model : its weights stay as they are, and the adapter is put into it; a model that
        `load_adapter` returned with ``trainable=True`` goes on with its adapter
    problems : questions, or whatever ``prompt`` makes questions of
    reward : problem, its answers -> one reward each; None where the sandbox failed, which leaves
        the answer out
    steps : updates
    kl : beta, the price of leaving the first policy
    clip : see `objective`; it matters only if there is more than one pass
    rank, target_modules : of the adapter, as in peft
    passes : gradient steps on the same answers
    warmup : updates in which the learning rate rises to ``lr``
    batch_size : answers that are generated at a time
    micro_batch : answers whose gradients are computed at a time; lower it if memory runs out
    log : called with the entry of each update; see `Trained`
    folder : where the adapter is written at the end, and every ``save_every`` updates

    Raises
    ------
    UsageError : for settings that are out of range, or rewards that are none
    """
    import torch

    settings = {"steps": steps, "batch": batch, "rank": rank, "passes": passes}
    settings |= {"batch_size": batch_size, "micro_batch": micro_batch}
    settings |= {"max_new_tokens": max_new_tokens}
    for name, value in settings.items():
        _above(name, value, 1)
    if samples < 2 or not 0 < clip < 1 or not lr > 0 or not kl >= 0 or not temperature > 0:
        raise UsageError(
            "Give samples from 2 on, a clip between 0 and 1, and an lr and a temperature above 0, "
            "and kl from 0 on."
        )
    if not problems:
        raise UsageError("There is no problem to train on.")
    asked = [encode(tokenizer, prompt(p) if prompt else p) for p in problems]
    _fits(model, asked, max_new_tokens)
    policy = _with_adapter(model, rank, target_modules, seed)
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=0.0)
    trained = Trained(policy)
    order = _order(len(problems), batch, seed)
    for step in range(steps):
        chosen = next(order)
        rows = [asked[i] for i in chosen for _ in range(samples)]
        new: list[list[int]] = []
        for start in range(0, len(rows), batch_size):
            # Seeds that no other step or part of this training has.
            drawn = 1_000_003 * seed + 10_007 * step + start
            new += _generate(
                policy, tokenizer, rows[start : start + batch_size], temperature, 1.0,
                max_new_tokens, (), drawn,
            )  # fmt: skip
        texts = tokenizer.batch_decode(
            new, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        groups = [texts[i : i + samples] for i in range(0, len(texts), samples)]
        rewards = torch.stack(
            [_rewards(reward, problems[i], g) for i, g in zip(chosen, groups, strict=True)]
        )
        for entry in optimiser.param_groups:
            entry["lr"] = lr * min(1.0, (step + 1) / max(warmup, 1))
        told = _update(
            policy, optimiser, weights, rows, new, rewards, temperature, _filler(tokenizer),
            clip, kl, passes, micro_batch,
        )  # fmt: skip
        history = {"step": float(step)} | _summary(rewards) | told
        history["tokens"] = sum(map(len, new)) / len(new)
        trained.history.append(history)
        if log is not None:
            log(history)
        if folder is not None and (
            step + 1 == steps or (save_every and not (step + 1) % save_every)
        ):
            save_adapter(policy, folder)
    return trained


def _with_adapter(model: Any, rank: int, targets: str | Sequence[str], seed: int) -> Any:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    if next(model.parameters()).dtype == torch.float16:
        raise UsageError("float16 overflows in training: load the model as bfloat16 or float32.")
    if isinstance(model, PeftModel):
        if not any(weight.requires_grad for weight in model.parameters()):
            raise UsageError("This adapter is not to be trained: load it with trainable=True.")
        return model.eval()
    if hasattr(model, "peft_config"):
        raise UsageError(
            "The model has an adapter already: go on with the trained model, or load it anew."
        )
    settings = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=targets if isinstance(targets, str) else list(targets),
    )  # fmt: skip
    with _draws(model.device, seed):
        try:
            # Without dropout: what is optimised is what answers.
            return get_peft_model(model, settings).eval()
        except ValueError as error:
            raise UsageError(f"target_modules: {str(error)[:200]}") from None


def _order(count: int, batch: int, seed: int) -> Iterator[list[int]]:
    """Batches of indices, each index once before any comes again."""
    import torch

    source = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += torch.randperm(count, generator=source).tolist()
        yield waiting[:batch]
        waiting = waiting[batch:]


def _rewards(reward: Reward, problem: Any, texts: list[str]) -> Any:
    import torch

    found = list(reward(problem, texts))
    for value in found:
        number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            raise UsageError(f"A reward is {str(value)[:60]}: give a number, or None for none.")
    if len(found) != len(texts):
        raise UsageError(f"There are {len(found)} rewards for {len(texts)} answers: give one each.")
    values = [math.nan if value is None else float(value) for value in found]
    return torch.tensor(values, dtype=torch.float64)


def _summary(rewards: Any) -> dict[str, float]:
    known = rewards[~rewards.isnan()]

    def share(level: float | None) -> float:
        return float((known == level).double().mean()) if len(known) else math.nan

    return {
        "reward": float(known.mean()) if len(known) else math.nan,
        "right": share(REWARDS[Verdict.ACCEPTED]),
        "not compiled": share(REWARDS[Verdict.COMPILE_ERROR]),
    }


def _update(
    policy: Any,
    optimiser: Any,
    weights: list[Any],
    asked: list[list[int]],
    answered: list[list[int]],
    rewards: Any,
    temperature: float,
    filler: int,
    clip: float,
    kl: float,
    passes: int,
    micro_batch: int,
) -> dict[str, float]:
    """Gradient steps on one set of answers; those without a group are left out."""
    import torch

    known = ~rewards.isnan()
    used = (known & (known.sum(1, keepdim=True) > 1)).flatten()
    rows = used.nonzero().flatten().tolist()
    told = {"dropped": 1 - len(rows) / len(used), "divergence": 0.0, "clipped": 0.0}
    if not rows:
        return told | {"gradient": 0.0}
    gains = advantages(rewards).flatten().float().to(policy.device)
    parts = [rows[i : i + micro_batch] for i in range(0, len(rows), micro_batch)]

    def logs(part: list[int]) -> tuple[Any, Any]:
        return log_probabilities(
            policy, [asked[i] for i in part], [answered[i] for i in part], temperature, filler
        )

    before: list[tuple[Any, Any]] = []
    tokens = far = 0.0
    with torch.no_grad():
        for part in parts:
            old, mask = logs(part)
            with policy.disable_adapter():
                reference, _ = logs(part)
            before.append((old, reference))
            tokens += float(mask.sum())
            far += float((divergence(old, reference) * mask).sum())
    told["divergence"] = far / tokens
    for _ in range(passes):
        optimiser.zero_grad(set_to_none=True)
        out = 0.0
        for part, (old, reference) in zip(parts, before, strict=True):
            new, mask = logs(part)
            loss = objective(new, old, reference, gains[part], mask, clip, kl).sum() / len(rows)
            loss.backward()
            ratio = (new.detach() - old).exp()
            out += float((((ratio - 1).abs() > clip) & mask).sum())
        told["clipped"] = out / tokens
        told["gradient"] = float(torch.nn.utils.clip_grad_norm_(weights, 1.0))
        optimiser.step()
    return told


# ------------------------------------------------------------------ adapters on disk


def save_adapter(model: Any, folder: str | Path) -> None:
    """Write a model's adapter to a folder, whole or not at all. An older one there is replaced.

    No path of this machine is in the files: the first model is named as it was, without its folder.

    Raises
    ------
    UsageError : if the folder is there and holds something else
    MissingError : if it cannot be written
    """
    target = Path(folder)
    if target.exists() and not (target / _ADAPTER).is_file():
        raise UsageError(f"{target.name} is there and is no adapter: name another folder.")
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        new, old = part / "new", part / "old"
        # "auto" would look for the first model on the hub.
        model.save_pretrained(str(new), save_embedding_layers=False)
        (new / "README.md").unlink(missing_ok=True)
        settings = json.loads((new / _ADAPTER).read_text("utf-8"))
        first = settings.get("base_model_name_or_path") or ""
        if Path(first).is_dir():
            settings["base_model_name_or_path"] = Path(first).name
        (new / _ADAPTER).write_text(json.dumps(settings, indent=2, sort_keys=True), "utf-8")
        if target.exists():
            target.replace(old)
        try:
            new.replace(target)
        except BaseException:
            with suppress(OSError):
                old.replace(target)
            raise
    except OSError as error:
        raise MissingError(
            f"The adapter {target.name} cannot be written ({error.strerror or error}): free some "
            "space, or give another folder."
        ) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def load_adapter(model: Any, folder: str | Path, trainable: bool = False) -> Any:
    """Put an adapter that `save_adapter` wrote into a model, and return the model with it.

    Raises
    ------
    MissingError : if there is none
    UsageError : if it does not fit the model
    """
    from peft import PeftModel

    target = Path(folder)
    if not (target / _ADAPTER).is_file():
        raise MissingError(f"There is no adapter in {target.name}: train one, or check the path.")
    if hasattr(model, "peft_config"):
        raise UsageError("The model has an adapter already: load the model anew.")
    try:
        found = PeftModel.from_pretrained(model, os.fspath(target), is_trainable=trainable)
    except Exception as error:  # of whatever kind the libraries have for it
        reason = str(error).split("\n")[0][:200]
        raise UsageError(
            f"The adapter {target.name} is damaged or does not fit this model ({reason})."
        ) from None
    return found.eval()

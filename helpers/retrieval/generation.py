"""Language models that rewrite, answer and judge: here, or behind an address.

A writer takes prompts and gives texts. It is made from a name: of a model on the hub or in a
folder, or, with an address, of a model on a server that speaks the protocol of OpenAI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from helpers.hub import hub_answers, quiet_loading
from helpers.project import MissingError, UsageError


class Generator(Protocol):
    """Whatever continues prompts."""

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Return one text for each prompt."""
        ...


@dataclass(frozen=True)
class LocalModel:
    """A causal language model on this machine; the likeliest words, so the same each time.

    Attributes
    ----------
    model, tokenizer : as transformers has them
    max_new_tokens : of an answer, which also ends at a blank line
    batch_size : prompts at a time
    """

    model: Any
    tokenizer: Any
    max_new_tokens: int = 50
    batch_size: int = 16

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Return one text for each prompt.

        Raises
        ------
        UsageError : for a prompt that is longer than the model reads
        """
        from helpers.sandbox.language_model import sample

        questions: list[Any] = list(prompts)
        if getattr(self.tokenizer, "chat_template", None):
            questions = [[{"role": "user", "content": prompt}] for prompt in prompts]
        answers = sample(
            self.model, self.tokenizer, questions, temperature=0.0, stop=["\n\n"],
            max_new_tokens=self.max_new_tokens, batch_size=self.batch_size,
        )  # fmt: skip
        return [answer for (answer,) in answers]


@dataclass(frozen=True)
class RemoteModel:
    """A model behind an address; see `helpers.sandbox.assistant.Assistant`."""

    assistant: Any

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Return one text for each prompt.

        Raises
        ------
        AssistantError : if the server cannot be reached, refuses or fails; the message says which
        """
        return [self.assistant.ask([{"role": "user", "content": p}])[0] for p in prompts]


def load_generator(name: str, address: str = "", device: str = "cpu") -> Generator:
    """Return a writer by the name of its model.

    Parameters
    ----------
    name : on the hub, or a folder that ``save_pretrained`` wrote; with an address, on the server
    address : such as ``http://localhost:8000/v1``; empty loads the model here
    device : where it lives, if it is loaded here

    Raises
    ------
    UsageError : for an address that is none
    MissingError : if the model is neither here nor to be had
    """
    if address:
        from helpers.sandbox.assistant import Assistant

        return RemoteModel(Assistant(name, address, temperature=0.0, max_tokens=64))
    from helpers.sandbox.language_model import load_code_model

    return LocalModel(*load_code_model(name, device))


def load_cross_encoder(name: str, device: str = "cpu") -> tuple[Any, Any]:
    """Load a reranker and its tokenizer: of the T5 family, or one that classifies pairs of texts.

    What is in the cache of the hub is taken from there without a look at the network. Code that
    comes with a model is never run, and weights are read from safetensors files where it has them.

    Raises
    ------
    MissingError : if the model is neither here nor to be had
    """
    from transformers import (
        AutoConfig,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    from helpers.runtime import select_device

    place = select_device(device)

    def load(offline: bool) -> tuple[Any, Any]:
        how: dict[str, Any] = {"trust_remote_code": False, "local_files_only": offline}
        kind = (
            AutoModelForSeq2SeqLM
            if AutoConfig.from_pretrained(name, **how).is_encoder_decoder
            else AutoModelForSequenceClassification
        )
        with quiet_loading():
            return kind.from_pretrained(name, **how), AutoTokenizer.from_pretrained(name, **how)

    try:
        try:
            model, tokenizer = load(offline=True)
        except OSError:
            if Path(name).is_dir() or not hub_answers():
                raise
            model, tokenizer = load(offline=False)
    except Exception as error:  # of whatever kind the libraries have for it
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        raise MissingError(
            f"The reranker {name!r} cannot be loaded ({reason}). Connect to the network, or name "
            "a folder to which save_pretrained wrote it."
        ) from None
    return model.to(place).eval(), tokenizer


def fine_tune(
    writer: Generator,
    examples: Sequence[tuple[str, str]],
    steps: int = 100,
    rank: int = 8,
    rate: float = 2e-4,
    batch: int = 8,
    seed: int = 0,
) -> list[float]:
    """Train a low-rank adapter so that prompts are answered as in the examples.

    Only the words of the answers count in the loss. The adapter is put into the writer's model, so
    the writer answers with it afterwards.

    Parameters
    ----------
    writer : a `LocalModel`; a model behind an address cannot be trained from here
    examples : pairs of a prompt and its answer
    steps : updates, of ``batch`` examples each
    rank : of the adapter
    rate : learning rate of AdamW

    Returns
    -------
    The loss at each step, in nats for a token.

    Raises
    ------
    UsageError : for another kind of writer, no examples, or numbers out of range

    Source: Hu et al. 2022 (LoRA); Wang et al. 2024, section on generator fine-tuning (contexts).
    """
    if not isinstance(writer, LocalModel):
        raise UsageError("Only a model that is loaded here can be trained: leave address empty.")
    if not examples or steps < 1 or batch < 1 or rank < 1 or not rate > 0:
        raise UsageError("Training needs examples, and steps, batch, rank and rate above 0.")
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model

    model, tokenizer = writer.model, writer.tokenizer
    torch.manual_seed(seed)
    if hasattr(model, "peft_config"):
        raise UsageError("The model has an adapter already: load it anew to train another.")
    adapted = get_peft_model(
        model,
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    adapted.train()
    for _ in range(steps):
        rows = [
            _example(tokenizer, *examples[i])
            for i in rng.choice(len(examples), size=min(batch, len(examples)), replace=False)
        ]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), width), tokenizer.pad_token_id or 0)
        labels = torch.full((len(rows), width), -100)
        mask = torch.zeros_like(ids)
        for row, (tokens, start) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, start : len(tokens)] = torch.tensor(tokens[start:])
            mask[row, : len(tokens)] = 1
        place = adapted.device
        loss = adapted(
            input_ids=ids.to(place), attention_mask=mask.to(place), labels=labels.to(place)
        ).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise UsageError(f"The loss is {losses[-1]}: take a lower rate.")
    adapted.eval()
    return losses


def _example(tokenizer: Any, prompt: str, answer: str) -> tuple[list[int], int]:
    """Tokens of prompt and answer, and where the answer begins."""
    from helpers.sandbox.language_model import encode

    question: Any = prompt
    if getattr(tokenizer, "chat_template", None):
        question = [{"role": "user", "content": prompt}]
    asked = encode(tokenizer, question)
    answered = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return [*asked, *answered, tokenizer.eos_token_id], len(asked)

"""Fit a model by any rule, with progress, early stop on validation, checkpoint and resume.

The loop knows nothing about gradients. A chapter passes a ``step`` that changes its model, so
backpropagation and a rule written by hand go through the same loop.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .project import BookError, MissingError, UsageError


class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimisers and schedulers of PyTorch."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass
class History:
    """What :func:`fit` did.

    Attributes
    ----------
    scores : the validation score after each epoch, one number or one per replica, on the CPU
    best_epoch : the epoch (from 0) with the best mean score; -1 without ``evaluate``
    stopped_early : whether ``patience`` ran out before the last epoch
    """

    scores: list[Tensor] = field(default_factory=list)
    best_epoch: int = -1
    stopped_early: bool = False


def generators(
    seeds: Iterable[int], stream: int = 0, device: torch.device | str = "cpu"
) -> list[torch.Generator]:
    """One random generator per seed, for models that train side by side.

    Parameters
    ----------
    seeds : one per replica
    stream : a number that keeps apart the draws of one seed (weights 0, data order 1, ...)
    device : where the numbers are drawn; only those drawn on the CPU are the same everywhere
    """
    return [torch.Generator(device).manual_seed(1_000_003 * stream + seed) for seed in seeds]


def draw(shape: tuple[int, ...], sd: float, sources: list[torch.Generator]) -> Tensor:
    """Draw normal numbers of standard deviation ``sd``, each replica from its own generator.

    Returns
    -------
    (S, *shape), S the number of generators. A replica's numbers do not depend on its neighbours.
    """
    return torch.stack([torch.randn(shape, generator=g, device=g.device) * sd for g in sources])


def shuffled_batches(count: int, size: int, sources: list[torch.Generator]) -> Iterator[Tensor]:
    """Yield the indices of one epoch's batches, shuffled separately for each replica.

    Parameters
    ----------
    count : number of examples
    size : examples per batch; the last batch may be smaller
    sources : one generator per replica; each call goes on drawing from them

    Yields
    ------
    (S, B) integer indices
    """
    if size < 1 or count < 1:
        raise UsageError(f"{count} examples in batches of {size}: both must be at least 1.")
    order = torch.stack([torch.randperm(count, generator=g) for g in sources])
    yield from order.split(size, dim=1)


def linear_decay(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Lower the learning rate linearly from its full value to 0 over ``steps`` steps."""
    if steps < 1:
        raise UsageError(f"steps is {steps}: give at least 1.")
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))


def fit(
    step: Callable[[Any], None],
    batches: Callable[[], Iterable[Any]],
    *,
    epochs: int,
    evaluate: Callable[[], Tensor | float] | None = None,
    patience: int | None = None,
    state: Mapping[str, Stateful] | None = None,
    sources: list[torch.Generator] | None = None,
    checkpoint: Path | str | None = None,
    label: str = "training",
) -> History:
    """Run ``epochs`` passes of ``step`` over ``batches()``.

    Parameters
    ----------
    step : changes the model by one batch
    batches : returns one epoch's batches
    epochs : passes over the data, at least 1
    evaluate : called after each epoch; returns the validation score, higher is better, as one
        number or one per replica
    patience : stop when the mean score has not risen for this many epochs, and put the best state
        back; needs ``evaluate`` and ``state``
    state : what a checkpoint holds and an early stop restores
    sources : generators whose state a checkpoint holds too, so that a resumed run draws what an
        uninterrupted one would have drawn; with dropout, ``torch.default_generator`` belongs here
    checkpoint : file to write after each epoch, and to resume from if it exists; written whole or
        not at all
    label : name shown beside the progress bar (``TQDM_DISABLE=1`` hides it)

    Raises
    ------
    UsageError : for arguments that contradict each other, or a checkpoint past ``epochs``
    BookError : if the checkpoint is damaged or belongs to another model; ``state`` and ``sources``
        are then as they were
    MissingError : if the checkpoint cannot be read or written
    """
    from tqdm import tqdm

    if epochs < 1:
        raise UsageError(f"epochs is {epochs}: give at least 1.")
    if patience is not None and (evaluate is None or not state or patience < 1):
        raise UsageError("An early stop needs evaluate, state, and a patience of at least 1.")
    if checkpoint is not None and not state:
        raise UsageError("A checkpoint needs state: say what to save.")
    state, sources = state or {}, sources or []
    history, best, start = History(), None, 0
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and path.is_file():
        history, best, start = _load(path, state, sources, epochs)
    with tqdm(total=epochs, initial=start, desc=label, unit="epoch", leave=False) as bar:
        for epoch in range(start, epochs):
            if history.stopped_early:
                break
            for batch in batches():
                step(batch)
            if evaluate is not None:
                history.scores.append(_score(evaluate()))
                if _is_best(history):
                    history.best_epoch = epoch
                    best = _snapshot(state) if patience is not None else None
                if patience is not None and epoch - history.best_epoch >= patience:
                    history.stopped_early = True
            if path is not None:
                _save(path, epoch + 1, history, best, state, sources)
            bar.update()
    if best is not None:
        _restore(best, state)
    return history


def _score(value: Tensor | float) -> Tensor:
    dtype = None if isinstance(value, Tensor) else torch.float64
    return torch.as_tensor(value, dtype=dtype).detach().cpu().clone()


def _is_best(history: History) -> bool:
    def mean(score: Tensor) -> float:
        value = float(score.double().mean())
        return -math.inf if math.isnan(value) else value  # any number beats a diverged epoch

    best = history.best_epoch
    return best < 0 or mean(history.scores[-1]) > mean(history.scores[best])


def _snapshot(state: Mapping[str, Stateful]) -> dict[str, Any]:
    from copy import deepcopy

    return {name: deepcopy(holder.state_dict()) for name, holder in state.items()}


def _restore(saved: Mapping[str, Any], state: Mapping[str, Stateful]) -> None:
    if saved.keys() != state.keys():
        raise KeyError(f"{sorted(saved)} is not {sorted(state)}")
    for name, holder in state.items():
        holder.load_state_dict(saved[name])


def _save(
    path: Path,
    epoch: int,
    history: History,
    best: dict[str, Any] | None,
    state: Mapping[str, Stateful],
    sources: list[torch.Generator],
) -> None:
    content = {
        "epoch": epoch,
        "scores": history.scores,
        "best_epoch": history.best_epoch,
        "stopped_early": history.stopped_early,
        "best": best,
        "state": {name: holder.state_dict() for name, holder in state.items()},
        "sources": [g.get_state() for g in sources],
    }
    # PyTorch turns a full disk into an error of its own, and reads a file with changed bytes
    # without a word: so it writes to memory, and a checksum follows its bytes.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
        Path(temporary).replace(path)
    except OSError as error:
        raise MissingError(
            f"The checkpoint {path.name} could not be written ({error.strerror or error}): "
            "free some space or give another folder. The last whole checkpoint is still there."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _load(
    path: Path, state: Mapping[str, Stateful], sources: list[torch.Generator], epochs: int
) -> tuple[History, dict[str, Any] | None, int]:
    content = _read(path)
    if content["epoch"] > epochs:
        raise UsageError(
            f"The checkpoint {path.name} is {content['epoch']} epochs on, past epochs={epochs}: "
            "give another file, or delete it to start from the beginning."
        )
    before, drawn = _snapshot(state), [g.get_state() for g in sources]
    try:
        _restore(content["state"], state)
        for source, saved in zip(sources, content["sources"], strict=True):
            source.set_state(saved)
    except Exception as error:
        _restore(before, state)
        for source, saved in zip(sources, drawn, strict=True):
            source.set_state(saved)
        raise _unusable(path, "belongs to another model", error) from error
    history = History(content["scores"], content["best_epoch"], content["stopped_early"])
    return history, content["best"], content["epoch"]


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        if hashlib.sha256(raw[:-32]).digest() != raw[-32:]:
            raise ValueError("wrong checksum")
        return torch.load(io.BytesIO(raw[:-32]), map_location="cpu", weights_only=True)
    except OSError as error:
        raise MissingError(
            f"The checkpoint {path.name} cannot be read ({error.strerror or error}): "
            "allow reading it, or give another file."
        ) from error
    except Exception as error:
        raise _unusable(path, "is damaged", error) from error


def _unusable(path: Path, what: str, error: Exception) -> BookError:
    return BookError(
        f"The checkpoint {path.name} {what} ({type(error).__name__}). "
        "Delete it to start from the beginning, or give another file."
    )

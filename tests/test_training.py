"""The training loop: what it draws, when it stops, and that a resumed run is the same run."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.project import BookError, MissingError, UsageError
from helpers.training import History, draw, fit, generators, linear_decay, shuffled_batches

few = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seed_lists = st.lists(st.integers(0, 1000), min_size=1, max_size=4, unique=True)


# Draws


@few
@given(seed_lists, st.data())
def test_a_replica_draws_the_same_alone_as_among_others(seeds: list[int], data: Any) -> None:
    place = data.draw(st.integers(0, len(seeds) - 1))
    together = generators(seeds, stream=2)
    alone = generators([seeds[place]], stream=2)
    for _ in range(2):  # the second draw goes on from the first
        many, one = draw((3, 2), 0.5, together), draw((3, 2), 0.5, alone)
        assert many.shape == (len(seeds), 3, 2)
        assert torch.equal(many[place], one[0])
        batches = shuffled_batches(7, 3, together), shuffled_batches(7, 3, alone)
        for chosen, own in zip(*batches, strict=True):
            assert torch.equal(chosen[place], own[0])


def test_seeds_and_streams_draw_different_numbers() -> None:
    drawn = [draw((50,), 1.0, generators([seed], stream)) for seed in (0, 1) for stream in (0, 1)]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert not torch.isin(first, second).any()


def test_draws_are_normal_with_the_standard_deviation_asked_for() -> None:
    values = draw((100, 100), 3.0, generators([0]))
    assert abs(float(values.mean())) < 4 * 3 / 100
    assert float(values.std()) == pytest.approx(3.0, rel=0.03)
    assert float((values.abs() < 3).double().mean()) == pytest.approx(0.6827, abs=0.02)


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    draw((3,), 1.0, generators([0, 1]))
    list(shuffled_batches(5, 2, generators([0, 1])))
    assert torch.equal(torch.get_rng_state(), before)


@few
@given(st.integers(1, 20), st.integers(1, 25), seed_lists)
def test_batches_cover_each_example_once_in_an_order_per_replica(
    count: int, size: int, seeds: list[int]
) -> None:
    batches = list(shuffled_batches(count, size, generators(seeds)))
    assert len(batches) == math.ceil(count / size)
    assert all(b.shape == (len(seeds), size) for b in batches[:-1])
    assert batches[-1].shape == (len(seeds), count - size * (len(batches) - 1))
    order = torch.cat(batches, dim=1)
    assert torch.equal(order.sort(dim=1).values, torch.arange(count).expand(len(seeds), count))


def test_orders_differ_between_replicas_and_epochs() -> None:
    sources = generators([0, 1])
    first, second = (torch.cat(list(shuffled_batches(50, 10, sources)), dim=1) for _ in range(2))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], torch.arange(50))


@pytest.mark.parametrize(("count", "size"), [(0, 1), (5, 0), (5, -1), (-2, 1)])
def test_empty_batches_are_refused(count: int, size: int) -> None:
    with pytest.raises(UsageError, match="both must be at least 1"):
        next(shuffled_batches(count, size, generators([0])))


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_linear_decay_falls_evenly_to_zero_and_stays_there(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = linear_decay(optimizer, steps)
    rates = []
    for _ in range(steps + 3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [0.3 * (1 - k / steps) for k in range(steps)] + [0.0] * 3
    assert rates == pytest.approx(expected, abs=1e-12)
    assert rates[-3:] == [0.0] * 3


@pytest.mark.parametrize("steps", [0, -3])
def test_a_decay_over_no_steps_is_refused(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    with pytest.raises(UsageError, match="at least 1"):
        linear_decay(optimizer, steps)


# The loop


class Counter:
    """The smallest thing with a state: how many batches it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


def _count(scores: list[Any], **options: Any) -> tuple[History, Counter]:
    """Train a counter, one batch an epoch, whose score in an epoch is the one given."""
    counter = Counter()

    def step(batch: int) -> None:
        counter.seen += batch

    history = fit(
        step,
        lambda: [1],
        epochs=len(scores),
        evaluate=lambda: scores[counter.seen - 1],
        state={"counter": counter},
        **options,
    )
    return history, counter


def test_each_epoch_takes_every_batch_and_then_evaluates() -> None:
    events: list[Any] = []
    epochs = iter(["ab", "cd"])

    def evaluate() -> Tensor:
        events.append("score")
        return torch.tensor(0.5)

    history = fit(events.append, lambda: next(epochs), epochs=2, evaluate=evaluate)
    assert events == ["a", "b", "score", "c", "d", "score"]
    assert (history.best_epoch, history.stopped_early) == (0, False)
    assert history.scores == [torch.tensor(0.5)] * 2


def test_without_a_score_there_is_no_best_epoch() -> None:
    assert fit(lambda batch: None, lambda: [1], epochs=3) == History([], -1, False)


def test_scores_are_kept_even_if_the_tensor_is_used_again() -> None:
    score = torch.zeros(2, requires_grad=True)

    def step(batch: int) -> None:
        with torch.no_grad():
            score.add_(1)

    history = fit(step, lambda: [1], epochs=3, evaluate=lambda: score)
    assert [s.tolist() for s in history.scores] == [[1, 1], [2, 2], [3, 3]]
    assert not history.scores[0].requires_grad


def test_a_score_may_be_a_number_and_keeps_its_digits() -> None:
    scores = [0.1, 0.1 + 1e-12, 0.1]
    history, _ = _count(scores)
    assert [float(s) for s in history.scores] == scores
    assert history.best_epoch == 1


def test_the_best_epoch_is_that_of_the_mean_over_replicas() -> None:
    scores = [torch.tensor(s) for s in ([1.0, 1.0], [9.0, -4.0], [0.0, 6.0], [5.0, 0.9])]
    history, _ = _count(scores)
    assert history.best_epoch == 2


def test_without_patience_the_last_state_stays() -> None:
    history, counter = _count([3, 2, 1])
    assert (history.best_epoch, counter.seen) == (0, 3)


@few
@given(st.lists(st.integers(0, 4), min_size=1, max_size=10), st.integers(1, 4))
def test_patience_counts_epochs_without_a_rise_and_the_best_state_comes_back(
    scores: list[int], patience: int
) -> None:
    history, counter = _count(scores, patience=patience)

    def no_rise(epoch: int) -> bool:
        waited = epoch - patience + 1
        return waited > 0 and max(scores[waited : epoch + 1]) <= max(scores[:waited])

    stops = [epoch for epoch in range(len(scores)) if no_rise(epoch)]
    ran = stops[0] + 1 if stops else len(scores)
    best = scores.index(max(scores[:ran]))
    assert len(history.scores) == ran
    assert history.best_epoch == best
    assert history.stopped_early == bool(stops)
    assert counter.seen == best + 1


def test_any_number_beats_a_diverged_epoch() -> None:
    nan = math.nan
    assert _count([nan, nan, -5.0, nan])[0].best_epoch == 2
    assert _count([1.0, nan, 0.5])[0].best_epoch == 0
    history, counter = _count([nan, 1.0, nan, nan, 2.0], patience=2)
    assert (history.best_epoch, history.stopped_early, counter.seen) == (1, True, 2)


def test_an_early_stop_restores_every_part_of_the_state() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = linear_decay(optimizer, 10)
    after: list[dict[str, Any]] = []
    scores = iter([1.0, 3.0, 2.0, 2.0])

    def step(batch: int) -> None:
        optimizer.zero_grad()
        model(torch.ones(2)).square().sum().backward()
        optimizer.step()
        schedule.step()

    def evaluate() -> float:
        after.append(_bits(state))
        return next(scores)

    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    history = fit(step, lambda: [1], epochs=9, evaluate=evaluate, patience=2, state=state)
    assert (history.best_epoch, len(after)) == (1, 4)
    assert _bits(state) == after[1] != after[3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"patience": 2}, "evaluate, state"),
        ({"patience": 2, "evaluate": lambda: 0.0}, "evaluate, state"),
        ({"patience": 2, "state": {"counter": Counter()}}, "evaluate, state"),
        ({"patience": 0, "state": {"c": Counter()}, "evaluate": lambda: 0.0}, "patience of at"),
        ({"checkpoint": "c.pt"}, "say what to save"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused_before_any_step(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fit(lambda batch: pytest.fail("a step was taken"), lambda: [1], **{"epochs": 1, **options})


def test_the_progress_bar_can_be_hidden() -> None:
    program = (
        "import os, sys\n"
        "from helpers.training import fit\n"
        "fit(print, lambda: [], epochs=2, label='hidden')\n"
        "del os.environ['TQDM_DISABLE']\n"
        "for name in [n for n in sys.modules if n.startswith('tqdm')]:\n"
        "    del sys.modules[name]\n"  # it reads its settings when it is imported
        "fit(print, lambda: [], epochs=2, label='shown')\n"
    )
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "hidden" not in done.stderr
    assert "shown" in done.stderr


# Checkpoints


class Trainer:
    """Two replicas of a line, fitted by momentum with a decaying rate and shuffled batches."""

    EPOCHS, BATCHES = 6, 3

    def __init__(self, seeds: tuple[int, ...] = (3, 8)) -> None:
        data = torch.Generator().manual_seed(0)
        self.x = torch.randn(8, 4, generator=data)
        self.y = self.x @ torch.randn(4, generator=data) + torch.randn(8, generator=data)
        self.model = torch.nn.ParameterDict({"w": draw((4,), 0.5, generators(seeds))})
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.9, momentum=0.9)
        self.schedule = linear_decay(self.optimizer, self.EPOCHS * self.BATCHES)
        self.sources = generators(seeds, stream=1)
        self.steps = 0
        self.interrupt_at: int | None = None

    @property
    def state(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def errors(self, chosen: Tensor) -> Tensor:
        return (self.x[chosen] * self.model["w"][:, None]).sum(-1) - self.y[chosen]

    def step(self, chosen: Tensor) -> None:
        if self.steps == self.interrupt_at:
            raise KeyboardInterrupt
        self.steps += 1
        self.optimizer.zero_grad()
        self.errors(chosen).square().mean(1).sum().backward()
        self.optimizer.step()
        self.schedule.step()

    def evaluate(self) -> Tensor:
        with torch.no_grad():
            return -self.errors(torch.arange(8).expand(2, 8)).square().mean(1)

    def fit(self, epochs: int = EPOCHS, **options: Any) -> History:
        return fit(
            self.step,
            lambda: shuffled_batches(8, 3, self.sources),
            epochs=epochs,
            evaluate=self.evaluate,
            state=self.state,
            sources=self.sources,
            **options,
        )


def _plain(value: Any) -> Any:
    """Tensors as lists, so that two states can be compared bit for bit."""
    if isinstance(value, Tensor):
        return (str(value.dtype), value.tolist())
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _bits(state: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(holder.state_dict()) for name, holder in state.items()}


def _everything(trainer: Trainer, history: History) -> dict[str, Any]:
    return {
        "state": _bits(trainer.state),
        "sources": [g.get_state().tolist() for g in trainer.sources],
        "history": _plain([history.scores, history.best_epoch, history.stopped_early]),
    }


def _uninterrupted(patience: int | None) -> dict[str, Any]:
    trainer = Trainer()
    return _everything(trainer, trainer.fit(patience=patience))


def test_the_comparison_sees_the_smallest_change() -> None:
    trainer = Trainer()
    history = trainer.fit()
    before = _everything(trainer, history)
    assert before["state"]["optimizer"]["state"]["0"]["momentum_buffer"]
    with torch.no_grad():
        weight = trainer.model["w"].view(-1)[0]
        weight.copy_(torch.nextafter(weight, torch.tensor(9.0)))
    assert _everything(trainer, history) != before


def test_saving_changes_nothing(tmp_path: Path) -> None:
    trainer = Trainer()
    history = trainer.fit(checkpoint=tmp_path / "run.pt")
    assert _everything(trainer, history) == _uninterrupted(None)
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def _fresh(path: Path) -> Trainer:
    """A trainer as a new process builds it; where a checkpoint exists, it must not matter how."""
    return Trainer((11, 12)) if path.exists() else Trainer()


@few
@given(
    stops=st.lists(st.integers(0, 10), min_size=1, max_size=3),
    patience=st.sampled_from([None, 1, 2, 9]),
)
def test_a_run_interrupted_anywhere_and_resumed_is_the_uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], patience: int | None
) -> None:
    path = tmp_path_factory.mktemp("a folder") / "new" / "run.pt"
    for stop in stops:
        trainer = _fresh(path)
        trainer.interrupt_at = stop
        with suppress(KeyboardInterrupt):
            trainer.fit(patience=patience, checkpoint=path)
    trainer = _fresh(path)
    history = trainer.fit(patience=patience, checkpoint=path)
    assert _everything(trainer, history) == _uninterrupted(patience)
    if path.exists():
        assert [p.name for p in path.parent.iterdir()] == ["run.pt"]


def test_the_runs_compared_above_stop_early_and_late() -> None:
    stopped = [_uninterrupted(patience)["history"] for patience in (1, 9)]
    assert [history[2] for history in stopped] == [True, False]
    assert stopped[0][1] < len(stopped[0][0]) - 1  # so the best state is not the last


def test_the_same_objects_may_go_on_after_an_interruption(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.interrupt_at = 7  # in the middle of the third epoch
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(checkpoint=tmp_path / "run.pt")
    trainer.interrupt_at = None
    history = trainer.fit(checkpoint=tmp_path / "run.pt")
    assert trainer.steps == 7 + Trainer.EPOCHS * Trainer.BATCHES - 6
    assert _everything(trainer, history) == _uninterrupted(None)


def test_a_run_can_be_made_longer(tmp_path: Path) -> None:
    Trainer().fit(epochs=2, checkpoint=tmp_path / "run.pt")
    trainer = Trainer((11, 12))
    history = trainer.fit(checkpoint=tmp_path / "run.pt")
    assert trainer.steps == (Trainer.EPOCHS - 2) * Trainer.BATCHES
    assert _everything(trainer, history) == _uninterrupted(None)


@pytest.mark.parametrize("patience", [None, 1])
def test_a_finished_run_is_only_read(tmp_path: Path, patience: int | None) -> None:
    Trainer().fit(patience=patience, checkpoint=tmp_path / "run.pt")
    content = (tmp_path / "run.pt").read_bytes()
    trainer = Trainer((11, 12))
    history = trainer.fit(patience=patience, checkpoint=str(tmp_path / "run.pt"))
    assert trainer.steps == 0
    assert _everything(trainer, history) == _uninterrupted(patience)
    assert (tmp_path / "run.pt").read_bytes() == content


@pytest.mark.parametrize("patience", [None, 2])
def test_the_best_epoch_is_kept_in_the_checkpoint(tmp_path: Path, patience: int | None) -> None:
    scores = [1, 3, 2, 2]
    for _ in range(2):  # the second time, the finished run is read
        history, counter = _count(scores, patience=patience, checkpoint=tmp_path / "run.pt")
        assert (history.best_epoch, counter.seen) == (1, 2 if patience else 4)
        assert history.stopped_early == bool(patience)


def test_a_checkpoint_past_the_last_epoch_is_refused(tmp_path: Path) -> None:
    Trainer().fit(epochs=3, checkpoint=tmp_path / "run.pt")
    trainer = Trainer((11, 12))
    before = _bits(trainer.state)
    with pytest.raises(UsageError, match=r"run\.pt is 3 epochs on, past epochs=2: give another"):
        trainer.fit(epochs=2, checkpoint=tmp_path / "run.pt")
    assert _bits(trainer.state) == before


def test_dropout_resumes_with_the_global_generator_among_the_sources(tmp_path: Path) -> None:
    def run(epochs: int, **options: Any) -> list[list[float]]:
        drawn: list[list[float]] = []

        def step(batch: Tensor) -> None:
            drawn.append(torch.nn.functional.dropout(batch, 0.5).tolist())

        options |= {"state": {"counter": Counter()}, "sources": [torch.default_generator]}
        fit(step, lambda: [torch.ones(20)], epochs=epochs, **options)
        return drawn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = run(4)
        torch.manual_seed(0)
        first = run(2, checkpoint=tmp_path / "run.pt")
        torch.manual_seed(99)
        assert first + run(4, checkpoint=tmp_path / "run.pt") == whole


# Checkpoints that cannot be used or written


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.pt"
    Trainer().fit(epochs=2, checkpoint=path)
    return path


def _refused(path: Path, message: str, kind: type[BookError] = BookError) -> None:
    """Resuming fails with this message, and leaves trainer and file as they were."""
    content = path.read_bytes()
    trainer = Trainer((11, 12))
    before = _everything(trainer, History())
    with pytest.raises(kind, match=rf"run\.pt {message}") as caught:
        trainer.fit(checkpoint=path)
    assert "Delete it to start from the beginning, or give another file." in str(caught.value)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind
    assert _everything(trainer, History()) == before
    assert trainer.steps == 0
    assert path.read_bytes() == content


@few
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans())
def test_a_damaged_checkpoint_is_refused_wherever_it_is_damaged(
    saved: Path, place: float, bit: int, cut: bool
) -> None:
    whole = saved.read_bytes()
    changed = bytearray(whole)
    at = int(place * len(changed))
    changed[at] ^= 1 << bit
    saved.write_bytes(whole[:at] if cut else changed)
    try:
        _refused(saved, r"is damaged \(ValueError\)")
    finally:
        saved.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"epochs: 3\n" * 20])
def test_a_file_that_is_no_checkpoint_is_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    _refused(saved, "is damaged")


class Trap:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pytest.fail, ("the checkpoint ran code",)


def test_a_checkpoint_runs_no_code(saved: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"epoch": 1, "state": Trap()}, buffer)
    saved.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    _refused(saved, r"is damaged \(UnpicklingError\)")


def test_a_checkpoint_can_be_opened_by_pytorch_itself(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert content["epoch"] == 2
    assert content["state"]["model"]["w"].shape == (2, 4)


@pytest.mark.parametrize("other", ["shape", "more parts", "fewer parts", "names", "replicas"])
def test_the_checkpoint_of_another_model_is_refused(saved: Path, other: str) -> None:
    trainer = Trainer()
    state, sources = dict(trainer.state), trainer.sources
    if other == "shape":
        state["schedule"] = torch.nn.Linear(2, 2)
    elif other == "more parts":
        state["counter"] = Counter()
    elif other == "fewer parts":
        del state["schedule"]
    elif other == "names":
        state["network"] = state.pop("model")
    else:
        sources = generators([5], stream=1)
    before = _bits(state), [g.get_state().tolist() for g in sources]
    with pytest.raises(BookError, match=r"run\.pt belongs to another model.*Delete it to start"):
        fit(trainer.step, lambda: [], epochs=6, state=state, sources=sources, checkpoint=saved)
    assert (_bits(state), [g.get_state().tolist() for g in sources]) == before


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(MissingError, match=r"run\.pt cannot be read \(Permission denied\)") as e:
        Trainer().fit(checkpoint=saved)
    assert "elete" not in str(e.value)


@contextmanager
def _files_no_larger_than(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_system_cuts_short_leaves_the_last_whole_checkpoint(saved: Path) -> None:
    content = saved.read_bytes()
    with (
        _files_no_larger_than(len(content) // 2),
        pytest.raises(MissingError, match=r"run\.pt could not be written .*free some space"),
    ):
        Trainer().fit(checkpoint=saved)
    assert saved.read_bytes() == content
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_a_failed_save_leaves_the_last_whole_checkpoint_and_no_part(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, moment: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    class HalfFull(io.FileIO):
        def write(self, content: Any) -> int:
            super().write(content[: len(content) // 2])
            raise error

    content = saved.read_bytes()
    if moment == "writing":
        monkeypatch.setattr(os, "fdopen", HalfFull)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    if isinstance(error, OSError):
        message = r"run\.pt could not be written \(No space left\): free .* is still there"
        with pytest.raises(MissingError, match=message):
            Trainer().fit(checkpoint=saved)
    else:
        with pytest.raises(KeyboardInterrupt):
            Trainer().fit(checkpoint=saved)
    monkeypatch.undo()
    assert saved.read_bytes() == content
    assert list(saved.parent.iterdir()) == [saved]
    trainer = Trainer((11, 12))
    assert _everything(trainer, trainer.fit(checkpoint=saved)) == _uninterrupted(None)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MissingError, match="give another folder"):
        Trainer().fit(checkpoint=tmp_path / "file" / "run.pt")

"""Seeds repeat, the device is the one asked for, and a machine's description names nobody."""

from __future__ import annotations

import getpass
import json
import os
import platform
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import runtime
from helpers.project import MissingError, UsageError

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn", "papermill", "dask")
SMALL = ("project", "runtime", "trials", "tables", "claims", "figures", "exercises")


@pytest.fixture(autouse=True)
def torch_settings() -> Iterator[None]:
    """Leave PyTorch's global settings as they were."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark = before[1]
    torch.set_num_threads(threads)


def _draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(7)])
def test_one_seed_repeats_the_draws_of_all_three_libraries(seed: int) -> None:
    assert runtime.seed_everything(seed) is None
    first = _draws()
    assert all(a != b for a, b in zip(first, _draws(), strict=True))
    runtime.seed_everything(seed)
    assert _draws() == first


def test_numpy_and_python_integers_seed_alike_and_seeds_differ() -> None:
    drawn = []
    for seed in (3, np.int64(3), 4):
        runtime.seed_everything(seed)
        drawn.append(_draws())
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[1], drawn[2], strict=True))


def test_seeding_asks_for_deterministic_kernels() -> None:
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    runtime.seed_everything(0)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "3", None])
def test_a_bad_seed_is_refused_before_anything_is_seeded(seed: Any) -> None:
    runtime.seed_everything(5)
    expected = _draws()
    runtime.seed_everything(5)
    with pytest.raises(UsageError, match=r"give an integer from 0 to 2\*\*32 - 1"):
        runtime.seed_everything(seed)
    assert _draws() == expected


def _machine_with(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    _machine_with(monkeypatch, cuda, mps)
    assert runtime.select_device().type == expected
    assert runtime.select_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_a_device_asked_for_by_name_is_that_device(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _machine_with(monkeypatch, cuda=True, mps=True)
    assert runtime.select_device(name) == torch.device(name)


@pytest.mark.parametrize(("name", "other"), [("cuda", "mps"), ("mps", "cuda")])
def test_a_device_this_machine_lacks_is_an_error_that_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    _machine_with(monkeypatch, **{name: False, other: True})
    with pytest.raises(MissingError, match=f"'{name}'.*device='cpu' or 'auto'.*book doctor"):
        runtime.select_device(name)


@pytest.mark.parametrize(
    ("name", "hint"), [("cdua", "mean 'cuda'"), ("cpus", "mean 'cpu'"), ("tpu:0", "Choose one of")]
)
def test_an_unknown_device_suggests_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=rf"{hint}.*") as caught:
        runtime.select_device(name)
    assert "auto, cpu, cuda, mps" in str(caught.value)


@pytest.mark.parametrize("count", [1, 2])
def test_threads_are_set(count: int) -> None:
    runtime.set_threads(3)
    runtime.set_threads(count)
    assert torch.get_num_threads() == count


@pytest.mark.parametrize("count", [0, -2])
def test_fewer_than_one_thread_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        runtime.set_threads(count)


def test_synchronise_waits_for_the_device_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for name in ("cpu", "cuda:1", "mps"):
        runtime.synchronise(torch.device(name))
    assert waited == ["cuda:1", "mps"]


def test_a_machine_is_described_by_five_plain_facts() -> None:
    machine = runtime.describe_machine()
    assert list(machine) == ["system", "processor", "cores", "memory_gib", "gpu"]
    assert machine["system"] == platform.system()
    assert machine["cores"] == runtime.usable_cores() >= 1
    assert 0.1 < float(machine["memory_gib"]) < 100_000
    assert json.loads(json.dumps(machine)) == machine


def test_the_description_has_no_host_name_user_name_or_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOSTNAME", "secret-host")
    monkeypatch.setenv("USER", "secret-user")
    text = json.dumps(runtime.describe_machine())
    secrets = [socket.gethostname(), platform.node(), getpass.getuser(), str(Path.home())]
    for secret in [*secrets, "secret", os.sep, "\\\\"]:
        assert secret not in text, secret


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, False, "GPU number 0"), (False, True, "Apple MPS"), (False, False, "none")],
)
def test_the_description_names_the_gpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    _machine_with(monkeypatch, cuda, mps)
    assert runtime.describe_machine()["gpu"] == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_only_cores_this_process_may_use_are_counted() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert runtime.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert runtime.usable_cores() == len(before)


def test_cores_are_counted_where_processes_cannot_be_pinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert runtime.usable_cores() == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert runtime.usable_cores() == 12


def test_the_reproducible_environment_can_be_given_to_a_process() -> None:
    for name, value in runtime.REPRODUCIBLE_ENVIRONMENT.items():
        assert isinstance(name, str)
        assert isinstance(value, str)
    assert runtime.REPRODUCIBLE_ENVIRONMENT["PYTHONHASHSEED"] == "0"
    assert runtime.REPRODUCIBLE_ENVIRONMENT["TQDM_DISABLE"] == "1"


def _loaded(modules: list[str]) -> dict[str, list[str]]:
    """Import modules one after another in a fresh process; say what each has brought in."""
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found[name] = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_helpers_and_its_small_modules_brings_in_nothing_heavy() -> None:
    found = _loaded(["helpers", "helpers.project", "helpers.runtime", "helpers.exercises"])
    assert not any(found.values()), found
    found = _loaded([f"helpers.{name}" for name in SMALL])
    assert all(set(heavy) <= {"numpy"} for heavy in found.values()), found


def test_importing_training_brings_in_pytorch_only() -> None:
    (heavy,) = _loaded(["helpers.training"]).values()
    assert set(heavy) <= {"torch", "numpy"}

"""Running the chapters: parameters checked, kernels started, outputs cleaned and stamped.

This package knows notebooks as files only. Only the command line and the tests import it.
Each name below is imported when it is first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.execution.cleaning import clean
    from helpers.execution.definitions import load_definitions
    from helpers.execution.machine import Check, doctor
    from helpers.execution.outcomes import Outcome, RunFailed
    from helpers.execution.parameters import (
        Parameter,
        check_parameters,
        effective_parameters,
        parse_assignments,
        profiles,
        read_parameters,
    )
    from helpers.execution.records import read_claims, record, status
    from helpers.execution.running import refresh, run
    from helpers.execution.stamps import executed_path, stamp, why_stale
    from helpers.execution.sweeps import (
        Sweep,
        SweepFailed,
        parse_grid,
        parse_seeds,
        sweep,
    )

_HOME = {
    "clean": "cleaning",
    "load_definitions": "definitions",
    "Check": "machine",
    "doctor": "machine",
    "Parameter": "parameters",
    "check_parameters": "parameters",
    "effective_parameters": "parameters",
    "parse_assignments": "parameters",
    "profiles": "parameters",
    "read_parameters": "parameters",
    "read_claims": "records",
    "record": "records",
    "status": "records",
    "Outcome": "outcomes",
    "RunFailed": "outcomes",
    "refresh": "running",
    "run": "running",
    "executed_path": "stamps",
    "stamp": "stamps",
    "why_stale": "stamps",
    "Sweep": "sweeps",
    "SweepFailed": "sweeps",
    "parse_grid": "sweeps",
    "parse_seeds": "sweeps",
    "sweep": "sweeps",
}

__all__ = [
    "Check",
    "Outcome",
    "Parameter",
    "RunFailed",
    "Sweep",
    "SweepFailed",
    "check_parameters",
    "clean",
    "doctor",
    "effective_parameters",
    "executed_path",
    "load_definitions",
    "parse_assignments",
    "parse_grid",
    "parse_seeds",
    "profiles",
    "read_claims",
    "read_parameters",
    "record",
    "refresh",
    "run",
    "stamp",
    "status",
    "sweep",
    "why_stale",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

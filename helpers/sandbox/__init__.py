"""A sandbox for programs of many languages: run, judge, identify and analyse untrusted code.

The chapter `code_sandbox` explains what it is for and what each wall holds back.
"""

from .checkers import custom, exact, floats, tokens
from .engine import Sandbox
from .identification import Identification, identify
from .languages import LANGUAGES
from .records import (
    Execution,
    Feedback,
    Limits,
    NotAvailable,
    SandboxError,
    Test,
    TestOutcome,
    Verdict,
    reward,
)

__all__ = [
    "LANGUAGES",
    "Execution",
    "Feedback",
    "Identification",
    "Limits",
    "NotAvailable",
    "Sandbox",
    "SandboxError",
    "Test",
    "TestOutcome",
    "Verdict",
    "custom",
    "exact",
    "floats",
    "identify",
    "reward",
    "tokens",
]

"""Reading programs, with and without running them: six families of analysis.

Text is read here; programs and the tools that read them run in a box of `helpers.sandbox.Sandbox`.
For Python all families are there. For the other languages there are the syntax tree, measures,
smells and weak places; what is missing says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from helpers.project import BookError, UsageError

from ..records import Test, to_bytes
from . import dynamic, findings, flow, metrics, syntax
from .dynamic import Coverage, Fuzzed, coverage_per_test, fuzz, profile
from .findings import Finding, bandit, pylint, security, smells
from .flow import call_graph, control_flow, data_flow
from .metrics import Halstead, halstead, maintainability
from .syntax import outline, python_ast

if TYPE_CHECKING:
    from ..engine import Sandbox

FAMILIES = ("basic", "smells", "security", "coverage", "efficiency", "fuzzing")


@dataclass(frozen=True)
class Analysis:
    """What is known about one program. Each field is plain data, or a sentence that says why not.

    Attributes
    ----------
    basic : syntax tree, measures, control flow, data flow, calls
    smells, security : findings
    coverage : one entry per test, and their union
    efficiency : where the time goes
    fuzzing : inputs that make it fail
    """

    language: str
    basic: Any = None
    smells: Any = None
    security: Any = None
    coverage: Any = None
    efficiency: Any = None
    fuzzing: Any = None
    families: tuple[str, ...] = field(default=FAMILIES)


def analyse(
    code: str,
    language: str,
    box: Sandbox | None = None,
    tests: Sequence[Test] = (),
    families: Sequence[str] = FAMILIES,
) -> Analysis:
    """Analyse a program by some or all families.

    Parameters
    ----------
    language : a code of `helpers.sandbox.LANGUAGES`
    box : where tools and the program run; without it only the text is read
    tests : inputs for coverage, the profile (the first) and fuzzing

    Raises
    ------
    UsageError : for an unknown family or language, or a program that is too long
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        raise UsageError(f"Unknown family {unknown[0]!r}. There are: {', '.join(FAMILIES)}.")
    syntax.checked(code)
    found = {name: _family(name, code, language, box, tests) for name in families}
    return Analysis(language, families=tuple(families), **found)


def _family(name: str, code: str, language: str, box: Sandbox | None, tests: Sequence[Test]) -> Any:
    if name not in ("basic", "security") and box is None:
        return "not available: it runs programs, so it needs a sandbox"
    if name in ("coverage", "efficiency", "fuzzing") and language != "python":
        return "not available: only for Python"
    try:
        return _MAKERS[name](code, language, box, tests)
    except BookError as error:
        return f"not available: {error}"


def _basic(code: str, language: str, box: Any, tests: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ast": python_ast(code) if language == "python" else outline(code, language),
        "measures": metrics.summary(code, language),
        "syntax errors in lines": syntax.errors(code, language),
    }
    if language == "python":
        graphs = control_flow(code)
        found["cfg"] = [graph.data() for graph in graphs]
        found["data flow"] = {graph.name: asdict(data_flow(code, graph.name)) for graph in graphs}
        found["calls"] = call_graph(code)
    return found


def _smells(code: str, language: str, box: Any, tests: Any) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in smells(box, code, language)]


def _security(code: str, language: str, box: Any, tests: Any) -> list[dict[str, Any]]:
    found = security(code, language)
    if language == "python" and box is not None:
        found = [*found, *bandit(box, code)]
    return [asdict(finding) for finding in found]


def _coverage(code: str, language: str, box: Any, tests: Sequence[Test]) -> dict[str, Any]:
    runs = coverage_per_test(box, code, tests or [Test()])
    executed = frozenset().union(*(run.executed for run in runs))
    every = executed.union(*(run.missing for run in runs))
    return {
        "tests": [
            {
                "Unit Input": run.stdin,
                "Total Lines": len(run.executed) + len(run.missing),
                "Miss": len(run.missing),
                "Cover Rate": run.rate,
                "executed": sorted(run.executed),
            }
            for run in runs
        ],
        "union": len(executed) / len(every) if every else 1.0,
        "never executed": sorted(every - executed),
    }


def _efficiency(code: str, language: str, box: Any, tests: Sequence[Test]) -> dict[str, Any]:
    return profile(box, code, tests[0].stdin if tests else "")


def _fuzzing(code: str, language: str, box: Any, tests: Sequence[Test]) -> dict[str, Any]:
    seeds = [to_bytes(test.stdin).decode("utf-8", "replace") for test in tests]
    found = asdict(fuzz(box, code, seeds))
    return {**found, "corpus": list(found["corpus"])}


_MAKERS = {
    "basic": _basic,
    "smells": _smells,
    "security": _security,
    "coverage": _coverage,
    "efficiency": _efficiency,
    "fuzzing": _fuzzing,
}


def official(analysis: Analysis) -> dict[str, Any]:
    """Return the findings under the names of the paper's own program."""
    names = {
        "basic": "code_basic_analysis",
        "smells": "code_smell_analysis",
        "security": "code_bug_analysis",
        "coverage": "unit_test_analysis",
        "efficiency": "code_efficiency_evaluation",
        "fuzzing": "fuzzing",
    }
    return {names[name]: getattr(analysis, name) for name in analysis.families}


__all__ = [
    "FAMILIES",
    "Analysis",
    "Coverage",
    "Finding",
    "Fuzzed",
    "Halstead",
    "analyse",
    "bandit",
    "call_graph",
    "control_flow",
    "coverage_per_test",
    "data_flow",
    "dynamic",
    "findings",
    "flow",
    "fuzz",
    "halstead",
    "maintainability",
    "metrics",
    "official",
    "outline",
    "profile",
    "pylint",
    "python_ast",
    "security",
    "smells",
    "syntax",
]

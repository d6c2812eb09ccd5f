"""Reading programs, with and without running them: six families of analysis.

Texts are read here, in a process with limits; programs, and the tools that read them, run in a box
of `helpers.sandbox.Sandbox`. For Python all families are there. For the other languages there are
the syntax tree, measures, smells, weak places and the time of each test; what is missing says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from helpers.project import BookError, UsageError, suggest

from ..languages import LANGUAGES, resolve
from ..records import Test, to_bytes
from . import bounded, dynamic, findings, flow, metrics, rules, syntax
from .dynamic import Coverage, Fuzzed, coverage_per_test, fuzz, profile
from .findings import (
    Finding,
    Report,
    bandit,
    pylint,
    security,
    security_report,
    smell_report,
    smells,
)
from .flow import call_graph, control_flow, data_flow
from .metrics import Halstead, cyclomatic, halstead, maintainability
from .syntax import outline, python_ast, syntax_tree

if TYPE_CHECKING:
    from ..engine import Sandbox

FAMILIES = ("basic", "smells", "security", "coverage", "efficiency", "fuzzing")
_INPUT = 2000  # characters of a test's input that are shown


@dataclass(frozen=True)
class Analysis:
    """What is known about one program. Each family is plain data, or a text that says why not.

    Attributes
    ----------
    basic : syntax tree, measures, control flow, data flow, calls
    smells, security : findings
    coverage : one entry per test, and their union
    efficiency : where the time goes
    fuzzing : inputs that make it fail
    families : those that were asked for; the others are None
    tools : each tool that was asked for findings -> ``done``, or ``not available: why``
    """

    language: str
    basic: Any = None
    smells: Any = None
    security: Any = None
    coverage: Any = None
    efficiency: Any = None
    fuzzing: Any = None
    families: tuple[str, ...] = FAMILIES
    tools: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), allow_nan=False)


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
    language : a code or name of `helpers.sandbox.LANGUAGES`
    box : where tools and the program run; without it only the text is read
    tests : inputs for coverage, the profile (the first) and fuzzing

    Raises
    ------
    UsageError : for an unknown family or language, or a program that is too long
    """
    if isinstance(families, str):
        families = [families]
    for name in families:
        if name not in FAMILIES:
            hint = suggest(str(name), list(FAMILIES))
            raise UsageError(
                f"Unknown family {str(name)[:40]!r}.{hint} There are: {', '.join(FAMILIES)}."
            )
    syntax.checked(code)
    chosen = resolve(language).code
    tools: dict[str, str] = {}
    found = {name: _family(name, code, chosen, box, list(tests), tools) for name in families}
    return Analysis(chosen, families=tuple(families), tools=tools, **found)


def _family(
    name: str,
    code: str,
    language: str,
    box: Sandbox | None,
    tests: list[Test],
    tools: dict[str, str],
) -> Any:
    if box is None and name in ("coverage", "efficiency", "fuzzing"):
        return "not available: it runs the program, so it needs a sandbox"
    if language != "python" and name in ("coverage", "fuzzing"):
        return f"not available: only for Python, not for {LANGUAGES[language].title}"
    try:
        return _MAKERS[name](code, language, box, tests, tools)
    except BookError as error:
        return f"not available: {str(error).rstrip('.')}"


def _tried(make: Callable[[], Any]) -> Any:
    """What a part gives, or why it does not."""
    try:
        return make()
    except BookError as error:
        return f"not available: {str(error).rstrip('.')}"


def _basic(code: str, language: str, box: Any, tests: Any, tools: Any) -> dict[str, Any]:
    python = language == "python"
    found: dict[str, Any] = {
        "ast": _tried(lambda: python_ast(code) if python else outline(code, language)),
        "measures": metrics.summary(code, language),
        "syntax errors in lines": syntax.errors(code, language),
    }
    if python:
        found["cfg"] = _tried(lambda: [graph.data() for graph in control_flow(code)])
        found["data flow"] = _tried(
            lambda: {name: asdict(entry) for name, entry in flow.data_flows(code).items()}
        )
        found["calls"] = _tried(lambda: call_graph(code))
    else:
        reason = f"not available: only for Python, not for {LANGUAGES[language].title}"
        found |= {"cfg": reason, "data flow": reason, "calls": reason}
    return found


def _smells(code: str, language: str, box: Any, tests: Any, tools: Any) -> list[dict[str, Any]]:
    return _listed(smell_report(box, code, language), tools)


def _security(code: str, language: str, box: Any, tests: Any, tools: Any) -> list[dict[str, Any]]:
    return _listed(security_report(box, code, language), tools)


def _listed(report: Report, tools: dict[str, str]) -> list[dict[str, Any]]:
    tools.update(report.tools)
    return [asdict(finding) for finding in report.findings]


def _coverage(code: str, language: str, box: Any, tests: list[Test], tools: Any) -> dict[str, Any]:
    runs = coverage_per_test(box, code, tests or [Test()])
    executed = frozenset[int]().union(*(run.executed for run in runs))
    every = executed.union(*(run.missing for run in runs))
    return {
        "tests": [
            {
                "Unit Input": run.stdin,
                "Total Lines": len(run.executed) + len(run.missing),
                "Miss": len(run.missing),
                "Cover Rate": run.rate,
                "executed": sorted(run.executed),
                "failed": run.failed,
                "measured": run.measured,
            }
            for run in runs
        ],
        "union": len(executed) / len(every) if every else 1.0,
        "never executed": sorted(every - executed),
    }


def _efficiency(
    code: str, language: str, box: Any, tests: list[Test], tools: Any
) -> dict[str, Any]:
    runs = _tried(lambda: _timed(box, code, language, tests or [Test()]))
    if language != "python":
        reason = f"not available: only for Python, not for {LANGUAGES[language].title}"
        return {"runs": runs, "functions": reason, "lines": reason}
    return {**profile(box, code, tests[0].stdin if tests else ""), "runs": runs}


def _timed(box: Any, code: str, language: str, tests: list[Test]) -> Any:
    if not hasattr(box, "run"):
        return "not available: this box runs no tests"
    feedback = box.run(code, tests, language=language)
    if not feedback.tests:
        return f"not available: {feedback.message}"
    return [
        {
            "Unit Input": _shown(test),
            "verdict": str(outcome.verdict),
            "cpu_seconds": outcome.execution.cpu_seconds,
            "wall_seconds": outcome.execution.wall_seconds,
            "memory_bytes": outcome.execution.memory_bytes,
        }
        for test, outcome in zip(tests, feedback.tests, strict=True)
    ]


def _shown(test: Test) -> str:
    return syntax.cut(to_bytes(test.stdin).decode("utf-8", "replace"), _INPUT)


def _fuzzing(code: str, language: str, box: Any, tests: list[Test], tools: Any) -> dict[str, Any]:
    seeds = [to_bytes(test.stdin).decode("utf-8", "replace") for test in tests]
    found = asdict(fuzz(box, code, seeds))
    return {**found, "corpus": list(found["corpus"])}


_MAKERS: Mapping[str, Callable[..., Any]] = {
    "basic": _basic,
    "smells": _smells,
    "security": _security,
    "coverage": _coverage,
    "efficiency": _efficiency,
    "fuzzing": _fuzzing,
}


def official(analysis: Analysis) -> dict[str, Any]:
    """Return the findings under the names, and in the form, of the paper's own program.

    There the graphs are text, the tests a list, and the profile a list with an entry for the input
    that was profiled. What is not available says so in the place of its data.
    """
    names = {
        "basic": "code_basic_analysis",
        "smells": "code_smell_analysis",
        "security": "code_bug_analysis",
        "coverage": "unit_test_analysis",
        "efficiency": "code_efficiency_evaluation",
        "fuzzing": "fuzzing",
    }
    found = {names[name]: getattr(analysis, name) for name in analysis.families}
    for name, change in (
        ("code_basic_analysis", _official_basic),
        ("unit_test_analysis", lambda data: data["tests"]),
        ("code_efficiency_evaluation", _official_profile),
    ):
        if isinstance(found.get(name), dict):
            found[name] = change(found[name])
    return {**found, "tools": dict(analysis.tools)}


def _official_basic(data: Mapping[str, Any]) -> dict[str, Any]:
    graphs = data["cfg"]
    if not isinstance(graphs, str):
        graphs = "\n\n".join(f"%% {graph['name']}\n{flow.drawn(graph)}" for graph in graphs)
    return {**data, "cfg": graphs}


def _official_profile(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    runs = data["runs"]
    rows = data["functions"]
    known = not isinstance(rows, str)
    return [
        {
            "Unit Input": runs[0]["Unit Input"] if isinstance(runs, list) else "",
            "Total Calls": sum(row["ncalls"] for row in rows) if known else rows,
            "Total Time": sum(row["tottime"] for row in rows) if known else rows,
            "Functions": [
                {**row, "function location": row["function"]} for row in rows
            ] if known else rows,
            "Lines": data["lines"],
            "Runs": runs,
        }
    ]  # fmt: skip


__all__ = [
    "FAMILIES",
    "Analysis",
    "Coverage",
    "Finding",
    "Fuzzed",
    "Halstead",
    "Report",
    "analyse",
    "bandit",
    "bounded",
    "call_graph",
    "control_flow",
    "coverage_per_test",
    "cyclomatic",
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
    "rules",
    "security",
    "security_report",
    "smell_report",
    "smells",
    "syntax",
    "syntax_tree",
]

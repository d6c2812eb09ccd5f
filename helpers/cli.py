"""The ``book`` command: a thin door to `helpers.execution` and `helpers.publishing`.

Exit codes: 0 fine; 1 a chapter failed or something is stale; 2 wrong usage; 3 this machine lacks
something; 130 interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.project import BookError, Project, UsageError

_INTERRUPTED = 130

app = typer.Typer(
    name="book",
    help="Run, check and build *Ten papers you can run*.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Chapters = Annotated[list[str] | None, typer.Argument(help="Chapters, by file name in notebooks/.")]
Profile = Annotated[str, typer.Option(help="Whose values to use: quick, gpu or paper.")]
Set = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set one parameter; repeatable."),
]
Force = Annotated[bool, typer.Option("--force", help="Execute also what is current.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for another run of the same chapter to end.")
]
Timeout = Annotated[float | None, typer.Option(min=1.0, help="Seconds for each whole chapter.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Chapters to run at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def _version(value: bool) -> None:
    if value:
        from helpers import __version__

        print(f"book {__version__}")
        raise typer.Exit


@app.callback()
def _book(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _chosen(chapters: list[str] | None, every: bool, project: Project) -> list[str]:
    if every and chapters:
        raise UsageError("Give either chapters or --all, not both.")
    if not every and not chapters:
        ready = ", ".join(chapter.slug for chapter in project.written()) or "none yet"
        raise UsageError(f"Name a chapter, or use --all. Written: {ready}.")
    for slug in chapters or []:
        project.notebook(slug)
    return chapters or [chapter.slug for chapter in project.written()]


def _overrides(assignments: list[str] | None, slugs: list[str], project: Project) -> dict[str, Any]:
    from helpers.execution import parse_assignments

    values: dict[str, Any] = {}
    for slug in slugs if assignments else []:
        values = parse_assignments(assignments or [], slug, project)
    return values


@app.command("run")
def run_chapters(
    chapters: Chapters = None,
    every: Annotated[bool, typer.Option("--all", help="Every chapter that is written.")] = False,
    profile: Profile = "quick",
    parameter: Set = None,
    force: Force = False,
    timeout: Timeout = None,
    jobs: Jobs = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write the executed notebook to this file.")
    ] = None,
    wait: Wait = False,
) -> None:
    """Execute chapters and keep the executed copies in _build/executed.

    A chapter whose copy is current is not run again. Parameters are checked before anything runs.

    **Examples**

    - `book run dendritic_localized_learning`
    - `book run dendritic_localized_learning -p device=cpu -p "seeds=[0, 1]"`
    - `book run --all --profile gpu`
    """
    from helpers.execution import run
    from helpers.execution.progress import reporter

    project = Project.find()
    slugs = _chosen(chapters, every, project)
    outcomes = run(
        slugs, profile, _overrides(parameter, slugs, project), force, timeout, jobs, project,
        wait_for_others=wait, output=output, reporter=reporter(),
    )  # fmt: skip
    for outcome in outcomes:
        if outcome.path is not None:
            print(output if output is not None else outcome.path)


@app.command()
def refresh(
    chapters: Chapters = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only report what is stale; exit with 1 if any is.")
    ] = False,
    force: Force = False,
    timeout: Timeout = None,
    jobs: Jobs = None,
    wait: Wait = False,
) -> None:
    """Renew the outputs of the notebooks in the repository that are stale.

    **Examples**

    - `book refresh`
    - `book refresh --check`
    """
    from helpers.execution import refresh as renew
    from helpers.execution.progress import reporter

    outcomes = renew(
        chapters or None, check, force, timeout=timeout, jobs=jobs, wait_for_others=wait,
        reporter=reporter(),
    )  # fmt: skip
    for outcome in outcomes:
        print(outcome.line())
    if not check:
        _keep_readme_true(Project.find())
    if any(outcome.state == "stale" for outcome in outcomes):
        print("Run `make refresh` to renew them.")
        raise typer.Exit(1)


@app.command()
def build(
    timeout: Timeout = None,
    jobs: Jobs = None,
    wait: Wait = False,
) -> None:
    """Execute what is not current at quick, build the site, and print the page to open.

    Where this machine lacks what a chapter needs, such as a wall around untrusted programs or a
    network for its data, the site shows the outputs in the repository, and says so.
    """
    from helpers import publishing
    from helpers.execution import run
    from helpers.execution.progress import reporter

    project = Project.find()
    run(
        None, timeout=timeout, jobs=jobs, project=project, wait_for_others=wait, keep=True,
        reporter=reporter(),
    )  # fmt: skip
    page = publishing.build(project)
    _read_for_questions(project)
    print(page)


def _read_for_questions(project: Project) -> None:
    """Read the pages for `book ask`, whose first answer is quick then; the site does without."""
    from helpers.retrieval.book import Book

    try:
        Book(project, told=lambda line: print(line, file=sys.stderr))
    except BookError as error:
        print(f"`book ask` is not ready: {error}", file=sys.stderr)


@app.command()
def claims(chapters: Chapters = None, profile: Profile = "quick", as_json: AsJson = False) -> None:
    """Show the claims of each chapter: what the paper states, what was measured, the verdict.

    **Examples**

    - `book claims`
    - `book claims dendritic_localized_learning --profile gpu --json`
    """
    from helpers.execution import read_claims

    found = read_claims(chapters, profile)
    if as_json:
        _print_json(found)
        return
    rows = [
        [slug, claim["id"], claim["rule"], _measured(claim), claim["verdict"]]
        for slug, listed in found.items()
        for claim in listed
    ]
    _print_table(["chapter", "claim", "rule", "measured", "verdict"], rows)
    for slug in (slug for slug, listed in found.items() if not listed):
        print(f"{slug}: no claims; `book run {slug} --profile {profile}` makes them.")


def _measured(claim: dict[str, Any]) -> str:
    from helpers.claims import measurement

    return measurement(claim, claim.get("unit", ""))


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show which chapters are written, and which outputs are current or stale, and why."""
    from helpers.execution import status as states

    found = states()
    if as_json:
        _print_json(found)
        return
    rows: list[list[str]] = []
    notes: list[str] = []
    for row in found:
        if not row["written"]:
            rows.append([row["chapter"], "not written yet", "", ""])
            continue
        runs = [_by_profile(row["executed"]), _by_profile(row["recorded"])]
        rows.append([row["chapter"], row["committed"]["state"], *runs])
        for place, state in _places(row):
            notes.extend(f"{row['chapter']}, {place}: {reason}." for reason in state["reasons"])
    _print_table(["chapter", "in the repository", "executed here", "recorded"], rows)
    for note in notes:
        print(note)


def _places(row: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    executed = [(f"executed {name}", state) for name, state in row["executed"].items()]
    recorded = [(f"recorded {name}", state) for name, state in row["recorded"].items()]
    return [("in the repository", row["committed"]), *executed, *recorded]


def _by_profile(states: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {state['state']}" for name, state in states.items())


@app.command()
def sweep(
    chapter: Annotated[str, typer.Argument(help="The chapter, by file name in notebooks/.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE,VALUE", help="One axis of the grid; repeatable."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Run every point with the seeds 0 to N-1.")
    ] = None,
    profile: Profile = "quick",
    parameter: Set = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to use.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on this machine (default: its cores).")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Further tries of a failed point.")] = 1,
    timeout: Annotated[float | None, typer.Option(min=1.0, help="Seconds for each point.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: in _build/sweeps).")
    ] = None,
) -> None:
    """Run a chapter over a grid of parameters, here or on a Dask cluster.

    Every combination is a point, run in a kernel of its own. Points that are done are kept: the
    same command goes on where it stopped. The results are one table and one plot.

    **Examples**

    - `book sweep dendritic_localized_learning --grid eta=1e-3,1e-2 --seeds 5`
    - `book sweep dendritic_localized_learning --grid "hidden=[64],[64, 64]" --workers 2`
    - `book sweep dendritic_localized_learning --grid eta=1e-3,1e-2 --scheduler tcp://10.0.0.1:8786`
    """
    from helpers.execution import parse_grid
    from helpers.execution import sweep as run_sweep
    from helpers.execution.progress import reporter

    project = Project.find()
    if not grid:
        raise UsageError("Give at least one axis, such as --grid eta=1e-3,1e-2.")
    result = run_sweep(
        chapter, parse_grid(grid, chapter, project), seeds, profile,
        _overrides(parameter, [chapter], project), scheduler, workers, retries, timeout, output,
        project, reporter=reporter(),
    )  # fmt: skip
    print(result.table)


@app.command("record")
def record_run(
    chapter: Annotated[str, typer.Argument(help="The chapter, by file name in notebooks/.")],
    profile: Annotated[str, typer.Option(help="gpu or paper.")],
) -> None:
    """Keep an executed gpu or paper run in results/, where the book shows it.

    **Example**

    - `book record dendritic_localized_learning --profile gpu`
    """
    from helpers.execution import record

    project = Project.find()
    print(record(chapter, profile, project))
    _keep_readme_true(project)


def _keep_readme_true(project: Project) -> None:
    """Renew the README's table of verdicts, which is made from what the repository carries."""
    if not (project.root / "README.md").is_file():
        return
    from helpers import publishing

    if publishing.update_readme(project):
        print("The status table of README.md is renewed.")


@app.command()
def teach(
    output: Annotated[
        Path | None, typer.Option(help="The zip file, or a folder for it (default: in _build).")
    ] = None,
) -> None:
    """Write the teaching pack: every chapter with and without its solutions, as one zip."""
    from helpers import publishing

    print(publishing.teaching_pack(Project.find(), output))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do for the book, and what to install."""
    from dataclasses import asdict

    from helpers.execution import doctor as examine

    checks = examine()
    if as_json:
        _print_json([asdict(check) for check in checks])
    else:
        rows = [[c.state, c.name, f"{c.found}. {c.advice}".strip()] for c in checks]
        _print_table(["state", "what", "what it means"], rows)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(3)


@app.command()
def sandbox(
    source: Annotated[
        str | None,
        typer.Argument(help="A program, a JSON record of the paper's format, or - for stdin."),
    ] = None,
    language: Annotated[str, typer.Option(help="Such as python or C++.")] = "auto",
    stdin: Annotated[
        Path | None, typer.Option(help="A file that the program reads as its input.")
    ] = None,
    expected: Annotated[
        Path | None, typer.Option(help="A file with the output that it should write.")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, bwrap, unshare or docker.")] = "auto",
    seconds: Annotated[float, typer.Option(help="Of processor time for each test.")] = 2.0,
    memory: Annotated[int, typer.Option(help="MiB for each test.")] = 256,
    analyse: Annotated[
        bool, typer.Option("--analyse", help="Add what the analysis tools find.")
    ] = False,
    languages: Annotated[
        bool, typer.Option("--languages", help="Only show which languages run here.")
    ] = False,
) -> None:
    """Run an untrusted program in the sandbox, and print what came of it as JSON.

    A file that ends in .json is a record of the paper's format (question, code, unit_cases, lang);
    its answer has the paper's fields. Any other file, or stdin, is a program.

    The exit code is 0 if every test passed and 1 if not; 2 if the question was wrong, and 3 if
    this machine lacks the language or a way to isolate it.

    **Examples**

    - `book sandbox program.py --stdin input.txt --expected output.txt`
    - `book sandbox record.json`
    - `echo 'print(6 * 7)' | book sandbox - --language python`
    - `book sandbox --languages`
    """
    from helpers.sandbox import command

    found, passed = command.run(
        source, language, stdin, expected, backend, seconds, memory, analyse, languages
    )
    _print_json(found)
    if not passed:
        raise typer.Exit(1)


@app.command()
def ask(
    question: Annotated[
        str | None, typer.Argument(help="What to ask; without it, questions are read line by line.")
    ] = None,
    passages: Annotated[int, typer.Option("-k", min=1, max=10, help="Passages to read.")] = 3,
    model: Annotated[
        str | None, typer.Option(help="A language model that answers, by hub name or folder.")
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="OPENAI_BASE_URL", help="A server that has the model.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask this book a question: a sentence that answers, the passages, and where they stand.

    Without `--model` the answer is a sentence of the book as it stands there. The first question
    takes seconds, when the pages are read; what was read is kept.

    **Examples**

    - `book ask "why must a negative control fail?"`
    - `book ask` and one question a line
    - `book ask "what is BM25?" --model qwen2.5:1.5b --address http://localhost:11434/v1`
    """
    from helpers.retrieval.book import Answer, Book, where
    from helpers.retrieval.generation import load_generator

    project = Project.find()
    writer = load_generator(model, address) if model else None
    book = Book(project, told=lambda line: print(line, file=sys.stderr))

    def show(answer: Answer) -> None:
        if as_json:
            _print_json(
                {
                    **vars(answer),
                    "sources": [
                        {**vars(s), "link": where(project, s.link)} for s in answer.sources
                    ],
                }
            )
            return
        if not answer.sure:
            print("The book hardly speaks about this. The nearest it has:")
        print(answer.text)
        for number, source in enumerate(answer.sources, start=1):
            print(f"\n[{number}] {source.title}: {where(project, source.link)}")
            print(textwrap.indent(textwrap.shorten(source.text, 400, placeholder=" …"), "    "))

    if question is not None:
        show(book.ask(question, passages, writer, model or ""))
        return
    waiting = sys.stdin.isatty()
    while True:
        if waiting:
            print("? ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() in ("", "quit", "exit"):
            return
        try:
            show(book.ask(line.strip(), passages, writer, model or ""))
        except UsageError as error:  # the next question may be a better one
            print(error, file=sys.stderr)


data = typer.Typer(help="Show, fetch and verify the real data sets.", invoke_without_command=True)
app.add_typer(data, name="data", rich_help_panel=None)


@data.callback()
def _data(context: typer.Context) -> None:
    """Show, fetch and verify the real data sets. Without a word after it: list them.

    BOOK_DATA names a folder to look in before anything is downloaded.
    """
    if context.invoked_subcommand is None:
        list_data()


@data.command("list")
def list_data(as_json: AsJson = False) -> None:
    """List the data sets: size, licence, and whether they are on this machine."""
    from helpers.data import registry
    from helpers.data.download import size

    rows = registry.status()
    if as_json:
        _print_json([{**vars(row), "licence": registry.DATASETS[row.name].licence} for row in rows])
        return
    table = [
        [row.name, row.title, size(row.bytes), row.where, registry.DATASETS[row.name].licence]
        for row in rows
    ]
    _print_table(["name", "title", "size", "where", "licence"], table)


@data.command("fetch")
def fetch_data(names: Annotated[list[str], typer.Argument(help="Data sets to get.")]) -> None:
    """Download data sets that are not here yet, and verify them."""
    from helpers.data import registry

    for name in names:
        for path in registry.fetch(name).values():
            print(path)


@data.command("verify")
def verify_data(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets (default: all).")] = None,
) -> None:
    """Check the files that are here against their checksums. Nothing is downloaded."""
    from helpers.data import registry

    chosen: list[str | None] = [*names] if names else [None]
    rows = [row for name in chosen for row in registry.verify(name)]
    for row in rows:
        good = "verified" if row.verified else row.where
        print(f"{row.name}: {row.problem or good}")
    if any(row.problem for row in rows):
        raise typer.Exit(3)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table that fits the terminal; piped, one line for each row."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, with one line for an error and no traceback.

    Parameters
    ----------
    arguments : what follows ``book`` (default: those of this process)
    """

    def end(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)  # so that kernels are stopped then too
    try:
        code = app(arguments, standalone_mode=False, prog_name="book")
    except BookError as error:
        # Failed chapters were told when they failed, so that a long run need not be waited for.
        print(getattr(error, "summary", None) or error, file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        code = _usage_error(error)
    if code == _INTERRUPTED:  # typer may have caught the interruption itself
        print("Interrupted: kernels are stopped, and nothing is half-written.", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Exception) -> int:
    """Report what the option parser refused; anything else is a fault of ours."""
    if not hasattr(error, "format_message"):
        raise error
    print(f"{error.format_message()} See `book --help`.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()

"""The ``book`` command: a thin door to `helpers.execution` and `helpers.publishing`.

Exit codes: 0 fine; 1 a chapter failed or something is stale; 2 wrong usage; 3 this machine lacks
something; 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.project import BookError, Project, UsageError

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
    if any(outcome.state == "stale" for outcome in outcomes):
        print("Run `make refresh` to renew them.")
        raise typer.Exit(1)


@app.command()
def build(
    timeout: Timeout = None,
    jobs: Jobs = None,
    wait: Wait = False,
) -> None:
    """Execute what is not current at quick, build the site, and print the page to open."""
    from helpers import publishing
    from helpers.execution import run
    from helpers.execution.progress import reporter

    project = Project.find()
    run(
        None, timeout=timeout, jobs=jobs, project=project, wait_for_others=wait,
        reporter=reporter(),
    )  # fmt: skip
    print(publishing.build(project))


def main() -> None:
    """Run the command line, with one line for an error and no traceback."""

    def end(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)  # so that kernels are stopped then too
    try:
        code = app(standalone_mode=False)
    except BookError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("Interrupted: kernels are stopped, and nothing is half-written.", file=sys.stderr)
        code = 130
    except Exception as error:
        code = _usage_error(error)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Exception) -> int:
    """Report what the option parser refused; anything else is a fault of ours."""
    if not hasattr(error, "format_message"):
        raise error
    print(f"{error.format_message()} See `book --help`.", file=sys.stderr)
    return 2

"""Reading and writing notebooks: whole or not at all, with errors that say what to do."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.project import BookError, MissingError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission at ``path`` into a `MissingError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise MissingError(
                f"No space left for {path.name!r} in {path.parent.name!r}: "
                "free some space (`make clean` empties the build folder) and run this again."
            ) from error
        if error.errno in _FORBIDDEN:
            raise MissingError(
                f"Cannot write {path.name!r} in the folder {path.parent.name!r}: it is read-only "
                "for you. Change its permissions, or copy the project to a folder of your own."
            ) from error
        raise


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file whole or not at all: into a temporary file beside it, then renamed.

    Raises
    ------
    MissingError : where the disk is full or the folder is read-only
    """
    data = data.encode("utf-8") if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Find out before minutes of work that a result could not be kept. Makes the folder.

    Raises
    ------
    MissingError : where the disk is full or the folder is read-only
    """
    probe = folder / f".writable-{os.getpid()}"
    write_whole(probe, "")
    with explained(probe):
        probe.unlink(missing_ok=True)


def read_notebook(path: Path) -> Any:
    """Read a notebook as an nbformat 4 node.

    Raises
    ------
    BookError : if the file is not a notebook
    """
    import nbformat

    try:
        return nbformat.from_dict(_upgraded(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BookError(f"{path.name} is not a readable notebook: {error}.") from error


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Join sources kept as lists of lines, and give cells without an id a stable one."""
    if content["nbformat"] != 4:
        raise ValueError(f"nbformat is {content['nbformat']}, not 4")
    for position, cell in enumerate(content["cells"]):
        cell["source"] = joined(cell["source"])
        cell.setdefault("metadata", {})
        cell.setdefault("id", f"cell-{position + 1}")
        if cell["cell_type"] == "code":
            cell["outputs"] = [_joined_output(output) for output in cell.get("outputs", [])]
            cell.setdefault("execution_count", None)
    content["nbformat_minor"] = max(5, content.get("nbformat_minor", 5))
    content.setdefault("metadata", {})
    return content


def _joined_output(output: dict[str, Any]) -> dict[str, Any]:
    if "text" in output:
        output["text"] = joined(output["text"])
    for mime, value in output.get("data", {}).items():
        if mime != "application/json" and not mime.endswith("+json"):
            output["data"][mime] = joined(value)
    return output


def joined(text: str | list[str]) -> str:
    """Return a multi-line string of the notebook format as one string."""
    return text if isinstance(text, str) else "".join(text)


def write_notebook(path: Path, nb: Any) -> None:
    """Write a notebook whole or not at all, in nbformat's own layout."""
    import nbformat

    text = nbformat.writes(nb, version=nbformat.NO_CONVERT)
    write_whole(path, text if text.endswith("\n") else text + "\n")

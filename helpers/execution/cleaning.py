"""Cleaning an executed notebook of what differs between two equal runs."""

from __future__ import annotations

import copy
import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.execution.files import joined

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
_CELL_NOISE = {
    "ExecuteTime",
    "collapsed",
    "colab",
    "execution",
    "executionInfo",
    "outputId",
    "papermill",
    "scrolled",
    "trusted",
    "vscode",
}
_NOTEBOOK_NOISE = {"papermill", "widgets", "vscode", "colab", "toc", "varInspector"}
_WIDGET = "application/vnd.jupyter.widget-view+json"
_ERROR_MARKER = "papermill-error-cell-tag"

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,16}\b")
# From the start of a word: a picture in a picture is one word of 100,000 letters, and a match tried
# from each of them would take minutes.
_KERNEL_FILE = re.compile(r"(?<![^\s\"'<>])[^\s\"'<>]*[/\\]ipykernel_\d+[/\\]\d+\.py")
_PROGRESS = re.compile(
    r"""^.*(?:\d+%\|.*\||\b\d+(?:\.\d+)?[kMG]?it\b).*  # a bar, or a bare count of iterations
        \[\d+:\d\d.*\]\s*$""",
    re.VERBOSE,
)
_SVG_DATE = re.compile(r"\s*<dc:date>.*?</dc:date>", re.DOTALL)
_SVG_ID = re.compile(r'\bid="([a-zA-Z]?[0-9a-f]{10,})"')
_STYLER_ID = re.compile(r'\bid="(T_[0-9a-f]{5,})[_"]')


def clean(nb: Any, root: Path | None = None) -> Any:
    """Return a copy of an executed notebook without clocks, paths, addresses and progress bars.

    Removed: timing and editor metadata, widget states, ANSI colours, the lines of progress bars,
    memory addresses in reprs, dates in SVG. Replaced: the project's folder by ``.``, Python's by
    ``<python>``, the home folder by ``~``, random identifiers by ones made from the content.
    Stream outputs that follow each other become one. Sources, cell ids and tags stay as they
    are. Cleaning a clean notebook changes nothing.

    Parameters
    ----------
    nb : notebook node or dictionary, format 4
    root : the project's folder (default: found from the current folder)
    """
    tidy = _text_cleaner(root)
    nb = copy.deepcopy(nb)
    nb["cells"] = [c for c in nb["cells"] if _ERROR_MARKER not in c["metadata"].get("tags", [])]
    _clean_metadata(nb["metadata"])
    count = 0
    for cell in nb["cells"]:
        for key in _CELL_NOISE & set(cell["metadata"]):
            del cell["metadata"][key]
        if cell["cell_type"] != "code":
            continue
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"], cell["source"] = "injected-parameters", tidy(joined(cell["source"]))
        if cell.get("execution_count") is not None:
            count += 1
            cell["execution_count"] = count
        cell["outputs"] = _clean_outputs(cell["outputs"], cell.get("execution_count"), tidy)
    return nb


def _clean_metadata(metadata: dict[str, Any]) -> None:
    for key in _NOTEBOOK_NOISE & set(metadata):
        del metadata[key]
    metadata["kernelspec"] = dict(KERNELSPEC)
    metadata["language_info"] = dict(LANGUAGE)


def _clean_outputs(outputs: list[Any], count: int | None, tidy: Callable[[str], str]) -> list[Any]:
    kept: list[Any] = []
    for output in _clean_streams(outputs, tidy):
        kind = output["output_type"]
        if kind == "stream":
            kept.append(output)
        elif kind == "error":
            output["evalue"] = tidy(output["evalue"])
            output["traceback"] = [tidy(line) for line in output["traceback"]]
            kept.append(output)
        else:
            _clean_data(output["data"], tidy)
            if kind == "execute_result":
                output["execution_count"] = count
            kept.append(output)
    return kept


def _clean_streams(outputs: list[Any], tidy: Callable[[str], str]) -> list[Any]:
    """Join streams of the same name that follow each other, clean them, drop the empty ones.

    What stood between two streams may have been a progress bar only, so this is repeated until
    nothing changes.
    """
    shown = [output for output in outputs if _WIDGET not in output.get("data", {})]
    while True:
        kept: list[Any] = []
        for output in shown:
            last = kept[-1] if kept else {}
            if output["output_type"] != "stream":
                kept.append(output)
            elif last.get("output_type") == "stream" and last["name"] == output["name"]:
                last["text"] += joined(output["text"])
            else:
                kept.append(copy.copy(output))
                kept[-1]["text"] = joined(output["text"])
        for output in kept:
            if output["output_type"] == "stream":
                output["text"] = _until_stable(output["text"], lambda t: _drop_progress(tidy(t)))
        kept = [o for o in kept if o["output_type"] != "stream" or o["text"].strip("\n")]
        if kept == shown:
            return kept
        shown = kept


def _drop_progress(text: str) -> str:
    """Keep what a terminal would show last of each line, and no line of a progress bar."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(line for line in lines if not _PROGRESS.match(line))


def _clean_data(data: dict[str, Any], tidy: Callable[[str], str]) -> None:
    for mime, value in data.items():
        if mime == "image/svg+xml":
            data[mime] = _stable_ids(_SVG_DATE.sub("", tidy(joined(value))), _SVG_ID)
        elif mime == "text/html":
            data[mime] = _stable_ids(tidy(joined(value)), _STYLER_ID)
        elif mime.startswith("text/"):
            data[mime] = tidy(joined(value))
        elif mime.endswith("json"):
            data[mime] = _each_text(value, tidy)


def _each_text(value: Any, tidy: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, list):
        return [_each_text(item, tidy) for item in value]
    if isinstance(value, dict):
        return {key: _each_text(item, tidy) for key, item in value.items()}
    return value


def _stable_ids(text: str, pattern: re.Pattern[str]) -> str:
    """Rename identifiers drawn at random to ones that follow from the content."""
    names = list(dict.fromkeys(pattern.findall(text)))
    if not names:
        return text
    every = re.compile("|".join(sorted(map(re.escape, names), key=len, reverse=True)))
    order = {name: position for position, name in enumerate(names)}
    neutral = every.sub(lambda m: f"\0{order[m[0]]}\0", text)
    digest = hashlib.sha256(neutral.encode()).hexdigest()[:8]

    def renamed(match: re.Match[str]) -> str:
        prefix = "T_" if match[0].startswith("T_") else "c"
        return f"{prefix}{digest}{order[match[0]]:04x}"

    return every.sub(renamed, text)


def _text_cleaner(root: Path | None) -> Callable[[str], str]:
    patterns = _path_patterns(root)

    def once(text: str) -> str:
        text = _KERNEL_FILE.sub("<cell>", _ANSI.sub("", text))
        for pattern, replacement in patterns:
            text = pattern.sub(replacement, text)
        return _ADDRESS.sub("", text)

    return lambda text: _until_stable(text, once)


def _until_stable(text: str, change: Callable[[str], str]) -> str:
    """Apply a change until it changes nothing more. Each step here shortens the text."""
    while (changed := change(text)) != text:
        text = changed
    return text


def _path_patterns(root: Path | None) -> list[tuple[re.Pattern[str], str]]:
    if root is None:
        from helpers.project import Project

        root = Project.find().root
    places = [(root, ".", 2), (root.resolve(), ".", 2)]
    places += [(Path(sys.prefix), "<python>", 3), (Path.home(), "~", 2)]
    patterns = []
    for folder, replacement, depth in places:
        if len(folder.parts) < depth:  # "/" or "/usr": too short to mean this place
            continue
        for text in {str(folder), folder.as_posix(), folder.as_uri().removeprefix("file://")}:
            start, end = r"(?:(?<=file://)|(?<![\w.~/-]))", r"(?![\w-]|\.\w)"
            patterns.append((re.compile(start + re.escape(text) + end), replacement))
    return patterns

"""The parameters of a chapter: read from its notebook, checked before anything runs."""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from helpers.execution.files import read_notebook
from helpers.parsing import syntax_tree
from helpers.project import Project, UsageError, suggest

QUICK = "quick"  # the values of the parameters cell itself, so it has no file
_CHOICES = re.compile(r"\{([^{}]*)\}")
_OPEN = {"...", "…"}
_SCALARS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell."""

    name: str
    type: str  # as written, such as "list[int]"
    default: Any
    choices: tuple[str, ...] = ()  # empty: any value of the type
    help: str = ""

    def describe(self) -> str:
        """Return ``name: type = default {choices}``."""
        choices = f" {{{'|'.join(self.choices)}}}" if self.choices else ""
        return f"{self.name}: {self.type} = {self.default!r}{choices}"


def find_parameters_cell(nb: Any) -> Any | None:
    """Return the cell tagged ``parameters``, or None."""
    tagged = (c for c in nb["cells"] if "parameters" in c["metadata"].get("tags", []))
    return next(tagged, None)


def read_parameters(source: Any) -> dict[str, Parameter]:
    """Read the parameters of a notebook.

    Each line reads ``name: type = literal  # {a|b} help``. The part in braces is optional and
    lists the only values allowed; an entry ``...`` in it means that others are allowed too.

    Parameters
    ----------
    source : a notebook (node or dictionary), or the text of its parameters cell

    Returns
    -------
    the parameters by name, in the order of the cell; empty for a notebook without such a cell

    Raises
    ------
    UsageError : if the cell holds anything else than assignments of literals
    """
    cell = None if isinstance(source, str) else find_parameters_cell(source)
    if not isinstance(source, str) and cell is None:
        return {}
    text = source if isinstance(source, str) else cell["source"]  # type: ignore[index]
    comments = _comments(text)
    found = [_parameter(node, comments) for node in _statements(text)]
    return {parameter.name: parameter for parameter in found}


def _statements(text: str) -> list[ast.stmt]:
    try:
        body = syntax_tree(text).body
    except SyntaxError as error:
        raise UsageError(f"The parameters cell has a syntax error: {error.msg}.") from error
    is_docstring = [isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in body]
    return [node for node, skip in zip(body, is_docstring, strict=True) if not skip]


def _parameter(node: ast.stmt, comments: dict[int, str]) -> Parameter:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        name, annotation, value = node.target.id, ast.unparse(node.annotation), node.value
    elif (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
    ):
        name, annotation, value = node.targets[0].id, "", node.value
    else:
        line = ast.unparse(node).splitlines()[0]
        raise UsageError(f"The parameters cell may only assign literals, and this is not: {line}")
    try:
        default = ast.literal_eval(value)
    except ValueError as error:
        raise UsageError(f"Parameter {name!r} must be a plain literal.") from error
    comment = comments.get(node.end_lineno or node.lineno, "") or comments.get(node.lineno, "")
    choices, text = _split_comment(comment)
    return Parameter(name, annotation or _type_of(default), default, choices, text)


def _comments(text: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    try:
        return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    except tokenize.TokenError:
        return {}


def _split_comment(comment: str) -> tuple[tuple[str, ...], str]:
    match = _CHOICES.search(comment)
    if not match:
        return (), comment.strip()
    choices = tuple(choice.strip() for choice in match[1].split("|"))
    text = " ".join((comment[: match.start()] + comment[match.end() :]).split())
    return choices, text


def _type_of(value: Any) -> str:
    if isinstance(value, list):
        return f"list[{_type_of(value[0])}]" if value else "list"
    if isinstance(value, dict):
        return f"dict[str, {_type_of(next(iter(value.values())))}]" if value else "dict"
    return type(value).__name__


# --- checking -------------------------------------------------------------------------------


def check_parameters(
    slug: str, overrides: dict[str, Any] | None, project: Project | None = None
) -> dict[str, Any]:
    """Check values for a chapter's parameters before anything runs.

    Parameters
    ----------
    slug : the chapter
    overrides : new values by name; None and an empty dictionary are fine
    project : the book (default: found from the current folder)

    Returns
    -------
    the overrides in the order of the parameters cell, an int given for a float made a float

    Raises
    ------
    UsageError : for an unknown chapter or name, a wrong type or a value that is no choice
    """
    project = project or Project.find()
    known = read_parameters(read_notebook(project.notebook(slug)))
    return check_values(slug, known, overrides or {})


def check_values(
    slug: str, known: dict[str, Parameter], overrides: dict[str, Any]
) -> dict[str, Any]:
    """Check values against parameters already read. See `check_parameters`."""
    unknown = [name for name in overrides if name not in known]
    if unknown:
        raise UsageError(_unknown(slug, unknown[0], known))
    return {
        name: _checked(slug, parameter, overrides[name])
        for name, parameter in known.items()
        if name in overrides
    }


def _unknown(slug: str, name: str, known: dict[str, Parameter]) -> str:
    if not known:
        return f"Chapter {slug!r} has no parameters, so {name!r} cannot be set."
    listed = ", ".join(parameter.describe() for parameter in known.values())
    hint = suggest(str(name), list(known))
    return f"Chapter {slug!r} has no parameter {name!r}.{hint} It has: {listed}."


def _checked(slug: str, parameter: Parameter, value: Any) -> Any:
    fits, value = _fit(parameter.type, value)
    if not fits:
        hint = _scientific_hint(parameter, value)
        raise UsageError(
            f"Parameter {parameter.name!r} of {slug!r} takes {parameter.type}, not "
            f"{type(value).__name__} {value!r}.{hint} Its line reads: {parameter.describe()}."
        )
    _check_choice(slug, parameter, value)
    return value


def _scientific_hint(parameter: Parameter, value: Any) -> str:
    if "float" not in parameter.type or not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    mantissa, _, exponent = f"{number:e}".partition("e")
    plain = f"{float(mantissa)}e{int(exponent):+03d}"
    return f" YAML reads {value} as text; write {plain}."


def _check_choice(slug: str, parameter: Parameter, value: Any) -> None:
    if not parameter.choices or _OPEN & set(parameter.choices) or value is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if str(item) not in parameter.choices:
            near = get_close_matches(str(item), parameter.choices, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"Parameter {parameter.name!r} of {slug!r} cannot be {item!r}.{hint} "
                f"Choose one of: {', '.join(parameter.choices)}."
            )


def _fit(kind: str, value: Any) -> tuple[bool, Any]:
    """Say whether ``value`` is of the annotated type, and return it with ints made floats."""
    options = _split_top(kind, "|")
    if len(options) > 1:
        fitting = [_fit(option, value) for option in options]
        return next((fit for fit in fitting if fit[0]), (False, value))
    base, _, inside = kind.strip().partition("[")
    arguments = _split_top(inside[:-1], ",") if inside else []
    if base in {"None", "NoneType"}:
        return value is None, value
    if base == "Any":
        return True, value
    if base == "list":
        return _fit_list(arguments, value)
    if base == "dict":
        return _fit_dict(arguments, value)
    return _fit_scalar(base, value)


def _fit_scalar(kind: str, value: Any) -> tuple[bool, Any]:
    if kind not in _SCALARS:
        raise UsageError(
            f"The parameters cell uses the type {kind!r}; "
            "known are int, float, str, bool, list[...], dict[str, ...] and `| None`."
        )
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool), value
    if kind == "float" and isinstance(value, int):
        return True, float(value)
    return isinstance(value, _SCALARS[kind]), value


def _fit_list(arguments: list[str], value: Any) -> tuple[bool, Any]:
    if not isinstance(value, list | tuple):
        return False, value
    if not arguments:
        return True, list(value)
    items = [_fit(arguments[0], item) for item in value]
    good = all(fits for fits, _ in items)
    return good, [item for _, item in items] if good else value


def _fit_dict(arguments: list[str], value: Any) -> tuple[bool, Any]:
    if not isinstance(value, dict):
        return False, value
    if not arguments:
        return True, value
    keys = [_fit(arguments[0], key) for key in value]
    items = [_fit(arguments[-1], item) for item in value.values()]
    good = all(fits for fits, _ in keys + items)
    pairs = zip(keys, items, strict=True)
    return good, {key: item for (_, key), (_, item) in pairs} if good else value


def _split_top(text: str, separator: str) -> list[str]:
    """Split at separators that are outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        if character == separator and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


# --- profiles -------------------------------------------------------------------------------


def profiles(slug: str, project: Project | None = None) -> list[str]:
    """The profiles of a chapter: quick, and one for each file in its parameters folder."""
    project = project or Project.find()
    files = sorted((project.parameters / slug).glob("*.yaml"))
    return [QUICK, *(path.stem for path in files if path.stem != QUICK)]


def profile_values(slug: str, profile: str, project: Project | None = None) -> dict[str, Any]:
    """Read and check the values of a profile.

    Raises
    ------
    UsageError : for a profile this chapter does not have, or values it does not take
    """
    import yaml

    project = project or Project.find()
    project.notebook(slug)
    there = profiles(slug, project)
    if profile not in there:
        raise UsageError(
            f"Chapter {slug!r} has no profile {profile!r}.{suggest(profile, there)} "
            f"Its profiles are: {', '.join(there)}."
        )
    if profile == QUICK:
        return {}
    path = project.parameters / slug / f"{profile}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{slug}/{path.name} is not valid YAML: {reason}.") from error
    if not isinstance(values, dict):
        raise UsageError(f"{slug}/{path.name} must hold `name: value` lines.")
    return check_parameters(slug, values, project)


def effective_parameters(
    slug: str,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    project: Project | None = None,
) -> dict[str, Any]:
    """Every parameter of a run with its value: default, then profile, then overrides."""
    project = project or Project.find()
    known = read_parameters(read_notebook(project.notebook(slug)))
    values = {name: parameter.default for name, parameter in known.items()}
    return {**values, **changed_parameters(slug, profile, overrides, project)}


def changed_parameters(
    slug: str,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    project: Project | None = None,
) -> dict[str, Any]:
    """The values of a run that differ from the parameters cell. They name the run."""
    project = project or Project.find()
    known = read_parameters(read_notebook(project.notebook(slug)))
    values = profile_values(slug, profile, project)
    values.update(check_values(slug, known, overrides or {}))
    differs = {n: v for n, v in values.items() if repr(v) != repr(known[n].default)}
    return {name: differs[name] for name in known if name in differs}


# --- text from the command line -------------------------------------------------------------


def parse_assignments(
    assignments: list[str], slug: str, project: Project | None = None
) -> dict[str, Any]:
    """Read ``name=value`` texts with the type of each parameter known.

    A str parameter keeps its text as it is, so ``name=1e-3`` is text there and a number for a
    float. A list may be written ``[0, 1]`` or ``0,1``. A text that is a path to an existing file
    or folder is made absolute, because a chapter runs in the notebooks' folder.

    Returns
    -------
    checked values by name

    Raises
    ------
    UsageError : as `check_parameters`, and for a text without ``=``
    """
    project = project or Project.find()
    known = read_parameters(read_notebook(project.notebook(slug)))
    values = {}
    for assignment in assignments:
        name, text = split_assignment(assignment)
        if name not in known:
            raise UsageError(_unknown(slug, name, known))
        values[name] = parse_value(known[name], text)
    return check_values(slug, known, values)


def split_assignment(assignment: str) -> tuple[str, str]:
    """Split ``name=value``."""
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"Write a parameter as name=value, not {assignment!r}.")
    return name.strip(), text.strip()


def parse_value(parameter: Parameter, text: str) -> Any:
    """Read the text of one value, for the type of its parameter."""
    if parameter.type == "str":
        return _as_path(parameter, text)
    if parameter.type == "list[str]" and not text.startswith("["):
        return [_as_path(parameter, item.strip()) for item in text.split(",") if item.strip()]
    options = _split_top(parameter.type, "|")
    if "str" in options and text not in {"null", "None"}:
        return text
    if any(o.startswith("list") for o in options) and not text.startswith("["):
        text = f"[{text}]"
    return _numbers(parameter.type, _literal(text))


def _literal(text: str) -> Any:
    import yaml

    try:
        return None if text == "None" else yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _numbers(kind: str, value: Any) -> Any:
    """Read texts such as 1e-3 as numbers where the type asks for floats."""
    if "float" not in kind:
        return value
    if isinstance(value, list):
        return [_numbers(kind, item) for item in value]
    if isinstance(value, dict):
        return {key: _numbers(kind, item) for key, item in value.items()}
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _as_path(parameter: Parameter, text: str) -> str:
    """Make the path of an existing file absolute, so that it holds in the kernel's folder."""
    if text in parameter.choices or not (os.sep in text or "." in text or text.startswith("~")):
        return text
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() else text


def split_values(parameter: Parameter, text: str) -> list[Any]:
    """Read the values of a grid axis: ``1e-3,1e-2``, or ``[64],[64,64]`` for a list parameter."""
    parts = [part for part in _split_top(text, ",") if part]
    if not parts:
        raise UsageError(f"The grid gives no value for {parameter.name!r}.")
    return [parse_value(parameter, part) for part in parts]

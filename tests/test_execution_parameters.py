"""Parameters are read from the notebook and checked before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from execution_project import PARAMETERS, code, make_project, notebook
from hypothesis import given
from hypothesis import strategies as st

from helpers.execution import (
    check_parameters,
    effective_parameters,
    parse_assignments,
    profiles,
    read_parameters,
)
from helpers.execution.parameters import Parameter, parse_value, profile_values, split_values
from helpers.project import Project, UsageError


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("a book")
    made = make_project(
        root,
        {
            "tiny": notebook(code("import math"), code(PARAMETERS, "parameters")),
            "bare": notebook(code("1 + 1")),
        },
    )
    folder = made.parameters / "tiny"
    folder.mkdir(parents=True)
    (folder / "gpu.yaml").write_text("lr: 0.5\nseeds: [0, 1, 2]\n")
    (folder / "wrong.yaml").write_text("lr: 1e-3\n")
    (folder / "broken.yaml").write_text("lr: [\n")
    (folder / "listed.yaml").write_text("- lr\n")
    return made


def test_reads_name_type_default_choices_and_help() -> None:
    found = read_parameters(PARAMETERS)
    assert list(found) == ["lr", "width", "seeds", "kind", "fast", "rates", "depth"]
    assert found["width"] == Parameter("width", "int", 4, ("2", "4", "8"), "neurons in a layer")
    assert found["lr"].help == "step size"
    assert found["rates"].default == {"a": 0.5}


def test_a_value_over_several_lines_keeps_its_comment() -> None:
    found = read_parameters('names: list[str] = [\n    "a",\n    "b",\n]  # {a|b|c} which')
    assert found["names"].default == ["a", "b"]
    assert found["names"].choices == ("a", "b", "c")


def test_a_hash_in_a_text_is_no_comment() -> None:
    assert read_parameters('mark: str = "# {a|b}"')["mark"].choices == ()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os", "may only assign literals"),
        ("lr: float = 1 / 3", "plain literal"),
        ("lr: float =", "syntax error"),
        ("a, b = 1, 2", "may only assign literals"),
    ],
)
def test_the_cell_may_hold_literals_only(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_parameters(source)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"lr": 1e-3, "width": 8}, {"lr": 1e-3, "width": 8}),
        ({"seeds": [3, 4], "fast": True}, {"seeds": [3, 4], "fast": True}),
        ({"rates": {"a": 1}}, {"rates": {"a": 1.0}}),
        ({"depth": None}, {"depth": None}),
        ({"depth": 3}, {"depth": 3}),
        ({"kind": "something else"}, {"kind": "something else"}),  # "..." leaves it open
        ({}, {}),
    ],
)
def test_accepts_and_returns_values(project: Project, values: dict, expected: dict) -> None:
    checked = check_parameters("tiny", values, project)
    assert checked == expected
    assert [type(v) for v in checked.values()] == [type(expected[k]) for k in checked]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lrr": 1.0}, ["no parameter 'lrr'", "Did you mean 'lr'", "width: int = 4 {2|4|8}"]),
        ({"lr": "big"}, ["'lr'", "takes float", "str 'big'"]),
        ({"lr": "1e-3"}, ["takes float", "YAML reads 1e-3 as text; write 1.0e-03"]),
        ({"lr": True}, ["takes float", "bool"]),
        ({"width": True}, ["takes int", "bool"]),
        ({"width": 4.0}, ["takes int", "float"]),
        ({"width": 5}, ["cannot be 5", "2, 4, 8"]),
        ({"fast": 1}, ["takes bool", "int"]),
        ({"seeds": 3}, ["takes list[int]", "int 3"]),
        ({"seeds": [1, "2"]}, ["takes list[int]"]),
        ({"seeds": [1, True]}, ["takes list[int]"]),
        ({"rates": {"a": "b"}}, ["takes dict[str, float]"]),
        ({"rates": {1: 0.5}}, ["takes dict[str, float]"]),
        ({"depth": "deep"}, ["takes int | None"]),
        ({"kind": 3}, ["takes str"]),
    ],
)
def test_refuses_with_what_is_valid(project: Project, values: dict, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        check_parameters("tiny", values, project)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_choice_that_is_nearly_right_is_suggested() -> None:
    from helpers.execution.parameters import check_values

    known = read_parameters('device: str = "auto"  # {auto|cpu|cuda|mps} where')
    with pytest.raises(UsageError, match=r"Did you mean 'cuda'.*auto, cpu, cuda, mps"):
        check_values("tiny", known, {"device": "cude"})


def test_a_chapter_without_parameters_says_so(project: Project) -> None:
    with pytest.raises(UsageError, match="has no parameters"):
        check_parameters("bare", {"lr": 1}, project)


def test_an_unknown_type_names_the_known_ones() -> None:
    from helpers.execution.parameters import check_values

    known = read_parameters("when: date = 3")
    with pytest.raises(UsageError, match="int, float, str, bool"):
        check_values("tiny", known, {"when": 3})


# --- profiles -------------------------------------------------------------------------------


def test_profiles_are_quick_and_the_files(project: Project) -> None:
    assert profiles("tiny", project) == ["quick", "broken", "gpu", "listed", "wrong"]
    assert profiles("bare", project) == ["quick"]


def test_effective_values_are_default_then_profile_then_override(project: Project) -> None:
    values = effective_parameters("tiny", "gpu", {"seeds": [7]}, project)
    assert (values["lr"], values["seeds"], values["width"]) == (0.5, [7], 4)
    assert effective_parameters("tiny", "quick", None, project)["lr"] == 0.1


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("gpuu", r"no profile 'gpuu'. Did you mean 'gpu'\? Its profiles are: quick, "),
        ("wrong", "YAML reads 1e-3 as text"),
        ("broken", "not valid YAML"),
        ("listed", "name: value"),
    ],
)
def test_a_wrong_profile_is_refused(project: Project, profile: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        profile_values("tiny", profile, project)


# --- text from the command line -------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("lr=1e-3", 0.001),
        ("lr=2", 2.0),
        ("seeds=[3, 4]", [3, 4]),
        ("seeds=3,4", [3, 4]),
        ("seeds=3", [3]),
        ("kind=1e-3", "1e-3"),
        ("kind=a=b", "a=b"),
        ("fast=true", True),
        ("depth=None", None),
        ("depth=2", 2),
        ("rates={a: 1e-2}", {"a": 0.01}),
        ('rates={"a": 2}', {"a": 2.0}),
    ],
)
def test_texts_become_values_of_the_right_type(
    project: Project, assignment: str, value: object
) -> None:
    (found,) = parse_assignments([assignment], "tiny", project).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("assignment", ["lr", "=3", "lr=fast", "width=4.5", "fast=maybe", "lr=[1"])
def test_wrong_texts_are_refused(project: Project, assignment: str) -> None:
    with pytest.raises(UsageError):
        parse_assignments([assignment], "tiny", project)


def test_the_path_of_a_file_that_exists_is_made_absolute(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.csv").write_text("1,2\n")
    monkeypatch.chdir(tmp_path)
    found = parse_assignments(["kind=mine.csv"], "tiny", project)
    assert found == {"kind": str((tmp_path / "mine.csv").resolve())}
    assert parse_assignments(["kind=other.csv"], "tiny", project) == {"kind": "other.csv"}
    sets = Parameter("sets", "list[str]", ["digits"])
    assert parse_value(sets, "digits,mine.csv") == ["digits", str(tmp_path.resolve() / "mine.csv")]
    assert parse_value(sets, "['a b', c]") == ["a b", "c"]


@given(st.floats(allow_nan=False))
def test_every_float_survives_the_command_line(value: float) -> None:
    assert parse_value(Parameter("x", "float", 0.0), repr(value)) == value


@given(st.lists(st.integers()))
def test_every_list_survives_the_command_line(value: list[int]) -> None:
    parameter = Parameter("x", "list[int]", [])
    assert parse_value(parameter, json.dumps(value)) == value
    assert parse_value(parameter, ",".join(map(str, value))) == value


@given(st.text(alphabet=st.characters(exclude_characters="/.~\0\\"), max_size=20))
def test_every_text_stays_as_it_is(value: str) -> None:
    assert parse_value(Parameter("x", "str", ""), value) == value


def test_grid_axes_split_outside_brackets() -> None:
    numbers = Parameter("x", "float", 0.0)
    assert split_values(numbers, "1e-3,1e-2") == [0.001, 0.01]
    layers = Parameter("x", "list[int]", [])
    assert split_values(layers, "[64],[64, 32]") == [[64], [64, 32]]
    with pytest.raises(UsageError, match="no value"):
        split_values(numbers, ",")


def test_messages_fit_on_one_line(project: Project) -> None:
    with pytest.raises(UsageError) as caught:
        profile_values("tiny", "broken", project)
    assert not re.search(r"\n", str(caught.value))

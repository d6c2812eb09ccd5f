"""Cleaning removes what differs between two equal runs, and nothing else."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from execution_project import code, notebook, text
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.execution import clean

ROOT = Path("/srv/some where/a book")


def _stream(content: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": content}


def _display(**data: Any) -> dict[str, Any]:
    named = {mime.replace("_", "/"): value for mime, value in data.items()}
    return {"output_type": "display_data", "data": named, "metadata": {}}


def _cleaned(*outputs: dict[str, Any]) -> list[dict[str, Any]]:
    cell = code("1")
    cell["outputs"] = list(outputs)
    return clean(notebook(cell), ROOT)["cells"][0]["outputs"]


def _said(*outputs: dict[str, Any]) -> str:
    return "".join(output["text"] for output in _cleaned(*outputs))


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (f"read {ROOT}/notebooks/x.ipynb\n", "read ./notebooks/x.ipynb\n"),
        (f"in {ROOT}.\n", "in ..\n"),
        (f"file://{str(ROOT).replace(' ', '%20')}/a\n", "file://./a\n"),
        (f"{ROOT}-two/x\n", f"{ROOT}-two/x\n"),
        (f"{Path.home()}/x.txt\n", "~/x.txt\n"),
        (f"{sys.prefix}/lib/x.py:3: Warning\n", "<python>/lib/x.py:3: Warning\n"),
        ("/tmp/ipykernel_123/456.py:3: UserWarning: x\n", "<cell>:3: UserWarning: x\n"),
        ("<function f at 0x7f12ab34cd56>\n", "<function f>\n"),
        ("offset 0x10 and at 0x1f\n", "offset 0x10 and at 0x1f\n"),
        ("\x1b[31mred\x1b[0m\n", "red\n"),
        ("12%\r50%\rdone\n", "done\n"),
        ("loss 0.5, 3/9 right, 50%\n", "loss 0.5, 3/9 right, 50%\n"),
        # one word, as long as a picture in a picture: a search from each letter would not end
        ("ab/" * 200_000 + "\n", "ab/" * 200_000 + "\n"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_paths_addresses_colours_and_overwritten_text(said: str, left: str) -> None:
    assert _said(_stream(said)) == left


@pytest.mark.parametrize(
    "bar",
    [
        "  0%|          | 0/20 [00:00<?, ?it/s]",
        "epochs:  45%|████▌     | 9/20 [00:01<00:01,  8.97it/s, loss=0.5]",
        "100%|██████████| 20/20 [01:02<00:00,  8.97s/it]",
        "9it [00:01,  8.97it/s]",
        "100%|##########| 1.20k/1.20k [00:00<00:00, 3.00MB/s]",
    ],
)
def test_progress_bars_go(bar: str) -> None:
    assert _cleaned(_stream(f"\r{bar}\r{bar}\n", "stderr")) == []
    assert _said(_stream(f"before\n{bar}\nafter\n", "stderr")) == "before\nafter\n"


def test_streams_that_follow_each_other_become_one() -> None:
    outputs = _cleaned(_stream("a"), _stream("b\n"), _stream("c\n", "stderr"), _stream("d\n"))
    assert [(o["name"], o["text"]) for o in outputs] == [
        ("stdout", "ab\n"),
        ("stderr", "c\n"),
        ("stdout", "d\n"),
    ]


def test_a_progress_bar_between_prints_leaves_one_stream() -> None:
    bar = _stream("\r50%|█| 1/2 [00:00<00:00, 1.0it/s]", "stderr")
    assert len(_cleaned(_stream("a\n"), bar, _stream("b\n"))) == 1


def test_widgets_go() -> None:
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "x"}
    nb = notebook(code("1"))
    nb["cells"][0]["outputs"] = [{"output_type": "display_data", "data": widget, "metadata": {}}]
    nb["metadata"]["widgets"] = {"state": {}}
    cleaned = clean(nb, ROOT)
    assert cleaned["cells"][0]["outputs"] == []
    assert "widgets" not in cleaned["metadata"]


def test_data_is_cleaned_by_its_kind() -> None:
    (output,) = _cleaned(
        _display(
            text_plain="<object at 0x7f12ab34cd56>",
            text_html=f"<p>{ROOT}/x</p>",
            application_json={"where": [f"{ROOT}/y"], "count": 3},
            image_png="aGVsbG8=",
        )
    )
    assert output["data"] == {
        "text/plain": "<object>",
        "text/html": "<p>./x</p>",
        "application/json": {"where": ["./y"], "count": 3},
        "image/png": "aGVsbG8=",
    }


def _svg(name: str, date: str) -> dict[str, Any]:
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {
            "image/svg+xml": f'<svg><dc:date>{date}</dc:date><path id="m{name}"/>'
            f'<use xlink:href="#m{name}"/></svg>'
        },
    }


def test_svg_has_no_date_and_stable_identifiers() -> None:
    one = _cleaned(_svg("0123456789ab", "2026-01-01"))
    other = _cleaned(_svg("ba9876543210", "2026-01-02"))
    assert one == other
    picture = one[0]["data"]["image/svg+xml"]
    assert "2026" not in picture
    name = picture.split('id="')[1].split('"')[0]
    assert f'href="#{name}"' in picture


def test_styled_tables_have_stable_identifiers() -> None:
    def table(name: str) -> dict[str, Any]:
        style = f"<style>#T_{name}_row0_col0 {{}}</style>"
        return _display(text_html=f'{style}<table id="T_{name}"><td id="T_{name}_row0_col0"></td>')

    assert _cleaned(table("0a1b2")) == _cleaned(table("f9e8d"))
    assert _cleaned(table("0a1b2")) != _cleaned(_display(text_html='<table id="T_0a1b2">'))


def test_metadata_is_reduced_and_the_source_kept() -> None:
    cell = code("print( 1 )", "figure", papermill={"duration": 1}, execution={}, vscode={})
    cell["metadata"]["mystnb"] = {"figure": {"name": "fig-a"}}
    cell["execution_count"] = 7
    nb = notebook(text("# T"), cell)
    nb["metadata"]["papermill"] = {"duration": 3}
    nb["metadata"]["language_info"] = {"name": "python", "version": "3.11.7"}
    nb["metadata"]["kernelspec"] = {"name": "my-venv", "display_name": "Mine"}
    nb["metadata"]["authors"] = [{"name": "A"}]
    before = copy.deepcopy(nb)
    cleaned = clean(nb, ROOT)
    assert nb == before  # the given notebook is not changed
    done = cleaned["cells"][1]
    assert done["metadata"] == {"tags": ["figure"], "mystnb": {"figure": {"name": "fig-a"}}}
    assert (done["source"], done["id"], done["execution_count"]) == ("print( 1 )", "own-1", 1)
    assert cleaned["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in cleaned["metadata"]["language_info"]
    assert set(cleaned["metadata"]) == {"authors", "kernelspec", "language_info"}
    nbformat.validate(nbformat.from_dict(cleaned))


def test_cells_that_did_not_run_keep_no_count() -> None:
    ran, not_run = code("1"), code("2")
    ran["execution_count"] = 3
    cleaned = clean(notebook(ran, not_run), ROOT)
    assert [cell["execution_count"] for cell in cleaned["cells"]] == [1, None]


def test_the_injected_cell_has_a_stable_id_and_no_path() -> None:
    cell = code(f'data = "{ROOT}/mine.csv"', "injected-parameters")
    (done,) = clean(notebook(cell), ROOT)["cells"]
    assert (done["id"], done["source"]) == ("injected-parameters", 'data = "./mine.csv"')


_NOISE = st.sampled_from(
    [
        f"{ROOT}",
        f"{ROOT}/x",
        f"{Path.home()}",
        sys.prefix,
        " at 0x7f12ab34cd56",
        " at",
        "\x1b[1m",
        "\r",
        "\n",
        "50%|█| 1/2 [00:00<00:00, 1.0it/s]",
        "3it [00:01]",
        'id="m0123456789ab"',
        'id="T_0a1b2"',
        "<dc:date>2026</dc:date>",
        "/tmp/ipykernel_1/2.py",
        ".",
        "~",
        "/",
        "word",
    ]
)
_TEXTS = st.lists(_NOISE | st.text(max_size=3), max_size=8).map("".join)
_OUTPUTS = st.one_of(
    st.builds(_stream, _TEXTS, st.sampled_from(["stdout", "stderr"])),
    st.builds(lambda t: _display(text_plain=t), _TEXTS),
    st.builds(lambda t: _display(text_html=t), _TEXTS),
    st.builds(lambda t: {**_svg("0", "0"), "data": {"image/svg+xml": t}}, _TEXTS),
    st.builds(lambda t: _display(application_json={"a": [t]}), _TEXTS),
    st.builds(
        lambda t: {"output_type": "error", "ename": "E", "evalue": t, "traceback": [t]}, _TEXTS
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_OUTPUTS, max_size=5))
def test_cleaning_twice_is_cleaning_once(outputs: list[dict[str, Any]]) -> None:
    cell = code("1")
    cell["outputs"] = outputs
    once = clean(notebook(cell), ROOT)
    assert clean(once, ROOT) == once

"""Tables show the same rows as HTML and as text, whatever characters are in them."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.project import UsageError
from helpers.tables import Table, spread

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)
words = st.text(
    st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=6
)
ROWS = [
    {"rule": "backprop", "accuracy": "96.3 ± 0.5", "steps": "100"},
    {"rule": "DLL", "accuracy": "95.1 ± 0.7", "steps": "100"},
]


def test_html_has_a_head_and_a_row_per_mapping() -> None:
    table = BeautifulSoup(Table(ROWS, name="claims").html(), "html.parser").table
    assert table is not None
    assert table["class"] == ["claims"]
    assert [h.text for h in table.thead.find_all("th", scope="col")] == list(ROWS[0])
    shown = [[d.text for d in row.find_all("td")] for row in table.tbody.find_all("tr")]
    assert shown == [list(row.values()) for row in ROWS]


def test_plain_text_starts_each_row_by_its_first_value() -> None:
    assert Table(ROWS).plain() == (
        "backprop\n    accuracy: 96.3 ± 0.5\n    steps: 100\n"
        "DLL\n    accuracy: 95.1 ± 0.7\n    steps: 100"
    )


def test_rows_of_one_column_are_one_line_each() -> None:
    assert Table([{"rule": "DLL"}, {"rule": "backprop"}]).plain() == "DLL\nbackprop"


def test_columns_follow_the_first_row() -> None:
    turned = dict(reversed(ROWS[1].items()))
    assert Table([ROWS[0], turned]).html() == Table(ROWS).html()
    assert Table([ROWS[0], turned]).plain() == Table(ROWS).plain()


@few
@given(st.lists(st.fixed_dictionaries({"<a>": words, 'b & "c"': words}), min_size=1, max_size=4))
def test_any_text_is_shown_as_it_is_and_makes_no_element(rows: list[dict[str, str]]) -> None:
    table = BeautifulSoup(Table(rows).html(), "html.parser")
    assert {tag.name for tag in table.find_all()} == {"table", "thead", "tbody", "tr", "th", "td"}
    assert [h.text for h in table.find_all("th")] == list(rows[0])
    assert [d.text for d in table.find_all("td")] == [row[c] for row in rows for c in rows[0]]


def test_script_is_escaped() -> None:
    shown = Table([{"x": "<script>alert('&')</script>"}]).html()
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in shown


def test_no_rows_make_an_empty_table() -> None:
    table = BeautifulSoup(Table([]).html(), "html.parser")
    assert table.find_all(["th", "td"]) == []
    assert table.table is not None
    assert Table([]).plain() == ""


def test_a_notebook_gets_both_forms() -> None:
    table = Table(ROWS)
    assert table._repr_mimebundle_() == {"text/html": table.html(), "text/plain": table.plain()}


def test_spread_is_mean_and_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert spread([0.001, 0.003], digits=3) == "0.002 ± 0.001"
    assert spread([1.0, float("nan")]) == "nan ± nan"


def test_one_value_has_no_spread() -> None:
    with pytest.raises(UsageError, match="two or more"):
        spread([1.0])

"""Latencies: collected, summed up, carried by a notebook, and shown in the run box."""

from __future__ import annotations

import pytest

from helpers import latency
from helpers.latency import MIME, Stopwatch
from helpers.project import Chapter, UsageError
from helpers.publishing import pages
from helpers.publishing.records import Record


def test_median_and_95th_percentile_by_part() -> None:
    watch = Stopwatch()
    for number in range(1, 101):
        watch.add("search", number / 1000)
    watch.add("read", 2.0)
    assert watch.as_data() == [
        {"part": "search", "calls": 100, "median_ms": 50.5, "p95_ms": 95.0},
        {"part": "read", "calls": 1, "median_ms": 2000.0, "p95_ms": 2000.0},
    ]


def test_what_ends_in_an_error_is_not_counted() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="no"), watch.time("part"):
        raise ValueError("no")
    with watch.time("part"):
        pass
    assert len(watch.seconds("part")) == 1
    with pytest.raises(UsageError, match="Timed so far: part"):
        watch.seconds("other")


def test_a_notebook_carries_them() -> None:
    watch = Stopwatch()
    watch.add("a <part>", 0.25)
    bundle = watch._repr_mimebundle_()
    notebook = {"cells": [{"outputs": [{"data": bundle}, {"text": "x"}]}, {"source": ""}]}
    assert latency.read(notebook) == bundle[MIME] == watch.as_data()
    assert "250" in bundle["text/plain"]
    assert "a &lt;part&gt;" in bundle["text/html"]


def test_the_run_box_shows_them() -> None:
    chapter = Chapter("part", "slug", "Title", "key", "paper", "idea")
    row = {"part": "a <part>", "calls": 3, "median_ms": 1.25, "p95_ms": 9.0}
    shown = pages.about_run(Record(chapter, "quick", run={}, latency=(row,)))
    assert '<th scope="row">a &lt;part&gt;</th><td>1.25</td><td>9</td><td>3</td>' in shown
    assert "Latency" not in pages.about_run(Record(chapter, "quick", run={}))

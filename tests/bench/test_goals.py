"""The workloads run and judge; how fast anything is, is not looked at here."""

from pathlib import Path

import pytest

from tests.bench.arena import Arena, Figure
from tests.bench.flat import flat
from tests.bench.goals import WORKLOADS
from tests.bench.latency import resume
from tests.bench.throughput import fan_out, maps


@pytest.mark.parametrize(
    ("value", "goal", "passed"),
    [(3.0, ">= 2", True), (1.0, ">= 2", False), (1.0, "<= 2", True), (3.0, "<= 2", False), (3.0, "", None)],
)
def test_a_figure_is_held_against_its_goal(value: float, goal: str, passed: bool | None) -> None:
    assert Figure("x", value, goal).passed is passed


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_says_what_it_measures(name: str) -> None:
    assert WORKLOADS[name].__doc__


def test_fan_out_and_resume_run_on_any_server(server: str) -> None:
    arena = Arena(server, version="any", programs=Path("/"), scale=0.01)
    assert all(figure.value > 0 for figure in [*fan_out(arena), *resume(arena)])


@pytest.mark.long
def test_flat_and_maps_run_on_any_server(server: str) -> None:
    arena = Arena(server, version="any", programs=Path("/"), scale=0.002)
    assert all(figure.value > 0 for figure in [*flat(arena), *maps(arena)])

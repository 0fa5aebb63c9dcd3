"""The graphs of the demos on the engine, with their real tools and data but without any worker process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from demos.data_quality import rules
from demos.persistence_approval.tools import masses_of
from pgorch import Context, Graph
from pgorch.tool import Registry, load_app
from tests.support.engine import Engine, Step

DEMOS = Path(rules.__file__).parent.parent
NAMES = ("data_quality", "persistence_approval", "wire_transfer", "saga", "agent")
LOOPS = "load" + " profile clean" * 3 + " profile"


@pytest.fixture
def engine(connection: Connection[DictRow], database: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("PGORCH_DSN", database)
    return Engine(connection)


def registry(demo: str) -> Registry:
    return load_app(f"demos.{demo}.tools")


def definition(demo: str) -> Any:
    return json.loads((DEMOS / demo / "graph.json").read_text())


def performing(demo: str, engine: Engine) -> dict[str, Callable[[Step], Any]]:
    """The demo's tools, as the engine's driver calls them."""
    tools = registry(demo)

    def perform(step: Step) -> Any:
        assert step.run_id is not None
        assert step.attempt is not None
        assert step.born is not None
        context = Context(
            run_id=step.run_id,
            node=str(step.node),
            step_id=step.step_id,
            attempt=step.attempt,
            born=step.born,
            lease_token=step.lease_token,
            open_connection=engine.connection,
        )
        tool = tools[str(step.tool)]
        with engine.connection.transaction():
            return tool.function(**tool.bind(step.input, step.state, context))

    return dict.fromkeys(tools, perform)


def started(engine: Engine, demo: str, input: dict[str, Any]) -> Any:
    engine.register(*registry(demo).definitions())
    run_id = engine.start(engine.graph(definition(demo)), input)
    engine.run(performing(demo, engine))
    return run_id


@pytest.mark.parametrize(
    ("threshold", "rounds", "quality"),
    [(0.8, 0, 0.8379), (0.9, 1, 0.9463), (0.95, 2, 0.9921), (0.995, 3, 0.9954)],
)
def test_the_loop_goes_round_until_the_quality_is_good_enough(
    engine: Engine, threshold: float, rounds: int, quality: float
) -> None:
    run_id = started(engine, "data_quality", {"threshold": threshold})
    assert engine.order(run_id) == "load" + " profile clean" * rounds + " profile"
    assert engine.status(run_id) == "awaiting_approval"
    [approval] = engine.approvals(run_id)
    assert approval["show"]["quality"] == quality
    assert len(approval["show"]["report"]) == rounds


def test_approved_birds_are_published_and_those_of_before_replaced(engine: Engine) -> None:
    for _ in range(2):
        run_id = started(engine, "data_quality", {"threshold": 0.995})
        engine.approve(run_id)
        engine.run(performing("data_quality", engine))
        assert engine.order(run_id) == f"{LOOPS} approve publish"
        assert engine.status(run_id) == "completed"
        assert engine.state(run_id)["published"] == 342
        assert engine.rows("select distinct run_id from penguins.birds") == [{"run_id": run_id}]
    assert engine.value("select count(*) from penguins.birds") == 342
    assert engine.value("select count(*) from penguins.working") == 0
    species = engine.rows(
        "select species, sex, count(*) as n, round(avg(body_mass_g)) as grams from penguins.birds"
        " group by species, sex order by species, sex"
    )
    assert [(row["species"], row["sex"], row["n"], row["grams"]) for row in species] == [
        ("Adelie", "female", 74, 3364),
        ("Adelie", "male", 73, 4043),
        ("Adelie", None, 4, 3681),
        ("Chinstrap", "female", 34, 3527),
        ("Chinstrap", "male", 34, 3939),
        ("Gentoo", "female", 62, 4674),
        ("Gentoo", "male", 61, 5485),
    ]


def test_data_that_three_rounds_cannot_mend_takes_the_else_branch(engine: Engine) -> None:
    run_id = started(engine, "data_quality", {"threshold": 0.999})
    assert engine.order(run_id) == f"{LOOPS} quarantine"
    assert engine.status(run_id) == "completed"
    [kept] = engine.rows("select run_id, quality, jsonb_array_length(birds) as n from penguins.quarantine")
    assert (kept["run_id"], float(kept["quality"]), kept["n"]) == (run_id, 0.9954, 342)
    assert engine.value("select count(*) from penguins.birds") == 0


def test_rejected_data_goes_to_quarantine(engine: Engine) -> None:
    run_id = started(engine, "data_quality", {"threshold": 0.8})
    engine.reject(run_id)
    engine.run(performing("data_quality", engine))
    assert engine.order(run_id) == "load profile approve quarantine"
    assert engine.state(run_id)["outcome"] == "quarantined"


def test_a_source_outside_the_folder_is_refused(engine: Engine) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file \.\./rules\.py"):
        started(engine, "data_quality", {"source": "../rules.py"})


def test_an_estimate_waits_for_its_release_and_is_published_once(engine: Engine) -> None:
    run_id = started(engine, "persistence_approval", {"species": "Gentoo", "seconds": 0})
    estimate = engine.state(run_id)["estimate"]
    assert (estimate["birds"], estimate["mean_g"]) == (123, 5076)
    assert estimate["low_g"] < 5076 < estimate["high_g"]
    assert engine.approvals(run_id)[0]["title"] == "Publish that Gentoo penguins weigh 5076 g?"
    assert engine.rows("select run_id, attempt from estimates.attempts") == [{"run_id": run_id, "attempt": 1}]
    engine.approve(run_id)
    engine.run(performing("persistence_approval", engine))
    assert engine.order(run_id) == "estimate release publish"
    assert engine.rows("select run_id, species from estimates.published") == [
        {"run_id": run_id, "species": "Gentoo"}
    ]


def test_an_estimate_that_is_not_released_fails_its_run(engine: Engine) -> None:
    run_id = started(engine, "persistence_approval", {"species": "Adelie", "seconds": 0})
    engine.reject(run_id)
    engine.run(performing("persistence_approval", engine))
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "Withdrawn"
    assert engine.value("select count(*) from estimates.published") == 0


def test_a_species_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no Emperor penguins in the table, only Adelie, Chinstrap, Gentoo"):
        masses_of("Emperor")


@pytest.mark.parametrize("demo", NAMES)
def test_graphs_and_tools_fit_each_other(demo: str) -> None:
    tools = registry(demo)
    graph = Graph.from_json((DEMOS / demo / "graph.json").read_text()).to_json()
    named = {node[key] for node in graph["nodes"] for key in ("function", "compensate") if key in node}
    assert named == set(tools)
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.parameters)
        assert tool.description

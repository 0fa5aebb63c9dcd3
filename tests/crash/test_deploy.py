"""A deploy: every process stops, the code is another and has another name, the graphs have new versions."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew, crew_at
from tests.support.engine import definition

RUNS = 1000
PARKING = {
    "by_approval": {"id": "park", "type": "approval", "title": "Go on with ${$.prepared_by}?"},
    "by_timer": {"id": "park", "type": "wait", "for": "3 days"},
    "by_signal": {"id": "park", "type": "wait", "signal": "go"},
}
OLD_CODE = """
from pgorch import Registry

registry = Registry()


@registry.tool
async def prepare(number: int) -> dict[str, str]:
    return {"prepared_by": f"old code, {number}"}


@registry.tool
def finish(prepared_by: str) -> dict[str, str]:
    return {"finished_by": "old code"}
"""
# Another module, other names of the functions, a tool that is sync now, one that writes, and a new one.
NEW_CODE = """
from pgorch import Context, tool


@tool(name="prepare")
def make_ready(number: int) -> dict[str, str]:
    return {"prepared_by": f"new code, {number}"}


@tool(name="finish", transactional=True, retry={"max_attempts": 3})
def complete(prepared_by: str, ctx: Context) -> dict[str, str]:
    ctx.connection.execute("insert into payments (run_id) values (%s)", (ctx.run_id,))
    return {"finished_by": "new code"}


@tool
def check(finished_by: str) -> dict[str, bool]:
    return {"checked": True}
"""


@pytest.fixture
def crew(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Crew]:
    migrate(own_server.dsn)
    with crew_at(own_server.dsn, tmp_path) as crew:
        yield crew


def old_version(name: str) -> dict[str, Any]:
    return definition(["prepare", PARKING[name], "finish"], ["prepare>park", "park>finish"], name=name)


def new_version(name: str) -> dict[str, Any]:
    """Checks what was finished, and parks nowhere."""
    return definition(["prepare", "finish", "check"], ["prepare>finish", "finish>check"], name=name)


def create(crew: Crew, graph: dict[str, Any]) -> str:
    row = crew.connection.execute(
        "select graph_id, version from pgorch.create_graph(%s)", [Jsonb(graph)]
    ).fetchone()
    assert row is not None
    return f"{graph['name']}@{row['version']}"


def statuses(crew: Crew) -> Counter[str]:
    rows = crew.connection.execute("select status, count(*) as n from pgorch.runs group by 1").fetchall()
    return Counter({row["status"]: row["n"] for row in rows})


def test_a_deploy_strands_none_of_1000_runs(crew: Crew, own_server: EmbeddedServer, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "shop.py").write_text(OLD_CODE)
    workers = [crew.launch(app="shop:registry", directory=code) for _ in range(2)]
    for at, name in enumerate(PARKING):
        numbers = range(at, RUNS, len(PARKING))
        crew.value(
            "select cardinality(pgorch.start_many(%s, %s))",
            create(crew, old_version(name)),
            [Jsonb({"number": number}) for number in numbers],
        )
    crew.until(lambda: statuses(crew) == {"awaiting_approval": 334, "waiting": 666})

    workers[0].terminate()
    workers[1].kill()
    for worker in workers:
        worker.wait(20)
    crew.connection.close()
    own_server.stop()
    (code / "shop.py").unlink()
    (code / "trade").mkdir()
    (code / "trade" / "__init__.py").touch()
    (code / "trade" / "steps.py").write_text(NEW_CODE)
    own_server.start()
    crew.reconnect()
    assert statuses(crew) == {"awaiting_approval": 334, "waiting": 666}

    for _ in range(2):
        crew.launch(app="trade.steps", directory=code)
    new = [create(crew, new_version(name)) for name in PARKING]
    assert new == [f"{name}@2" for name in PARKING]
    crew.value("select count(pgorch.approve(run_id)) from pgorch.waiting_approvals")
    crew.value(
        "select count(pgorch.signal(r.run_id, 'go')) from pgorch.run_list r where r.graph = 'by_signal'"
    )
    crew.value("select pgorch.set_clock('3 days')")
    crew.until(lambda: statuses(crew) == {"completed": RUNS})

    runs = crew.connection.execute(
        """
        select r.graph, r.version, r.state, array_agg(h.node order by h.seq) filter (
                   where h.kind in ('step_completed', 'approval_decided')) as way
        from pgorch.run_list r join pgorch.run_history h using (run_id)
        group by r.run_id, r.graph, r.version, r.state
        """
    ).fetchall()
    assert {(run["graph"], run["version"], *run["way"]) for run in runs} == {
        (name, 1, "prepare", "park", "finish") for name in PARKING
    }
    assert Counter((run["state"]["prepared_by"], run["state"]["finished_by"]) for run in runs) == {
        (f"old code, {number}", "new code"): 1 for number in range(RUNS)
    }
    assert crew.value("select count(distinct run_id) = 1000 and count(*) = 1000 from payments")

    (later,) = crew.value("select pgorch.start_many('by_timer', %s)", [Jsonb({"number": 1})])
    run = crew.ended(later)
    assert (run["version"], run["status"], run["state"]["checked"]) == (2, "completed", True)

"""Schedules, with a clock that a test sets and a worker that it plays."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from pgorch.cron import times_to_fire
from tests.support.emptied import connection, database, engine, fresh_database
from tests.support.engine import Engine, named
from tests.support.invariants import violations

__all__ = ["connection", "database", "engine", "fresh_database"]

ASK = {"name": "report", "nodes": [{"id": "ask", "type": "approval"}], "edges": [], "start_node": "ask"}


def at(text: str, zone: str = "UTC") -> datetime:
    """A time as people of the zone write it."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def brief(times: Sequence[datetime]) -> str:
    """Times in UTC as "25 02:00, 26 02:00"."""
    return ", ".join(f"{time.astimezone(UTC):%d %H:%M}" for time in times)


class Place:
    """A database, and a worker on a connection to it, as far as schedules go."""

    def __init__(self, connection: Connection[DictRow]) -> None:
        self.connection = connection
        self.engine = Engine(connection)

    def it_is(self, now: datetime | str, zone: str = "UTC") -> None:
        """Sets the engine's clock."""
        if isinstance(now, str):
            now = at(now, zone)
        self.connection.execute("select pgorch.set_clock(%s - clock_timestamp())", [now])

    def create(
        self, name: str = "nightly", cron: str = "0 2 * * *", graph: str = "report", **options: Any
    ) -> bool:
        """Options are the parameters of create_schedule() without p_."""
        arguments: dict[str, Any] = {"p_name": name, "p_graph": graph, "p_cron": cron}
        arguments |= {f"p_{n}": Jsonb(v) if n in ("input", "labels") else v for n, v in options.items()}
        return bool(self.value(f"select pgorch.create_schedule({named(arguments)})", *arguments.values()))

    def look(self, most: int = 100) -> list[str]:
        """What a worker does when it looks: fires what is due until nothing is. Returns what came of it."""
        outcomes = []
        while found := self.look_once(most):
            outcomes += found
        return outcomes

    def look_once(self, most: int = 100) -> list[str]:
        due = [row for row in self.rows("select * from pgorch.due_schedules()") if row["due_in"] <= 0]
        return [self.fire(row, most) for row in due]

    def fire(self, row: DictRow, most: int = 100) -> str:
        times = times_to_fire(row["cron"], row["time_zone"], row["after"], row["until"], most)
        fire = "select pgorch.fire_schedule(%s, %s, %s)"
        return str(self.value(fire, row["name"], row["turn"], times))

    def day(self, *times: datetime | str, zone: str = "UTC") -> None:
        """The clock goes from time to time, and a worker looks at each."""
        for time in times:
            self.it_is(time, zone)
            self.look()

    def schedule(self, name: str = "nightly") -> dict[str, Any]:
        row: dict[str, Any] = self.rows("select * from pgorch.schedules where name = %s", name)[0]
        return row

    def firings(self, name: str = "nightly") -> list[tuple[str, str]]:
        """Due time (UTC) and outcome, oldest first."""
        rows = self.rows("select * from pgorch.schedule_firings where schedule = %s order by id", name)
        return [(brief([row["due"]]), row["outcome"]) for row in rows]

    def runs(self) -> list[DictRow]:
        return self.rows("select * from pgorch.run_list order by run_id")

    def end(self, run_id: Any) -> None:
        self.engine.approve(run_id)

    def value(self, query: str, *parameters: Any) -> Any:
        return self.engine.value(query, *parameters)

    def rows(self, query: str, *parameters: Any) -> list[DictRow]:
        return self.engine.rows(query, *parameters)


@pytest.fixture
def place(connection: Connection[DictRow]) -> Iterator[Place]:
    """It knows the graph `report`, whose runs wait for a decision. The invariants hold at a test's end."""
    place = Place(connection)
    place.engine.graph(ASK)
    yield place
    assert violations(connection) == {}

"""Where an outage is played: a database, worker and API processes, what they did outside, and what holds."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from tests.outages.cluster import free_port
from tests.outages.tools import SINK, registry
from tests.support.engine import chain, definition, value_of
from tests.support.invariants import violations

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0
# The lease of RELIABILITY.md's figures. Workers of tests that wait for its end have a shorter one.
CHAIN = "step effect pay last"


class Ground:
    """`dsn` is how the test itself reaches the database; workers and APIs may go another way."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.directory = directory
        self.sink = directory / "sink"
        self.sink.touch()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connection: Connection[DictRow] | None = None

    # The test's own view ----------------------------------------------------------------------------

    @property
    def db(self) -> Connection[DictRow]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self.dsn, autocommit=True, row_factory=dict_row, application_name="test"
            )
        return self._connection

    def prepare(self) -> str:
        """Makes tools and tables known, and a graph that goes through every kind of tool; its id."""
        self.db.execute("create table payments (run_id uuid)")
        self.value("select pgorch.register_tools(%s)", Jsonb(registry.definitions()))
        return self.create(chain(CHAIN))

    def create(self, graph: Mapping[str, Any]) -> str:
        return str(self.value("select graph_id from pgorch.create_graph(%s)", Jsonb(dict(graph))))

    def graph(self, nodes: Any, edges: Any = (), **more: Any) -> str:
        return self.create(definition(nodes, edges, **more))

    def start(self, graph: str, count: int = 1, input: Mapping[str, Any] | None = None) -> list[UUID]:
        found = self.value("select pgorch.start_many(%s, %s)", graph, [Jsonb(dict(input or {}))] * count)
        assert isinstance(found, list)
        return found

    def value(self, query: str, *parameters: Any) -> Any:
        return value_of(self.db, query, *parameters)

    def rows(self, query: str, *parameters: Any) -> list[DictRow]:
        return self.db.execute(query.encode(), parameters).fetchall()

    def run(self, run_id: UUID) -> dict[str, Any]:
        document = self.value("select pgorch.run_document(%s)", run_id)
        assert isinstance(document, dict)
        return document

    def unfinished(self) -> int:
        return int(self.value("select count(*) from pgorch.runs where finished_at is null"))

    def done(self) -> int:
        """How many steps have been completed, in all runs together."""
        return int(self.value("select count(*) from pgorch.history where kind = 'step_completed'"))

    def lost_attempts(self) -> int:
        return int(self.value("select count(*) from pgorch.history where kind = 'attempt_lost'"))

    def reconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def until(self, holds: Callable[[], Any], seconds: float = DEADLINE_SECONDS, what: str = "") -> float:
        """Returns how many seconds it took. What the database cannot answer just now does not hold yet."""
        began = time.monotonic()
        while True:
            try:
                if holds():
                    return time.monotonic() - began
            except psycopg.OperationalError:
                self.reconnect()
            assert time.monotonic() < began + seconds, f"not in time: {what}\n{self.logs()}"
            time.sleep(0.03)

    def all_ended(self, seconds: float = DEADLINE_SECONDS) -> float:
        return self.until(lambda: self.unfinished() == 0, seconds, "all runs have ended")

    def all_ended_but(self, *run_ids: UUID) -> float:
        left = "select count(*) from pgorch.runs where finished_at is null and id <> all (%s)"
        return self.until(lambda: self.value(left, list(run_ids)) == 0, what="all other runs have ended")

    def effects(self, what: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.sink.read_text().splitlines()]
        return [line for line in lines if what in (None, line["what"])]

    # Processes --------------------------------------------------------------------------------------

    def worker(
        self,
        dsn: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        wrap: Sequence[str] = (),
        wait: bool = True,
        **timing: Any,
    ) -> subprocess.Popen[bytes]:
        """Starts a worker process; returns when it is enlisted."""
        name = f"worker-{len(self._processes)}"
        command = [*wrap, sys.executable, "-m", "tests.outages.work", dsn or self.dsn, name,
                   json.dumps(timing)]  # fmt: skip
        process = self._launch(command, name, environment)
        if wait:
            self.until(
                lambda: self.value("select count(*) from pgorch._worker_leases where name = %s", name),
                what=f"{name} is enlisted",
            )
        return process

    def api(self, dsn: str | None = None, *, wait: bool = True, key: bool = False) -> "Api":
        """Starts an API process; returns when it answers, and with `wait` is ready."""
        api = Api(free_port())
        command = [sys.executable, "-m", "pgorch", "serve", "--port", str(api.port), "--dsn",
                   dsn or self.dsn]  # fmt: skip
        if key:
            api.key = self.value("select k.key from pgorch.create_key('ada', '{admin}') k")
        else:
            command.append("--no-auth")
        self._launch(command, f"api-{len(self._processes)}")
        self.until(lambda: api.status("/readyz" if wait else "/livez") == 200, what="the API answers")
        return api

    def _launch(
        self, command: Sequence[str], name: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, SINK: str(self.sink), **(environment or {})},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._processes.append(process)
        return process

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        return list(self._processes)

    def logs(self) -> str:
        files = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def log_lines(self, text: str) -> int:
        """How many lines of the processes' logs have this text."""
        return sum(
            text in line
            for file in self.directory.glob("*.log")
            for line in file.read_text(errors="replace").splitlines()
        )

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(20)
        self.reconnect()

    # What must hold ---------------------------------------------------------------------------------

    def check(self, *, except_for: Sequence[str] = ()) -> None:
        """The invariants of the database; payments are made once for each step that says so."""
        found = {name: rows for name, rows in violations(self.db).items() if name not in except_for}
        assert found == {}, found
        wrong = self.rows(
            "select run_id, count(*) filter (where kind = 'paid') as paid,"
            " count(*) filter (where kind = 'said') as said"
            " from (select run_id, 'paid' as kind from payments"
            " union all select h.run_id, 'said' from pgorch.history h"
            " where h.node = 'pay' and h.kind = 'step_completed') t"
            " group by run_id having count(*) filter (where kind = 'paid')"
            " <> count(*) filter (where kind = 'said')"
        )
        assert wrong == [], f"I17: {wrong[:10]}"
        self.check_effects()

    def check_effects(self) -> None:
        """I18: an effect for each success, and no two effects under one token."""
        effects = self.effects("effect")
        # One number serves the steps that were claimed together; for each of them it is another claim's.
        claims = Counter((effect["key"], effect["token"]) for effect in effects)
        twice = [claim for claim, count in claims.items() if count > 1]
        assert twice == [], f"I18: two effects of one claim: {twice[:6]}"
        seen = {effect["run"] for effect in effects}
        succeeded = self.rows("select run_id from pgorch.history where node = 'effect'"
                              " and kind = 'step_completed'")  # fmt: skip
        assert [row for row in succeeded if str(row["run_id"]) not in seen] == [], "I18: success, no effect"


class Api:
    """One API process, as its callers see it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def status(self, path: str, timeout: float = 30) -> int:
        """0: no answer."""
        request = urllib.request.Request(self.url + path, headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

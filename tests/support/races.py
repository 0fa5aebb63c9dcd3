"""Two sessions in a known order: one holds a lock, the other is seen waiting, then the first goes on."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from tests.support.databases import direct

DEADLINE_SECONDS = 30.0


def open_connection(dsn: str, autocommit: bool = True) -> psycopg.Connection[DictRow]:
    return psycopg.connect(direct(dsn), autocommit=autocommit, row_factory=dict_row)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


class Rival:
    """A statement that runs in a session of its own, beside the test: in a new one, or in `connection`, which
    stays open."""

    def __init__(
        self,
        dsn: str,
        query: str,
        *parameters: Any,
        connection: psycopg.Connection[DictRow] | None = None,
    ) -> None:
        self._dsn = dsn
        self._closes = connection is None
        self._connection = connection or open_connection(dsn)
        self._rows: list[dict[str, Any]] = []
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._execute, args=(query, parameters), daemon=True)
        self._thread.start()

    def _execute(self, query: str, parameters: tuple[Any, ...]) -> None:
        try:
            self._rows = self._connection.execute(query.encode(), parameters).fetchall()
        except psycopg.Error as problem:
            self._problem = problem
        finally:
            if self._closes:
                self._connection.close()

    def wait_until_blocked(self) -> None:
        """Returns once the statement waits for a lock that another session holds."""
        assert self.waits(), f"it did not wait: {self._problem or self._rows}"

    def waits(self) -> bool:
        """Does the statement wait for a lock that another session holds, or is it done without? Returns once
        one of the two is seen."""
        pid = self._connection.info.backend_pid
        query = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        seen = False
        with open_connection(self._dsn) as observer:

            def either() -> bool:
                nonlocal seen
                seen = observer.execute(query, [pid]).fetchone() is not None
                return seen or not self._thread.is_alive()

            wait_until(either)
        return seen

    def rows(self) -> list[dict[str, Any]]:
        """What the statement returned; raises what it raised."""
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "the rival still runs"
        if self._problem is not None:
            raise self._problem
        return self._rows

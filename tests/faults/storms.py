"""Sessions of the workers that are ended or interrupted from the server, again and again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

_WORKERS = (
    "from pg_stat_activity a where a.datname = current_database()"
    " and a.application_name like 'pgorch worker ' || %s and a.pid <> pg_backend_pid()"
)


@dataclass
class Storm:
    """How many sessions it hit, by purpose."""

    hits: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.hits.values())


@contextmanager
def storm(
    dsn: str, function: str, purpose: str = "%", every: float = 0.2, share: float = 0.3
) -> Iterator[Storm]:
    """While the block runs: every `every` seconds a share of the workers' sessions of a purpose is given to
    `function`, pg_terminate_backend or pg_cancel_backend. The Storm counts."""
    over = threading.Event()
    seen = Storm()
    query = (
        f"select substr(a.application_name, 15) as purpose, {function}(a.pid) as hit {_WORKERS}"
        " and random() < %s"
    )

    def blow() -> None:
        with psycopg.connect(dsn, autocommit=True, application_name="storm") as connection:
            while not over.wait(every):
                for name, hit in connection.execute(query.encode(), [purpose, share]).fetchall():
                    seen.hits[name] = seen.hits.get(name, 0) + hit

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(20)


def sessions_opened(connection: psycopg.Connection[dict[str, object]]) -> int:
    """How many sessions this database has had in all, as the server counts them."""
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    query = "select sessions from pg_stat_database where datname = current_database()"
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(str(row["sessions"]))

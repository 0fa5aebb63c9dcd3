"""Which statements inside advance() cost what, by pg_stat_statements with track = all.

Its times are those of executing: planning, starting and ending an executor, and what the interpreter of
plpgsql does are in no statement's time of their own, but in that of the statement that called the function.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pgorch.cli.session import Session

_CALL = re.compile(r"pgorch\.(\w+)\s*\(")


@dataclass
class Statement:
    """One statement of a function, with what it costs per step of the workload."""

    function: str
    text: str
    calls: float
    micros: float
    """Its own time and that of what it calls."""
    wal_bytes: float
    inner: list["Statement"] = field(default_factory=list)

    @property
    def own(self) -> float:
        """Microseconds without the statements that it calls."""
        return self.micros - sum(statement.micros for statement in self.inner)


def reset(db: Session) -> None:
    db.connection.execute("select pg_stat_statements_reset()")


def statements(db: Session, steps: int, entry: str = "advance") -> Statement | None:
    """The client's call of the function `entry` since `reset`, as a tree; None if there was none."""
    rows = db.rows(
        "select s.query, s.toplevel, s.calls::float8, s.total_exec_time::float8, s.wal_bytes::float8"
        " from pg_stat_statements s where s.dbid = (select d.oid from pg_database d"
        " where d.datname = current_database()) and s.calls > 0"
    )
    sources = {
        row["proname"]: _squeezed(row["prosrc"])
        for row in db.rows(
            "select p.proname, p.prosrc from pg_proc p where p.pronamespace = 'pgorch'::regnamespace"
        )
    }
    found: dict[str, list[Statement]] = {}
    root = None
    for row in rows:
        text = _squeezed(row["query"])
        statement = Statement(
            "", text, row["calls"] / steps, row["total_exec_time"] * 1000 / steps, row["wal_bytes"] / steps
        )
        if row["toplevel"]:
            if entry in _CALL.findall(text) and (root is None or statement.micros > root.micros):
                root = statement
        else:
            statement.function = _function_of(text, sources)
            found.setdefault(statement.function, []).append(statement)
    if root is not None:
        _hang(root, found, sources, set())
    return root


def lines(statement: Statement, depth: int = 0) -> Iterator[str]:
    """A table: calls per step, microseconds per step with and without the calls inside, and what it is."""
    if depth == 0:
        yield f"{'calls/step':>10} {'us/step':>9} {'own us':>9} {'WAL B':>7}  statement"
    what = f"{statement.function}: " if statement.function else ""
    yield (
        f"{statement.calls:10.4f} {statement.micros:9.2f} {statement.own:9.2f} {statement.wal_bytes:7.0f}  "
        f"{'  ' * depth}{what}{_short(statement.text)}"
    )
    for inner in sorted(statement.inner, key=lambda one: -one.micros):
        yield from lines(inner, depth + 1)


def _hang(
    statement: Statement, found: dict[str, list[Statement]], sources: dict[str, str], seen: set[str]
) -> None:
    for function in _CALL.findall(statement.text):
        for inner in _direct(function, found, sources, seen):
            statement.inner.append(inner)
    for inner in statement.inner:
        _hang(inner, found, sources, seen)


def _direct(
    function: str, found: dict[str, list[Statement]], sources: dict[str, str], seen: set[str]
) -> list[Statement]:
    """The statements of a function, and of those that it calls in expressions, which are no statements."""
    if function in seen or function not in sources:
        return []
    seen.add(function)
    own = found.get(function, [])
    within = {name for statement in own for name in _CALL.findall(statement.text)}
    others = [name for name in dict.fromkeys(_CALL.findall(sources[function])) if name not in within]
    return own + [statement for name in others for statement in _direct(name, found, sources, seen)]


def _function_of(text: str, sources: dict[str, str]) -> str:
    """The function whose source has the statement. Constants are $n there, and INTO is gone from it."""
    for chunk in _chunks(text):
        having = [name for name, source in sources.items() if chunk in source]
        if len(having) == 1:
            return having[0]
    return "?"


def _chunks(text: str) -> Iterable[str]:
    parts = [piece.strip() for part in re.split(r"\$\d+", text) for piece in (part, *part.split(" from "))]
    return sorted(
        (part.removeprefix("select ").removeprefix("SELECT ") for part in parts), key=len, reverse=True
    )


def _squeezed(text: str) -> str:
    return " ".join(re.sub(r"--[^\n]*", "", text).split())


def _short(text: str) -> str:
    return text if len(text) <= 90 else text[:87] + "..."

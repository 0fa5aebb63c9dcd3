"""The schema: its version, its indexes, the partitions of the history, and how well it is vacuumed."""

import re

from pgorch.database.migrations import check_schema
from pgorch.database.sql_files import SqlFile, sql_files
from pgorch.doctor.finding import Ask, Finding, worst
from pgorch.errors import NotAllowed, SchemaMismatch


def schema(ask: Ask) -> Finding:
    """Not there, older, newer, or changed by hand: the sentence says which."""
    try:
        check_schema(ask.connection)
    except SchemaMismatch as error:
        return Finding("schema", "problem", str(error), error.hint or "pgorch migrate")
    except NotAllowed as error:
        return Finding("schema", "unknown", str(error), "Ask as the owner of the schema.")
    newest = ask.value("select max(m.name) from pgorch.migrations m")
    return Finding("schema", "ok", f"is that of this version ({newest})")


def made_indexes(files: tuple[SqlFile, ...]) -> dict[str, str]:
    """The indexes that the migrations make: name, and a statement that makes it again."""
    made: dict[str, str] = {}
    for file in files:
        text = re.sub(r"--[^\n]*", "", file.text)
        for statement in text.split(";"):
            made |= _of_statement(" ".join(statement.split()))
            for dropped in re.findall(r"\bdrop index (?:if exists )?pgorch\.(\w+)", statement):
                made.pop(dropped, None)
            for dropped in re.findall(r"\bdrop table (?:if exists )?pgorch\.(\w+)", statement):
                made = {name: sql for name, sql in made.items() if f" pgorch.{dropped} " not in sql}
    return made


def _of_statement(statement: str) -> dict[str, str]:
    index = re.match(r"create (unique )?index (\w+) on (.*)", statement)
    if index:
        return {index[2]: f"create {index[1] or ''}index concurrently {index[2]} on {index[3]}"}
    table = re.match(r"create table pgorch\.(\w+) \((.*)\)", statement)
    if not table:
        return {}
    made: dict[str, str] = {}
    name, body = table[1], table[2]
    for kind, columns in re.findall(r"\b(primary key|unique) \(([\w, ]+)\)", body):
        made |= _constraint(name, kind, columns)
    for column, kind in re.findall(
        r"(\w+) [\w.\[\]]+(?: not null| default [^,]+?)* (primary key|unique)\b(?! \()", body
    ):
        made |= _constraint(name, kind, column)
    return made


def _constraint(table: str, kind: str, columns: str) -> dict[str, str]:
    end = "pkey" if kind == "primary key" else "_".join(columns.split(", ")) + "_key"
    name = f"{table}_{end}"
    return {name: f"alter table pgorch.{table} add constraint {name} {kind} ({columns})"}


def indexes(ask: Ask) -> list[Finding]:
    """What the migrations make, compared with what is there and may be used."""
    there = {
        row["name"]: row["usable"]
        for row in ask.rows(
            "select c.relname as name, i.indisvalid and i.indisready as usable from pg_index i"
            " join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = 'pgorch'"
        )
    }
    made = made_indexes(sql_files().migrations)
    findings = [
        Finding("indexes", "problem", f"{name} is missing: what it serves reads whole tables", statement)
        for name, statement in made.items()
        if name not in there
    ]
    findings += [
        Finding(
            "indexes",
            "problem",
            f"{name} is invalid: it is kept, and not used",
            f"reindex index concurrently pgorch.{name}",
        )
        for name, usable in there.items()
        if not usable
    ]
    return findings or [Finding("indexes", "ok", f"all {len(made)} of the migrations are there and valid")]


def partitions(ask: Ask) -> list[Finding]:
    """The week under way and the next must have one, or their rows go to the rest, which is never dropped."""
    missing = ask.rows(
        "select w.name from ("
        " select '_history_' || to_char(date_trunc('week', now(), 'UTC') at time zone 'UTC'"
        " + make_interval(weeks => n), 'IYYY\"w\"IW') as name from generate_series(0, 1) n) w"
        " where to_regclass('pgorch.' || quote_ident(w.name)) is null"
    )
    findings = []
    if missing:
        names = ", ".join(row["name"] for row in missing)
        found = f"the partition {names} is missing: workers make it once an hour, or none runs"
        findings.append(Finding("history", "warning", found, "select pgorch.maintain()"))
    if ask.value("select exists (select from pgorch._history_rest)"):
        found = (
            "_history_rest has rows, of weeks for which there was no partition: they are deleted row by row"
        )
        findings.append(Finding("history", "warning", found, "select pgorch.maintain()"))
    return findings or [Finding("history", "ok", "has its partitions")]


def dead_rows(ask: Ask) -> list[Finding]:
    """As the server counts them, without looking."""
    rows = ask.rows(
        "select s.relname, s.n_live_tup as live, s.n_dead_tup as dead from pg_stat_user_tables s"
        " where s.schemaname = 'pgorch' and s.n_dead_tup > 2 * s.n_live_tup + %s order by s.n_dead_tup desc",
        [ask.limits.dead_rows],
    )
    findings = [
        Finding(
            "dead rows", "warning",
            f"{row['relname']} has {row['dead']:,} dead rows beside {row['live']:,}: vacuum does not keep up",
            f"vacuum (verbose) pgorch.{row['relname']}",
        )
        for row in rows
    ]  # fmt: skip
    return worst(findings) or [Finding("dead rows", "ok", "vacuum keeps up")]

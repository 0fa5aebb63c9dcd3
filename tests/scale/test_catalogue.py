"""What the catalogue of an installed database must look like, so that buckets can live on many servers."""

import re
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.scale.bucket_lint import HOT_TABLES

Rows = list[dict[str, Any]]

HOT = """
    select c.oid, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgorch' and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname = any (%(hot)s)
"""
INDEXES_WITHOUT_BUCKET = f"""
    select h.relname as "table", i.indexrelid::regclass::text as index
    from ({HOT}) h join pg_index i on i.indrelid = h.oid
    left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where a.attname is distinct from 'bucket'
      -- Asked for all buckets at once, by a trigger on a user's table.
      and i.indexrelid <> 'pgorch.row_waits_of_row'::regclass
"""
WITHOUT_PRIMARY_KEY = f"""
    select h.relname as "table" from ({HOT}) h
    where not exists (select from pg_index i where i.indrelid = h.oid and i.indisprimary)
"""
NULLABLE_BUCKETS = f"""
    select h.relname as "table" from ({HOT}) h
    where not exists (
        select from pg_attribute a where a.attrelid = h.oid and a.attname = 'bucket' and a.attnotnull
          and a.atttypid in ('int4'::regtype, 'int2'::regtype) and a.attgenerated = '')
"""
TRIGGERS = f"""
    select h.relname as "table", t.tgname as trigger
    from ({HOT}) h join pg_trigger t on t.tgrelid = h.oid where not t.tgisinternal
"""
# Allowed: from a hot table to a definition table, or to another hot one with bucket on both sides.
WRONG_FOREIGN_KEYS = """
    select c.conrelid::regclass::text as "table", c.conname as key
    from pg_constraint c
    join pg_class source on source.oid = c.conrelid
    join pg_class target on target.oid = c.confrelid
    join pg_namespace n on n.oid = source.relnamespace and n.nspname = 'pgorch'
    where c.contype = 'f' and c.conparentid = 0 and target.relname = any (%(hot)s)
      and (source.relname <> all (%(hot)s)
           or not exists (
               select from unnest(c.conkey, c.confkey) k(mine, theirs)
               join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.mine
               join pg_attribute b on b.attrelid = c.confrelid and b.attnum = k.theirs
               where a.attname = 'bucket' and b.attname = 'bucket'))
"""
TABLES_WITH_BUCKET = """
    select c.relname as "table" from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'bucket'
    where n.nspname = 'pgorch' and c.relkind in ('r', 'p') and not c.relispartition
"""
DEFINERS_WITHOUT_SEARCH_PATH = """
    select p.oid::regprocedure::text as function from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'pgorch' and p.prosecdef
      and not exists (select from unnest(p.proconfig) s(setting) where s.setting like 'search_path=%%')
"""
PUBLIC_FUNCTIONS_WITHOUT_COMMENT = r"""
    select p.oid::regprocedure::text as function from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'pgorch' and p.proname not like '\_%%' and obj_description(p.oid, 'pg_proc') is null
"""
OVERLOADED = """
    select p.proname as function from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'pgorch' group by p.proname having count(*) > 1
"""
VIEW_COLUMNS_WITHOUT_COMMENT = """
    select c.relname as view, a.attname as "column"
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = 'pgorch' and c.relkind = 'v' and col_description(c.oid, a.attnum) is null
"""
VIEWS_WITHOUT_COMMENT = """
    select c.relname as view from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgorch' and c.relkind = 'v' and obj_description(c.oid, 'pg_class') is null
"""
# Views over hot tables show the bucket, so that each row can be found again by its key.
VIEWS_WITHOUT_BUCKET = """
    select distinct v.view_name as view from information_schema.view_table_usage v
    where v.view_schema = 'pgorch' and v.table_name = any (%(hot)s) and v.view_name <> 'tool_list'
      and not exists (
          select from information_schema.columns c
          where c.table_schema = 'pgorch' and c.table_name = v.view_name and c.column_name = 'bucket')
"""

# Each rule with what breaks it.
RULES: dict[str, tuple[str, str]] = {
    "bucket is first in every index of a hot table": (
        INDEXES_WITHOUT_BUCKET,
        "create index on pgorch.steps (run_id, bucket)",
    ),
    "every hot table has a primary key": (
        WITHOUT_PRIMARY_KEY,
        "alter table pgorch._revocations drop constraint _revocations_pkey",
    ),
    "bucket is a plain number that is never null": (
        NULLABLE_BUCKETS,
        "alter table pgorch._revocations alter bucket type bigint",
    ),
    "hot tables have no triggers": (
        TRIGGERS,
        "create trigger t before update on pgorch.runs for each row"
        " execute function suppress_redundant_updates_trigger()",
    ),
    "nothing refers to a hot table without its bucket": (
        WRONG_FOREIGN_KEYS,
        "create unique index u on pgorch.approvals (id);"
        " alter table pgorch.steps add column a uuid references pgorch.approvals (id)",
    ),
    "functions with their owner's rights have a fixed search_path": (
        DEFINERS_WITHOUT_SEARCH_PATH,
        "create function pgorch.f() returns int security definer language sql as 'select 1'",
    ),
    "public functions have a comment": (
        PUBLIC_FUNCTIONS_WITHOUT_COMMENT,
        "create function pgorch.f() returns int language sql as 'select 1'",
    ),
    "no function has a second form": (
        OVERLOADED,
        "create function pgorch.start(p_graph text) returns int language sql as 'select 1'",
    ),
    "views have a comment": (VIEWS_WITHOUT_COMMENT, "create view pgorch.v as select 1 as x"),
    "columns of views have a comment": (
        VIEW_COLUMNS_WITHOUT_COMMENT,
        "create view pgorch.v as select 1 as x",
    ),
    "views over hot tables show the bucket": (
        VIEWS_WITHOUT_BUCKET,
        "create view pgorch.v as select id from pgorch.runs",
    ),
}


def found(connection: psycopg.Connection[DictRow], query: str) -> Rows:
    return connection.execute(query.encode(), {"hot": sorted(HOT_TABLES)}).fetchall()


@pytest.mark.parametrize("rule", RULES)
def test_the_catalogue_keeps_the_rule(connection: psycopg.Connection[DictRow], rule: str) -> None:
    query, violation = RULES[rule]
    assert found(connection, query) == []
    connection.execute(violation.encode())
    assert found(connection, query) != [], "the check does not see a violation"


def test_every_table_with_a_bucket_is_hot(connection: psycopg.Connection[DictRow]) -> None:
    assert {r["table"] for r in found(connection, TABLES_WITH_BUCKET)} == HOT_TABLES


# Types that are no keywords are found by the search path, when a session first calls the function.
_DECLARED = re.compile(
    r"^\s+[a-z_]\w*\s+(?:constant\s+)?([a-z_0-9]+)(?:\[\])?(?=\s*(?:;|:=|not null|default))", re.MULTILINE
)
_KEYWORDS = {"integer", "int", "bigint", "smallint", "boolean", "interval", "numeric"}


def test_declared_types_are_named_with_their_schema(connection: psycopg.Connection[DictRow]) -> None:
    """A statement of an SQL step can set search_path and then call a function of pgorch for the first time in
    a worker's session: a type named `jsonb` would be that of his schema, as long as the session lives."""
    found, seen = [], 0
    for row in connection.execute(
        "select p.proname, p.prosrc from pg_proc p join pg_language l on l.oid = p.prolang"
        " where p.pronamespace = 'pgorch'::regnamespace and l.lanname = 'plpgsql'"
    ):
        for part in re.findall(r"^\s*declare\s*$(.*?)^\s*begin\s*$", row["prosrc"], re.MULTILINE | re.DOTALL):
            seen += len(re.findall(r"pg_catalog\.", part))
            found += [(row["proname"], name) for name in _DECLARED.findall(part) if name not in _KEYWORDS]
    assert seen > 400
    assert found == []

"""What a schema consists of, so that two databases can be compared."""

import psycopg

_QUERIES = {
    "columns": """
        select format('%s.%s %s %s %s %s %s', c.relname, a.attname, a.attnum,
                      format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
                      pg_get_expr(d.adbin, d.adrelid))
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where c.relnamespace = 'pgorch'::regnamespace and a.attnum > 0 and not a.attisdropped""",
    "relations": """
        select format('%s %s %s %s %s', c.relname, c.relkind, c.reloptions,
                      pg_get_expr(c.relpartbound, c.oid), c.relacl)
        from pg_class c where c.relnamespace = 'pgorch'::regnamespace""",
    "constraints": """
        select format('%s %s %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid))
        from pg_constraint c where c.connamespace = 'pgorch'::regnamespace""",
    "indexes": "select i.indexdef from pg_indexes i where i.schemaname = 'pgorch'",
    "functions": """
        select format('%s %s', pg_get_functiondef(p.oid), p.proacl)
        from pg_proc p where p.pronamespace = 'pgorch'::regnamespace and p.prokind in ('f', 'p')""",
    "views": "select format('%s %s', v.viewname, v.definition) from pg_views v where v.schemaname = 'pgorch'",
    "enums": """
        select format('%s %s %s', e.enumtypid::regtype, e.enumsortorder, e.enumlabel) from pg_enum e
        join pg_type t on t.oid = e.enumtypid where t.typnamespace = 'pgorch'::regnamespace""",
    "triggers": """
        select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
        where c.relnamespace = 'pgorch'::regnamespace and not t.tgisinternal""",
    "comments": """
        select format('%s %s', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
        from pg_description d where pg_describe_object(d.classoid, d.objoid, d.objsubid) like '%pgorch.%'""",
    "settings": "select format('%s %s', s.name, s.value) from pgorch.settings s",
    "migrations": "select format('%s %s %s', m.number, m.name, m.digest) from pgorch.migrations m",
    "function files": "select format('%s %s %s', f.name, f.digest, f.version) from pgorch.function_files f",
}


def catalog(dsn: str) -> dict[str, list[str]]:
    """Everything in schema pgorch, as sorted texts by kind."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return {
            kind: sorted(str(row[0]) for row in connection.execute(query.encode()).fetchall())
            for kind, query in _QUERIES.items()
        }

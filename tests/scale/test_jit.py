"""Plans of the engine are never compiled."""

from psycopg import Connection
from psycopg.rows import DictRow


def test_where_a_kind_of_plan_is_forbidden_jit_is_off(connection: Connection[DictRow]) -> None:
    functions = connection.execute(
        """
        select p.proname, p.proconfig from pg_proc p
        where p.pronamespace = 'pgorch'::regnamespace
          and exists (select from unnest(p.proconfig) c(setting) where c.setting like 'enable\\_%')
        """
    ).fetchall()
    assert len(functions) > 10
    assert [f["proname"] for f in functions if "jit=off" not in f["proconfig"]] == []

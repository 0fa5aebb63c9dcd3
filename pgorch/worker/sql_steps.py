"""SQL steps: a built-in tool that every worker has. The statement runs in the transaction that records it."""

from typing import Any, LiteralString

from pgorch.tool import Context, Tool

_PERFORM: LiteralString = (
    "select pgorch.perform_sql(p_bucket => %s::int, p_step_id => %s::bigint, p_lease_token => %s::uuid)"
)
_TIMEOUT: LiteralString = "select set_config('statement_timeout', %s::text, true)"


def _perform(ctx: Context) -> Any:
    """Performs the statement of an SQL step, with the rights of its graph's owner."""
    remaining = ctx.remaining()
    if remaining is not None:
        ctx.connection.execute(_TIMEOUT, (max(1, round(remaining * 1000)),))
    row = ctx.connection.execute(_PERFORM, (ctx.run_id.bytes[15], ctx.step_id, ctx.lease_token)).fetchone()
    if remaining is not None:
        ctx.connection.execute(_TIMEOUT, (0,))
    return row[0]


SQL_STEP = Tool.of(_perform, name="pgorch.sql", transactional=True)

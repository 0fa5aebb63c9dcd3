"""The statements of SteeringQueries: as in statements.py, one for each function."""

from typing import Final, LiteralString

SIGNAL: Final[LiteralString] = """
select pgorch.signal(
    p_run_id => %(run_id)s::uuid, p_name => %(name)s::text, p_payload => %(payload)s::jsonb,
    p_idempotency_key => %(idempotency_key)s::text, p_actor => %(actor)s::text)
"""

CANCEL: Final[LiteralString] = """
select pgorch.cancel(
    p_run_id => %(run_id)s::uuid, p_reason => %(reason)s::text, p_actor => %(actor)s::text,
    p_compensate => %(compensate)s::boolean)
"""

PAUSE: Final[LiteralString] = "select pgorch.pause(p_run_id => %(run_id)s::uuid, p_actor => %(actor)s::text)"

RESUME: Final[LiteralString] = (
    "select pgorch.resume(p_run_id => %(run_id)s::uuid, p_actor => %(actor)s::text)"
)

RETRY: Final[LiteralString] = """
select pgorch.retry(
    p_run_id => %(run_id)s::uuid, p_node => %(node)s::text, p_input => %(input)s::jsonb,
    p_item => %(item)s::integer, p_actor => %(actor)s::text)
"""

SKIP: Final[LiteralString] = """
select pgorch.skip(
    p_run_id => %(run_id)s::uuid, p_node => %(node)s::text, p_output => %(output)s::jsonb,
    p_item => %(item)s::integer, p_actor => %(actor)s::text, p_roles => %(roles)s::text[])
"""

FORK: Final[LiteralString] = """
select pgorch.fork(
    p_run_id => %(run_id)s::uuid, p_seq => %(seq)s::integer, p_node => %(node)s::text,
    p_state => %(state)s::jsonb, p_labels => %(labels)s::jsonb, p_actor => %(actor)s::text)
"""

MOVE: Final[LiteralString] = """
select pgorch.move(p_run_id => %(run_id)s::uuid, p_graph => %(graph)s::text, p_actor => %(actor)s::text)
"""

CHECK_MOVE: Final[LiteralString] = (
    "select pgorch.check_move(p_run_id => %(run_id)s::uuid, p_graph => %(graph)s::text)"
)

BULK: Final[LiteralString] = """
select b.run_id, b.status, b.problem
from pgorch.bulk(
    p_action => %(action)s::text, p_filter => %(filter)s::jsonb, p_arguments => %(arguments)s::jsonb,
    p_dry_run => %(dry_run)s::boolean, p_limit => %(limit)s::integer, p_actor => %(actor)s::text,
    p_roles => %(roles)s::text[]) b
"""

"""One statement for each public SQL function, shared by the async and the sync queries.

Parameters bear the names of the function's, without the `p_`. JSON travels as text.
"""

from typing import Final, LiteralString

VALIDATE_GRAPH: Final[LiteralString] = (
    "select pgorch.validate_graph(p_definition => %(definition)s::jsonb)::text"
)

CREATE_GRAPH: Final[LiteralString] = """
select g.graph_id, g.name, g.version, g.created
from pgorch.create_graph(p_definition => %(definition)s::jsonb, p_actor => %(actor)s::text) g
"""

DELETE_GRAPH: Final[LiteralString] = """
select g.graph_id, g.name, g.version, g.watched
from pgorch.delete_graph(p_graph => %(graph)s::text, p_actor => %(actor)s::text) g
"""

FIND_GRAPH: Final[LiteralString] = "select pgorch.find_graph(p_graph => %(graph)s::text)"

REGISTER_TOOLS: Final[LiteralString] = "select pgorch.register_tools(p_tools => %(tools)s::jsonb)"

START: Final[LiteralString] = """
select pgorch.start(
    p_graph => %(graph)s::text, p_input => %(input)s::jsonb, p_idempotency_key => %(idempotency_key)s::text,
    p_priority => %(priority)s::integer, p_queue => %(queue)s::text, p_actor => %(actor)s::text,
    p_labels => %(labels)s::jsonb)
"""

START_MANY: Final[LiteralString] = """
select pgorch.start_many(
    p_graph => %(graph)s::text, p_inputs => %(inputs)s::text[]::jsonb[], p_priority => %(priority)s::integer,
    p_queue => %(queue)s::text, p_actor => %(actor)s::text, p_labels => %(labels)s::jsonb)
"""

DECIDE: Final[LiteralString] = """
select pgorch.decide(
    p_run_id => %(run_id)s::uuid, p_decision => %(decision)s::text, p_data => %(data)s::jsonb,
    p_comment => %(comment)s::text, p_approval_id => %(approval_id)s::uuid, p_actor => %(actor)s::text,
    p_roles => %(roles)s::text[])
"""

APPROVE_PLAIN: Final[LiteralString] = """
select pgorch.approve_plain(
    p_run_id => %(run_id)s::uuid, p_actor => %(actor)s::text, p_roles => %(roles)s::text[])
"""

REASSIGN: Final[LiteralString] = """
select pgorch.reassign(
    p_approval_id => %(approval_id)s::uuid, p_assignees => %(assignees)s::text[],
    p_comment => %(comment)s::text, p_actor => %(actor)s::text, p_roles => %(roles)s::text[])
"""

COMMENT: Final[LiteralString] = """
select pgorch.comment(
    p_approval_id => %(approval_id)s::uuid, p_comment => %(comment)s::text, p_actor => %(actor)s::text)
"""

APPROVAL_DOCUMENT: Final[LiteralString] = (
    "select pgorch.approval_document(p_approval_id => %(approval_id)s::uuid)"
)

RUN_STATE: Final[LiteralString] = "select pgorch.run_state(p_run_id => %(run_id)s::uuid)"

RUN_DOCUMENT: Final[LiteralString] = "select pgorch.run_document(p_run_id => %(run_id)s::uuid)"

RUN_EVENTS: Final[LiteralString] = """
select e.seq, e.event
from pgorch.run_events(
    p_run_id => %(run_id)s::uuid, p_after => %(after)s::integer, p_limit => %(limit)s::integer) e
"""

WATCH_RUN: Final[LiteralString] = """
select w.status, w.seq
from pgorch.watch_run(
    p_run_id => %(run_id)s::uuid, p_seconds => %(seconds)s::integer, p_steps => %(steps)s::boolean) w
"""

CREATE_SCHEDULE: Final[LiteralString] = """
select pgorch.create_schedule(
    p_name => %(name)s::text, p_graph => %(graph)s::text, p_cron => %(cron)s::text,
    p_time_zone => %(time_zone)s::text, p_input => %(input)s::jsonb, p_queue => %(queue)s::text,
    p_priority => %(priority)s::integer, p_labels => %(labels)s::jsonb, p_overlap => %(overlap)s::text,
    p_catch_up => %(catch_up)s::text, p_catch_up_window => %(catch_up_window)s::interval,
    p_paused => %(paused)s::boolean, p_actor => %(actor)s::text)
"""

PAUSE_SCHEDULE: Final[LiteralString] = """
select pgorch.pause_schedule(p_name => %(name)s::text, p_actor => %(actor)s::text)
"""

RESUME_SCHEDULE: Final[LiteralString] = """
select pgorch.resume_schedule(p_name => %(name)s::text, p_actor => %(actor)s::text)
"""

TRIGGER_SCHEDULE: Final[LiteralString] = """
select pgorch.trigger_schedule(
    p_name => %(name)s::text, p_overlap => %(overlap)s::text, p_idempotency_key => %(idempotency_key)s::text,
    p_actor => %(actor)s::text)
"""

DELETE_SCHEDULE: Final[LiteralString] = """
select pgorch.delete_schedule(p_name => %(name)s::text, p_actor => %(actor)s::text)
"""

SCHEDULE_DOCUMENT: Final[LiteralString] = "select pgorch.schedule_document(p_name => %(name)s::text)"

SET_LIMIT: Final[LiteralString] = """
select l.kind, l.name, l.concurrency, l.rate, l.per, l.burst
from pgorch.set_limit(
    p_kind => %(kind)s::text, p_name => %(name)s::text, p_concurrency => %(concurrency)s::integer,
    p_rate => %(rate)s::integer, p_per => %(per)s::interval, p_burst => %(burst)s::integer,
    p_actor => %(actor)s::text) l
"""

DROP_LIMIT: Final[LiteralString] = """
select pgorch.drop_limit(p_kind => %(kind)s::text, p_name => %(name)s::text, p_actor => %(actor)s::text)
"""

API_PRINCIPAL: Final[LiteralString] = """
select p.principal, p.roles, p.expires_in
from pgorch.api_principal(p_id => %(id)s::text, p_hash => %(hash)s::bytea) p
"""

CREATE_HOOK: Final[LiteralString] = """
select pgorch.create_hook(
    p_name => %(name)s::text, p_url => %(url)s::text, p_kinds => %(kinds)s::text[],
    p_secret => %(secret)s::text, p_graph => %(graph)s::text,
    p_allow_private => %(allow_private)s::boolean, p_actor => %(actor)s::text)
"""

UPDATE_HOOK: Final[LiteralString] = """
select pgorch.update_hook(
    p_hook => %(hook)s::text, p_url => %(url)s::text, p_kinds => %(kinds)s::text[],
    p_actor => %(actor)s::text)
"""

ROTATE_HOOK_SECRET: Final[LiteralString] = """
select pgorch.rotate_hook_secret(
    p_hook => %(hook)s::text, p_secret => %(secret)s::text, p_actor => %(actor)s::text)
"""

PAUSE_HOOK: Final[LiteralString] = (
    "select pgorch.pause_hook(p_hook => %(hook)s::text, p_actor => %(actor)s::text)"
)

RESUME_HOOK: Final[LiteralString] = (
    "select pgorch.resume_hook(p_hook => %(hook)s::text, p_actor => %(actor)s::text)"
)

DELETE_HOOK: Final[LiteralString] = (
    "select pgorch.delete_hook(p_hook => %(hook)s::text, p_actor => %(actor)s::text)"
)

TEST_HOOK: Final[LiteralString] = (
    "select pgorch.test_hook(p_hook => %(hook)s::text, p_actor => %(actor)s::text)"
)

RESEND_DELIVERY: Final[LiteralString] = (
    "select pgorch.resend_delivery(p_delivery_id => %(delivery_id)s::uuid, p_actor => %(actor)s::text)"
)

LIST_AUDIT: Final[LiteralString] = """
select a.id, a.at, a.actor, a.source, a.action, a.run_id, a.approval_id, a.before, a.after, a.comment
from pgorch.list_audit(
    p_run_id => %(run_id)s::uuid, p_actor => %(actor)s::text, p_action => %(action)s::text,
    p_before => %(before)s::bigint, p_limit => %(limit)s::integer) a
"""

DRAIN_WORKER: Final[LiteralString] = (
    "select pgorch.drain_worker(p_worker => %(worker)s::text, p_actor => %(actor)s::text)"
)

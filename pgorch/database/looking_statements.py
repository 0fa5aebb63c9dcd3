"""The statements of `pgorch.database.looking`: one for each function, like those in `statements`."""

from typing import Final, LiteralString

_EDGE: Final[LiteralString] = (
    'e.ord, e.target, e.on_outcome, e.condition, e."limit", e.used, e.found, e.holds, e.taken, e.why'
)

STATE_AT: Final[LiteralString] = """
select pgorch.state_at(p_run_id => %(run_id)s::uuid, p_seq => %(seq)s::integer)
"""

DIFF_STATES: Final[LiteralString] = """
select d.key, d.before, d.after
from pgorch.diff_states(
    p_run_id => %(run_id)s::uuid, p_from => %(from)s::integer, p_to => %(to)s::integer) d
"""

EXPLAIN: Final[LiteralString] = f"""
select {_EDGE}
from pgorch.explain(
    p_run_id => %(run_id)s::uuid, p_node => %(node)s::text, p_seq => %(seq)s::integer) e
"""

EXPLAIN_GRAPH: Final[LiteralString] = f"""
select {_EDGE}
from pgorch.explain_graph(
    p_graph => %(graph)s::text, p_node => %(node)s::text, p_state => %(state)s::jsonb,
    p_outcome => %(outcome)s::text, p_vars => %(vars)s::jsonb) e
"""

TIMELINE: Final[LiteralString] = """
select t.seq, t.at, t.what, t.who, t.took from pgorch.timeline(p_run_id => %(run_id)s::uuid) t
"""

EXPORT_RUN: Final[LiteralString] = "select pgorch.export_run(p_run_id => %(run_id)s::uuid)"

SET_LABELS: Final[LiteralString] = """
select pgorch.set_labels(
    p_run_id => %(run_id)s::uuid, p_labels => %(labels)s::jsonb, p_actor => %(actor)s::text)
"""

RETENTION: Final[LiteralString] = "select pgorch.retention()"

SET_RETENTION: Final[LiteralString] = """
select pgorch.set_retention(p_keep => %(keep)s::interval, p_actor => %(actor)s::text)
"""

RUN_PROGRESS: Final[LiteralString] = """
select p.node, p.state, p.visits from pgorch.run_progress(p_run_id => %(run_id)s::uuid) p
"""

RUN_TREE: Final[LiteralString] = """
select t.run_id, t.parent_run_id, t.depth, t.graph, t.version, t.status::text, t.created_at, t.finished_at
from pgorch.run_tree(p_run_id => %(run_id)s::uuid) t
"""

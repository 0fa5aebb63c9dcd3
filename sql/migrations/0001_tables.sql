-- The tables of pgorch. How a step lives in them is told in TECHNICAL_DOCS.md ("Life of a step").
--
-- Definition tables (graphs, nodes, edges, reach, tools, settings) are small and rarely written; nothing on the
-- path of a run writes them. Hot tables (runs, steps, history, approvals, ...) have `bucket` first in every key,
-- so that the same SQL can be spread over several servers by bucket; on one server one bucket is in use.
-- Tables whose name begins with an underscore are internal; everything else may be read by anybody with the right.

create table pgorch.settings (
    name  text primary key,
    value jsonb not null
);
comment on table pgorch.settings is 'How this installation behaves: one row per setting.';
insert into pgorch.settings (name, value) values ('buckets', '1');

create table pgorch._clock (
    only_row  boolean primary key default true check (only_row),
    offset_by interval not null default '0'
);
comment on table pgorch._clock is 'What clock_now() adds to the time of the server. Zero, but for tests that jump in time.';
insert into pgorch._clock default values;

-- Definition ------------------------------------------------------------------------------------------------

create table pgorch.tools (
    name          text primary key,
    description   text not null default '',
    parameters    jsonb not null default '{"type": "object"}',
    retry         jsonb,
    timeout       interval,
    transactional boolean not null default false,
    registered_at timestamptz not null default now()
);
comment on table pgorch.tools is 'Every tool that a worker has ever registered, with the JSON Schema of its arguments.';

create table pgorch.graphs (
    id         uuid primary key,
    name       text not null,
    version    integer not null check (version >= 1),
    digest     text not null,
    definition jsonb not null,
    start_node text not null,
    retry      jsonb,
    timeout    interval,
    input_schema jsonb,
    reducers   jsonb,
    output     jsonb,
    has_forks  boolean not null,
    node_refs  text[] not null default '{}',
    created_at timestamptz not null,
    created_by text not null,
    owner      name not null,
    unique (name, version),
    unique (name, digest)
);
comment on table pgorch.graphs is 'Versions of graphs. A version never changes; another definition under the same name is the next version.';
comment on column pgorch.graphs.digest is 'SHA-256 of the definition in canonical form: the same content is the same version.';
comment on column pgorch.graphs.timeout is 'How long a run may take in all.';
comment on column pgorch.graphs.reducers is 'How values written in parallel come together: {key: append|sum|min|max|merge|last}.';
comment on column pgorch.graphs.output is 'Template of a run''s output; null: the state.';
comment on column pgorch.graphs.owner is 'Database role that created the version: its SQL steps and row waits have this role''s rights.';
comment on column pgorch.graphs.has_forks is 'Can several steps of one run be live at once? If not, joins and visits need no bookkeeping.';
comment on column pgorch.graphs.node_refs is 'Nodes that a condition or template reads as $nodes.<id>.';

create table pgorch.nodes (
    graph_id  uuid not null references pgorch.graphs (id) on delete cascade,
    id        text not null,
    type      text not null check (type in ('task', 'approval', 'pass', 'fail', 'wait', 'map', 'graph')),
    function  text,
    sql       text,
    queue     text not null default 'default',
    priority  integer,
    input     jsonb,
    into_key  text,
    retry     jsonb,
    timeout   interval,
    heartbeat interval,
    compensate text,
    concurrency_key jsonb,
    concurrency integer check (concurrency >= 1),
    items     jsonb,
    tolerate  integer,
    tolerate_percent numeric,
    child_graph_id uuid references pgorch.graphs (id),
    wait_for  jsonb,
    wait_until jsonb,
    wait_signal jsonb,
    wait_row  jsonb,
    deadline  interval,
    title     jsonb,
    show      jsonb,
    form      jsonb,
    assignees text[],
    quorum    integer not null default 1,
    exclude_initiator boolean not null default false,
    remind    jsonb,
    join_least integer check (join_least >= 1),
    cancel_rest boolean not null default false,
    branch_all boolean not null default false,
    joins     boolean not null,
    loops     text[] not null default '{}',
    ends      boolean not null,
    fast_out  boolean not null,
    fast_in   boolean not null,
    primary key (graph_id, id),
    constraint tasks_and_maps_have_a_function check ((type in ('task', 'map')) = (function is not null)),
    constraint nodes_of_type_graph_have_a_child check ((type = 'graph') = (child_graph_id is not null)),
    constraint waits_wait_for_one_thing check (num_nonnulls(wait_for, wait_until, wait_signal, wait_row) = case type when 'wait' then 1 else 0 end)
);
-- Serves changes of users' rows, and the question whether a trigger is still needed.
create index nodes_of_row on pgorch.nodes ((wait_row ->> 'table')) where wait_row is not null;
comment on table pgorch.nodes is 'The nodes of graphs, prepared for routing when the graph was created.';
comment on column pgorch.nodes.input is 'Template of the arguments; null: the whole state is passed.';
comment on column pgorch.nodes.into_key is 'State key that takes the output; null: an object is merged key by key.';
comment on column pgorch.nodes.function is 'Tool that performs the node''s steps; of those with sql the built-in tool pgorch.sql.';
comment on column pgorch.nodes.sql is 'Statement that is the step: performed by pgorch.perform_sql() in the transaction that records it.';
comment on column pgorch.nodes.heartbeat is 'How long an attempt may go without a sign of life (ctx.heartbeat()).';
comment on column pgorch.nodes.compensate is 'Tool that undoes a step of this node if the run later fails or is cancelled with compensation.';
comment on column pgorch.nodes.concurrency_key is 'Template of a key: at most `concurrency` steps with one key are under way at once, over all runs.';
comment on column pgorch.nodes.concurrency is 'With concurrency_key: steps under way at once per key. Of a map: items under way at once. Null: no limit.';
comment on column pgorch.nodes.items is 'Map: template of the list.';
comment on column pgorch.nodes.tolerate is 'Map: how many failed items are borne.';
comment on column pgorch.nodes.tolerate_percent is 'Map: how many failed items are borne, in percent of all.';
comment on column pgorch.nodes.child_graph_id is 'Version of the graph that a node of type graph starts: pinned when this graph was created.';
comment on column pgorch.nodes.wait_for is 'Wait: an interval as text, or a template of one.';
comment on column pgorch.nodes.wait_until is 'Wait: a time as text, or a template of one.';
comment on column pgorch.nodes.wait_signal is 'Wait: template of a signal''s name.';
comment on column pgorch.nodes.wait_row is 'Wait: {"table", "key", "key_column", "condition"}, all there: the row of the table (written as format(%I.%I) has it) whose key column is that key (a template), and the predicate that it must fulfil: text of a jsonpath without variables, also where the definition has an object to be contained.';
comment on column pgorch.nodes.deadline is 'How long an approval or a wait may stay open; then it is expired.';
comment on column pgorch.nodes.form is 'JSON Schema of the data of an approval; only properties that it names reach the state.';
comment on column pgorch.nodes.assignees is 'Who is asked at first: user:<name> or role:<name>; null: anybody may decide.';
comment on column pgorch.nodes.quorum is 'How many different people must approve.';
comment on column pgorch.nodes.remind is '{"seconds", "to"}, to being a list, maybe empty: after how long a question is brought to mind, and who may decide it from then on as well.';
comment on column pgorch.nodes.join_least is 'How many arrivals a join needs: null all that can come, 1 any, n at_least.';
comment on column pgorch.nodes.cancel_rest is 'Once the join has run, what else is on its way to it is cancelled.';
comment on column pgorch.nodes.joins is 'Arrivals are collected before this node runs (only in graphs with forks).';
comment on column pgorch.nodes.loops is 'Headers of the loops around this node, outermost first; a header is in its own loop.';
comment on column pgorch.nodes.ends is 'No edge is a candidate after success: the path ends here.';
comment on column pgorch.nodes.fast_out is 'Success of this node can be routed in a set, without any bookkeeping.';
comment on column pgorch.nodes.fast_in is 'This node can be entered in a set: a task without a template of arguments.';

create table pgorch.edges (
    graph_id       uuid not null,
    source         text not null,
    rank           integer not null,
    ord            integer not null,
    target         text not null,
    on_outcome     text not null check (on_outcome in ('success', 'rejected', 'expired', 'error', 'always')),
    condition      jsonpath,
    contains       jsonb,
    roots          text[] not null default '{}',
    max_traversals integer check (max_traversals >= 1),
    counted_loop   text,
    back           boolean not null default false,
    edge_id        text,
    label          text,
    primary key (graph_id, source, rank),
    foreign key (graph_id, source) references pgorch.nodes (graph_id, id) on delete cascade,
    foreign key (graph_id, target) references pgorch.nodes (graph_id, id) on delete cascade,
    constraint one_form_of_condition check (condition is null or contains is null)
);
comment on table pgorch.edges is 'The edges of graphs. `approved` is stored as `success`.';
comment on column pgorch.edges.rank is 'Order in which the edges of a source are tried: as written, but those without condition last.';
comment on column pgorch.edges.ord is 'Position in the definition''s list of edges, from 0.';
comment on column pgorch.edges.roots is 'Roots other than $ that the condition reads: input, nodes, run, error, decision.';
comment on column pgorch.edges.max_traversals is 'The edge''s limit: how often it can be taken per entry into its loop.';
comment on column pgorch.edges.counted_loop is 'Header of the innermost loop that holds the edge: entering it anew resets the count of traversals. Null: counted over the run.';
comment on column pgorch.edges.back is 'Leads back to the header of a loop: opens a new visit.';

create table pgorch._reach (
    graph_id  uuid not null references pgorch.graphs (id) on delete cascade,
    target    text not null,
    source    text not null,
    via_back  boolean not null,
    primary key (graph_id, target, source, via_back)
);
comment on table pgorch._reach is
    'From where a joining node (target) can still be reached: within the same visit of the loops around it '
    '(via_back false), or, if it is the header of a loop, by going back in that loop (via_back true). Only joining nodes have rows.';

-- Runs ------------------------------------------------------------------------------------------------------

create function pgorch.bucket_of(p_id uuid) returns integer
    language sql immutable strict parallel safe
    as $$ select get_byte(uuid_send(p_id), 15) $$;
comment on function pgorch.bucket_of(uuid) is 'The bucket that holds a run: the last byte of its id.';

-- Enums rather than checks of text: the checks of a table are parsed anew for each statement that writes to it, which was
-- a tenth of what a single step costs. In the order in which they are compared: what comes from 'completed' on has ended.
create type pgorch.run_status as enum (
    'running', 'awaiting_approval', 'waiting', 'paused', 'completed', 'failed', 'cancelled');
-- What workers perform comes first: what is less than 'approval' can be claimed.
create type pgorch.step_kind as enum ('task', 'item', 'undo', 'approval', 'join', 'wait', 'map', 'child');

create table pgorch.runs (
    bucket          integer not null,
    id              uuid not null,
    -- No foreign key: each start would lock the graph's row. delete_graph() locks all of graphs instead.
    graph_id        uuid not null,
    initiator       text not null,
    created_at      timestamptz not null,
    idempotency_key text,
    priority        integer not null default 0,
    queue           text,
    input           jsonb not null,
    snapshot        jsonb,
    status          pgorch.run_status not null,
    watched_until   timestamptz,
    finished_at     timestamptz,
    error           jsonb,
    output          jsonb,
    labels          jsonb,
    parent_run_id   uuid,
    parent_step_id  bigint,
    depth           integer,
    forked_from     uuid,
    forked_at       integer,
    ending          jsonb,
    stopped         jsonb,
    live            integer not null,
    seq             integer not null default 0,
    delta           jsonb not null default '{}',
    primary key (bucket, id),
    -- bucket_of(id), written out: the function would be parsed for each statement that writes here (60 us).
    constraint bucket_is_the_last_byte_of_the_id check (bucket = get_byte(uuid_send(id), 15)),
    constraint exactly_unfinished_runs_live check ((finished_at is null) = (live > 0)),
    constraint finished_runs_have_a_time check ((finished_at is null) = (status < 'completed')),
    constraint only_failed_runs_have_an_error check ((status = 'failed') = (error is not null))
-- A run's row is written at each of its steps. With two thirds of the page free these are HOT updates: 740 bytes of WAL
-- a step instead of 880, and no larger table, since updates that are not HOT take pages too.
) with (fillfactor = 35, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);
comment on column pgorch.runs.snapshot is 'State at the last fold; null: the input. The state is coalesce(snapshot, input) || delta.';
comment on column pgorch.runs.delta is 'Keys written since the last fold. Kept apart so that a small output never rewrites a large state.';
comment on column pgorch.runs.output is 'What the graph''s output template gave when the run completed; null: the state is the output.';
comment on column pgorch.runs.labels is 'What its starter calls it: {name: text}.';
comment on column pgorch.runs.parent_run_id is 'Run that waits for this one; with parent_step_id, the step that does.';
comment on column pgorch.runs.depth is 'How many runs are above this one; null: none.';
comment on column pgorch.runs.forked_from is 'Run whose history up to forked_at is also this one''s: its entries are not copied.';
comment on column pgorch.runs.ending is 'While steps are being undone: {"status", "error", "actor"} with which the run will end, and "undone", the step being undone.';
comment on column pgorch.runs.stopped is 'Of a failed run: what was live when it failed, so that it can be taken up again.';
comment on column pgorch.runs.live is 'Number of rows in steps.';
comment on column pgorch.runs.seq is 'Number of the last history entry.';
comment on column pgorch.runs.watched_until is 'Until when somebody waits for news of this run; only then is NOTIFY sent for it.';
-- Serves runs by status (views, the API's list): only runs that have not ended, so that it stays small.
create index runs_unfinished on pgorch.runs (bucket, status, id) where finished_at is null;

-- Serves what goes down from a run to those that it started.
create index runs_children on pgorch.runs (bucket, parent_run_id) where parent_run_id is not null;

create table pgorch.steps (
    bucket      integer not null,
    id          bigint generated always as identity,
    run_id      uuid not null,
    graph_id    uuid not null,
    kind        pgorch.step_kind not null,
    priority    integer not null default 0,
    created_at  timestamptz not null,
    lane_queue  text,
    lane_tool   text,
    worker_id   uuid,
    ready_at    timestamptz not null,
    held        text,
    parent      bigint,
    item        integer,
    limiter     text,
    input       jsonb,
    visit       integer[],
    counts      jsonb,
    lineage     jsonb,
    deaths      integer not null default 0,
    failures    integer not null default 0,
    attempt     integer not null default 0,
    born        integer not null,
    node        text not null,
    started_at  timestamptz,
    lease_token uuid,
    primary key (bucket, id),
    constraint a_lease_has_worker_and_token check ((worker_id is null) = (lease_token is null)),
    constraint a_lane_has_queue_and_tool check ((lane_queue is null) = (lane_tool is null)),
    constraint exactly_what_is_performed_is_claimable_leased_or_held check (num_nonnulls(lane_tool, worker_id, held) = case when kind < 'approval' then 1 else 0 end)
) with (fillfactor = 25, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 50000);
comment on table pgorch.steps is 'Live steps: one row per visit of a node that has not ended. Ended steps are in history.';
comment on column pgorch.steps.lane_queue is 'With lane_tool: where the step waits to be claimed. Null while it is leased, and for approvals and joins.';
comment on column pgorch.steps.held is 'paused or limit: why a step that could be claimed is in no lane now: its run is paused, or as many steps as may be are under way with its concurrency key.';
comment on column pgorch.steps.parent is 'Of an item, its map''s step.';
comment on column pgorch.steps.item is 'Of an item, its index in the list, from 0; of a map, how many items have been started; of an undo, the history entry that is undone.';
comment on column pgorch.steps.limiter is 'Concurrency key with its graph and node, as ["graph", "node", "key"]. A place among those under way is taken while held is null.';
comment on column pgorch.steps.born is 'The run''s seq when the step came to be: with run and node it names this visit, over all its attempts.';
comment on column pgorch.steps.failures is 'Attempts that ended with an error: what the retry policy counts. Deaths and restarts of workers use up none.';
comment on column pgorch.steps.visit is 'In graphs with forks: how often each loop around the node has been gone round, outermost first.';
comment on column pgorch.steps.counts is 'Traversals of edges with a limit, by position of the edge.';
comment on column pgorch.steps.lineage is 'In graphs with forks: which branches of which forks lead here, as [[fork, branches, [branch, ...]], ...].';
-- Serves the claim. The lane's columns are null in leased steps, so that going on with a leased step is a HOT update.
create index steps_claimable on pgorch.steps (bucket, lane_queue, lane_tool, priority desc, ready_at, id) where lane_tool is not null;
-- Serves recovery: what a dead worker held.
create index steps_leased on pgorch.steps (bucket, worker_id) where worker_id is not null;
-- Serves the question whether a worker runs a suspect: an index of its own, since under a pinned vacuum horizon steps_leased
-- holds every step that was ever leased.
create index steps_suspect on pgorch.steps (bucket, worker_id) where deaths >= 2 and worker_id is not null;
-- Serves joins, cancel and the views: what is live in a run. Its condition is always true, but implied only by a query
-- that names the run: one by step id, planned while the table was tiny, cannot choose this index and read all of the
-- bucket. The other two indexes are partial as well, so that such a query has only the primary key.
create index steps_of_run on pgorch.steps (bucket, run_id) where run_id is not null;

create table pgorch._writes (
    bucket  integer not null,
    run_id  uuid not null,
    key     text not null,
    lineage jsonb not null,
    primary key (bucket, run_id, key)
);
comment on table pgorch._writes is
    'In live runs of graphs with forks: for each key of the state, the lineage of the step that wrote it last. Rows, so that a wide fan-out does not rewrite what it has written.';

create type pgorch.event_kind as enum (
    'step_completed', 'step_failed', 'step_expired', 'step_skipped', 'step_cancelled', 'attempt_failed', 'attempt_lost',
    'item_completed', 'item_failed', 'wait_started', 'child_started', 'signal_received',
    'approval_requested', 'approval_voted', 'approval_commented', 'approval_reassigned', 'approval_reminded', 'approval_decided',
    'compensation_started', 'step_undone', 'undo_failed',
    'run_paused', 'run_resumed', 'run_retried', 'run_forked', 'run_moved', 'state_edited',
    'run_completed', 'run_failed', 'run_cancelled');

create table pgorch.history (
    bucket      integer not null,
    run_id      uuid not null,
    seq         integer not null,
    kind        pgorch.event_kind not null,
    attempt     integer,
    at          timestamptz not null,
    started_at  timestamptz,
    worker_id   uuid,
    node        text,
    actor       text,
    visit       integer[],
    item        integer,
    input       jsonb,
    error       jsonb,
    output      jsonb,
    primary key (bucket, run_id, seq)
) partition by range (run_id);
comment on table pgorch.history is 'Everything that happened in runs: append only, numbered 1..n in each run without gaps.';
comment on column pgorch.history.item is 'Of items of a map, the index in its list; of what was undone, the entry.';
comment on column pgorch.history.input is 'Arguments of a step that can be undone (compensate), and what an operator changed.';
-- Run ids begin with their time, so a partition holds the history of the runs started in a span of time.
create table pgorch._history_rest partition of pgorch.history default;

create table pgorch.approvals (
    bucket       integer not null,
    id           uuid not null,
    run_id       uuid not null,
    step_id      bigint not null,
    graph_id     uuid not null,
    node         text not null,
    title        text,
    show         jsonb,
    requested_at timestamptz not null,
    assignees    text[],
    deadline     timestamptz,
    reminded_at  timestamptz,
    status       text not null check (status in ('open', 'approved', 'rejected', 'expired', 'cancelled')),
    decided_at   timestamptz,
    decided_by   text,
    data         jsonb,
    comment      text,
    primary key (bucket, id),
    constraint decided_exactly_when_not_open check ((status = 'open') = (decided_at is null))
);
comment on table pgorch.approvals is 'Questions to people, open and decided.';
comment on column pgorch.approvals.assignees is 'Who may decide now: those of the node, or to whom it was reassigned, and those whom a reminder has added; null: anybody.';
comment on column pgorch.approvals.deadline is 'A decision from then on is refused.';
create index approvals_of_run on pgorch.approvals (bucket, run_id);
-- Serves the inbox: oldest first.
create index approvals_open on pgorch.approvals (bucket, requested_at, id) where status = 'open';

create table pgorch.timers (
    bucket  integer not null,
    id      bigint generated always as identity,
    run_id  uuid not null,
    step_id bigint,
    due_at  timestamptz not null,
    kind    text not null check (kind in ('wait', 'deadline', 'remind', 'run_timeout', 'child', 'recheck')),
    data    jsonb,
    primary key (bucket, id)
);
comment on table pgorch.timers is 'What is to happen to a live run, and when: done by pgorch.tick().';
create index timers_due on pgorch.timers (bucket, due_at);
create index timers_of_run on pgorch.timers (bucket, run_id);

create table pgorch.signals (
    bucket          integer not null,
    id              uuid not null,
    run_id          uuid not null,
    name            text not null,
    payload         jsonb not null,
    sent_at         timestamptz not null,
    sent_by         text not null,
    idempotency_key text,
    taken_at        timestamptz,
    taken_by        bigint,
    primary key (bucket, id)
);
comment on table pgorch.signals is 'Messages to runs: stored first, matched with a wait later.';
comment on column pgorch.signals.taken_by is 'Step of the wait that took it; null: nobody yet.';
create unique index signals_by_key on pgorch.signals (bucket, run_id, idempotency_key) where idempotency_key is not null;
create index signals_untaken on pgorch.signals (bucket, run_id, name, id) where taken_at is null;

create table pgorch._row_waits (
    bucket     integer not null,
    step_id    bigint not null,
    run_id     uuid not null,
    table_name text not null,
    row_key    text not null,
    key_column text not null,
    condition  jsonpath not null,
    seen       pg_snapshot not null,
    primary key (bucket, step_id)
);
comment on table pgorch._row_waits is 'Which row each wait on a row waits for. table_name is qualified, as text of a regclass with an empty search_path.';
comment on column pgorch._row_waits.seen is 'When the wait began: changes that were visible then are not news to it.';
create index row_waits_of_row on pgorch._row_waits (bucket, table_name, row_key);

create table pgorch._row_changes (
    bucket     integer not null,
    id         bigint generated always as identity,
    table_name text not null,
    key_column text not null,
    row_key    text not null,
    changed_by xid8 not null,
    changed_to jsonb not null,
    primary key (bucket, id)
);
comment on table pgorch._row_changes is
    'Rows that came to be as a graph waits for, changed by transactions that could not see who waits: tick() wakes those. Elsewhere the change itself does.';

create table pgorch._idempotency_keys (
    bucket     integer not null,
    key        text not null,
    run_id     uuid not null,
    digest     text not null,
    created_at timestamptz not null,
    primary key (bucket, key)
);

-- Workers ---------------------------------------------------------------------------------------------------

create table pgorch._worker_leases (
    bucket      integer not null,
    worker_id   uuid not null,
    name        text not null,
    queues      text[] not null,
    tools       text[] not null,
    slots       integer not null,
    started_at  timestamptz not null,
    marker      bigint,
    status      text not null default 'alive' check (status in ('alive', 'dead')),
    asleep      boolean not null default false,
    expires_at  timestamptz not null,
    primary key (bucket, worker_id)
) with (fillfactor = 50);
comment on column pgorch._worker_leases.marker is 'Key of the advisory lock that the worker''s session holds while it lives; null: no such session (behind a pooler).';

create table pgorch._revocations (
    bucket    integer not null,
    worker_id uuid not null,
    step_id   bigint not null,
    primary key (bucket, worker_id, step_id)
);
comment on table pgorch._revocations is 'Leased steps that were taken from a living worker (cancelled run): it stops them at its next heartbeat.';

create sequence pgorch._lease_numbers;

-- What routing works through: a node to be entered (outcome null) or one that has ended. Never stored.
create type pgorch._move as (
    node       text,
    outcome    text,
    kind       pgorch.event_kind,
    visit      integer[],
    counts     jsonb,
    lineage    jsonb,
    joined     boolean,
    attempt    integer,
    started_at timestamptz,
    worker_id  uuid,
    actor      text,
    output     jsonb,
    error      jsonb,
    decision   jsonb,
    input      jsonb,
    born       integer
);

-- What advance() knows of a plain result: one that needs no bookkeeping. Never stored.
create type pgorch._plain_step as (
    id         bigint,
    token      uuid,
    run_id     uuid,
    seq        integer,
    node       text,
    attempt    integer,
    started_at timestamptz,
    output     jsonb,
    delta      jsonb,
    state      jsonb,
    folds      boolean,
    target     text,
    tool       text,
    queue      text,
    priority   integer,
    timeout    double precision,
    stays      boolean,
    watched    boolean,
    step_at    tid,
    run_at     tid
);

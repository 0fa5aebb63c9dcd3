-- What people look at. Views show `bucket` first, so that each row can be found again by key.

create or replace view pgorch.graph_list as
select g.id as graph_id, g.name, g.version, g.start_node, g.created_at, g.created_by, g.definition
from pgorch.graphs g;
comment on view pgorch.graph_list is 'Versions of graphs.';
comment on column pgorch.graph_list.graph_id is 'Id of this version; runs are pinned to it.';
comment on column pgorch.graph_list.name is 'Name that the versions share.';
comment on column pgorch.graph_list.version is 'Number of the version, from 1.';
comment on column pgorch.graph_list.start_node is 'Node at which runs begin.';
comment on column pgorch.graph_list.created_at is 'When the version was created.';
comment on column pgorch.graph_list.created_by is 'Who created it.';
comment on column pgorch.graph_list.definition is 'The graph as it was given, in JSON.';

create or replace view pgorch.tool_list as
select t.name, t.description, t.parameters, t.retry, t.timeout, t.transactional, t.registered_at,
       (select count(distinct l.worker_id) from pgorch._worker_leases l
        where t.name = any (l.tools) and l.status = 'alive' and l.expires_at > pgorch.clock_now()) as workers
from pgorch.tools t;
comment on view pgorch.tool_list is 'Tools that workers have registered.';
comment on column pgorch.tool_list.name is 'Name by which a node''s function names the tool.';
comment on column pgorch.tool_list.description is 'What the tool does: the docstring.';
comment on column pgorch.tool_list.parameters is 'JSON Schema of the arguments.';
comment on column pgorch.tool_list.retry is 'Retry policy where a node names none.';
comment on column pgorch.tool_list.timeout is 'Time an attempt may take where a node names none.';
comment on column pgorch.tool_list.transactional is 'Do its writes commit with the checkpoint?';
comment on column pgorch.tool_list.registered_at is 'When a worker registered it last.';
comment on column pgorch.tool_list.workers is 'How many living workers run it.';

create or replace view pgorch.run_list as
select r.bucket, r.id as run_id, g.name as graph, g.version, r.graph_id, r.status, r.live as live_steps, r.initiator,
       r.priority, r.queue, r.idempotency_key, r.created_at, r.finished_at, r.error,
       pgorch._state(r.input, r.snapshot, r.delta) as state, r.labels, r.parent_run_id, r.forked_from
from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id;
comment on view pgorch.run_list is 'Runs, with their state.';
comment on column pgorch.run_list.bucket is 'Bucket of the run: the last byte of its id.';
comment on column pgorch.run_list.run_id is 'Id of the run.';
comment on column pgorch.run_list.graph is 'Name of its graph.';
comment on column pgorch.run_list.version is 'Version of the graph that the run is pinned to.';
comment on column pgorch.run_list.graph_id is 'Id of that version.';
comment on column pgorch.run_list.status is 'running, awaiting_approval, waiting, paused, completed, failed or cancelled.';
comment on column pgorch.run_list.live_steps is 'How many steps are live.';
comment on column pgorch.run_list.initiator is 'Who started it.';
comment on column pgorch.run_list.priority is 'Higher runs first.';
comment on column pgorch.run_list.queue is 'Queue of its steps whose node names none.';
comment on column pgorch.run_list.idempotency_key is 'Key that it was started with.';
comment on column pgorch.run_list.created_at is 'When it was started.';
comment on column pgorch.run_list.finished_at is 'When it ended.';
comment on column pgorch.run_list.error is 'Why it failed: type, message, node.';
comment on column pgorch.run_list.state is 'The state: input, and what the steps wrote over it.';
comment on column pgorch.run_list.labels is 'What people call it: {name: text}.';
comment on column pgorch.run_list.parent_run_id is 'Run that waits for it.';
comment on column pgorch.run_list.forked_from is 'Run that it was forked from.';

create or replace view pgorch.live_steps as
select s.bucket, s.id as step_id, s.run_id, s.node, s.kind, case when s.kind < 'approval' then s.item end as item,
       case when s.kind >= 'approval' then 'waiting'
            when s.worker_id is not null then 'running'
            when s.held = 'paused' then 'paused'
            when s.held = 'limit' and s.ready_at <= pgorch.clock_now() then 'limited'
            when s.lane_queue = '' then 'quarantined'
            when s.ready_at > pgorch.clock_now() then 'retrying'
            else 'ready' end as status,
       t.tool, case when s.kind < 'approval' then coalesce(nullif(ltrim(s.lane_queue, '!'), ''), n.queue) end as queue,
       s.priority, s.attempt, s.deaths, s.ready_at, s.started_at, s.worker_id, l.name as worker, s.created_at,
       case when s.kind < 'approval' and s.lane_tool is not null and not exists (
                select from pgorch._worker_leases w
                where w.bucket = s.bucket and w.status = 'alive' and w.expires_at > pgorch.clock_now()
                  and (s.lane_queue = '' or (t.tool = any (w.tools) and ltrim(s.lane_queue, '!') = any (w.queues))))
            then format('no living worker serves the tool %s on the queue %s', t.tool, ltrim(s.lane_queue, '!')) end as problem
from pgorch.steps s
join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
cross join lateral (select case when s.kind = 'undo' then n.compensate else n.function end as tool) t
left join pgorch._worker_leases l on l.bucket = s.bucket and l.worker_id = s.worker_id;
comment on view pgorch.live_steps is 'Steps that have not ended: being run, ready, waiting for their next attempt, for a decision, or at a join.';
comment on column pgorch.live_steps.bucket is 'Bucket of the run.';
comment on column pgorch.live_steps.step_id is 'Number of the row; a plain next step takes over the row of the last one.';
comment on column pgorch.live_steps.run_id is 'Run that the step belongs to.';
comment on column pgorch.live_steps.node is 'Node of the graph that is visited.';
comment on column pgorch.live_steps.kind is 'task, item (of a map), undo (a compensation), approval, join (arrived, waiting for the others), wait, map, or child.';
comment on column pgorch.live_steps.item is 'Of an item, its index in the list, from 0; of an undo, the history entry that is undone.';
comment on column pgorch.live_steps.status is 'running (leased), ready (claimable), limited (waits for a place under its concurrency key), paused, retrying (claimable later), quarantined (killed its workers), or waiting.';
comment on column pgorch.live_steps.tool is 'Tool that performs it.';
comment on column pgorch.live_steps.queue is 'Queue that it waits or waited in.';
comment on column pgorch.live_steps.priority is 'Higher runs first.';
comment on column pgorch.live_steps.attempt is 'Attempts so far, the one under way included.';
comment on column pgorch.live_steps.deaths is 'How many workers died while they ran it.';
comment on column pgorch.live_steps.ready_at is 'When it may be claimed.';
comment on column pgorch.live_steps.started_at is 'When the attempt under way began.';
comment on column pgorch.live_steps.worker_id is 'Worker that runs it.';
comment on column pgorch.live_steps.worker is 'Name of that worker.';
comment on column pgorch.live_steps.created_at is 'When the row was made.';
comment on column pgorch.live_steps.problem is 'Why nobody takes it, if that is so.';

create or replace view pgorch.run_history as
select h.bucket, h.run_id, h.seq, h.kind::text as kind, h.node, h.item, h.attempt, h.at, h.started_at, h.at - h.started_at as took,
       h.output, h.error, h.actor, h.worker_id
from pgorch.history h;
comment on view pgorch.run_history is 'Everything that happened, numbered in each run.';
comment on column pgorch.run_history.bucket is 'Bucket of the run.';
comment on column pgorch.run_history.run_id is 'Run.';
comment on column pgorch.run_history.seq is 'Number of the entry in its run: 1, 2, 3, ...';
comment on column pgorch.run_history.kind is 'What happened: step_completed, item_failed, signal_received, approval_decided, run_paused, ...: the values of the type pgorch.event_kind.';
comment on column pgorch.run_history.node is 'Node that it is about.';
comment on column pgorch.run_history.item is 'Of an item of a map, its index in the list, from 0; of what was undone, the entry.';
comment on column pgorch.run_history.attempt is 'Number of the attempt.';
comment on column pgorch.run_history.at is 'When it happened.';
comment on column pgorch.run_history.started_at is 'When the attempt began, or the approval was asked for.';
comment on column pgorch.run_history.took is 'From start to end.';
comment on column pgorch.run_history.output is 'What the step gave, or the decision.';
comment on column pgorch.run_history.error is 'What went wrong.';
comment on column pgorch.run_history.actor is 'Who decided or cancelled.';
comment on column pgorch.run_history.worker_id is 'Worker that ran the step.';

create or replace view pgorch.worker_list as
select l.bucket, l.worker_id, l.name,
       case when l.status = 'alive' and l.expires_at < pgorch.clock_now() then 'lost' else l.status end as status,
       l.queues, l.tools, l.slots,
       (select count(*) from pgorch.steps s where s.bucket = l.bucket and s.worker_id = l.worker_id) as running_steps,
       l.asleep, l.started_at, l.expires_at, l.marker is not null as death_seen_at_once
from pgorch._worker_leases l
where l.status <> 'left';
comment on view pgorch.worker_list is 'Worker processes.';
comment on column pgorch.worker_list.bucket is 'Bucket that this row is about: a worker has one per bucket.';
comment on column pgorch.worker_list.worker_id is 'Id of the process'' life; a restart has a new one.';
comment on column pgorch.worker_list.name is 'Name that it was given, else host and process.';
comment on column pgorch.worker_list.status is 'alive, lost (lease over, not yet seen by another), or dead.';
comment on column pgorch.worker_list.queues is 'Queues that it serves.';
comment on column pgorch.worker_list.tools is 'Tools that it has.';
comment on column pgorch.worker_list.slots is 'How many steps it runs at once.';
comment on column pgorch.worker_list.running_steps is 'How many it has now.';
comment on column pgorch.worker_list.asleep is 'Has it nothing to do and waits for a notification?';
comment on column pgorch.worker_list.started_at is 'Since when it works.';
comment on column pgorch.worker_list.expires_at is 'Until when it is believed alive without another heartbeat.';
comment on column pgorch.worker_list.death_seen_at_once is 'Does it hold a session marker, so that its death need not wait for the lease to end?';

create or replace view pgorch.queue_depth as
select q.bucket, q.queue, q.tool, q.ready, q.retrying, q.oldest_ready_at, pgorch.clock_now() - q.oldest_ready_at as oldest_age,
       (select count(*) from pgorch._worker_leases l
        where l.bucket = q.bucket and l.status = 'alive' and l.expires_at > pgorch.clock_now()
          and q.tool = any (l.tools) and q.queue = any (l.queues)) as workers
from (
    select s.bucket, ltrim(s.lane_queue, '!') as queue, s.lane_tool as tool,
           count(*) filter (where s.ready_at <= c.now) as ready,
           count(*) filter (where s.ready_at > c.now) as retrying,
           min(s.ready_at) filter (where s.ready_at <= c.now) as oldest_ready_at
    from pgorch.steps s cross join (select pgorch.clock_now() as now) c
    where s.lane_tool is not null and s.lane_tool <> ''
    group by 1, 2, 3) q;
comment on view pgorch.queue_depth is 'How much waits to be claimed, by queue and tool.';
comment on column pgorch.queue_depth.bucket is 'Bucket.';
comment on column pgorch.queue_depth.queue is 'Queue.';
comment on column pgorch.queue_depth.tool is 'Tool.';
comment on column pgorch.queue_depth.ready is 'Steps that could be claimed now.';
comment on column pgorch.queue_depth.retrying is 'Steps whose next attempt is due later.';
comment on column pgorch.queue_depth.oldest_ready_at is 'Since when the oldest of the ready ones waits.';
comment on column pgorch.queue_depth.oldest_age is 'For how long.';
comment on column pgorch.queue_depth.workers is 'Living workers that could take them.';

create or replace view pgorch.stuck_runs as
select s.bucket, s.run_id, g.name as graph, r.status, s.node, s.status as step_status,
       coalesce(s.problem, format('its worker %s is gone and no other has taken over', coalesce(s.worker, s.worker_id::text))) as why,
       coalesce(s.started_at, s.ready_at) as since
from pgorch.live_steps s
join pgorch.runs r on r.bucket = s.bucket and r.id = s.run_id
join pgorch.graphs g on g.id = r.graph_id
left join pgorch._worker_leases l on l.bucket = s.bucket and l.worker_id = s.worker_id
where s.problem is not null
   or (s.worker_id is not null and (l.worker_id is null or l.status <> 'alive' or l.expires_at < pgorch.clock_now()));
comment on view pgorch.stuck_runs is 'Runs that do not go on although they should, and why.';
comment on column pgorch.stuck_runs.bucket is 'Bucket of the run.';
comment on column pgorch.stuck_runs.run_id is 'Run.';
comment on column pgorch.stuck_runs.graph is 'Name of its graph.';
comment on column pgorch.stuck_runs.status is 'Its status.';
comment on column pgorch.stuck_runs.node is 'Node at which it is stuck.';
comment on column pgorch.stuck_runs.step_status is 'Status of the step there.';
comment on column pgorch.stuck_runs.why is 'What is missing.';
comment on column pgorch.stuck_runs.since is 'Since when.';

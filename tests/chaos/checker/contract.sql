-- What the checks read. Only this file changes when the tables of pgorch do.
--
-- pgorch keeps no record of claims that have been closed, so triggers keep one, in the transactions that make and
-- close them: contract.log. `entry` is an order in which whoever can see the earlier has the higher number.

create schema contract;

create table contract.log (
    entry      bigint generated always as identity primary key,
    what       text not null check (what in ('claimed', 'closed', 'ended')),
    run_id     uuid not null,
    node       text,
    born       integer,
    item       integer,
    attempt    integer,
    worker_id  uuid,
    token      uuid,
    limiter    text,
    started_at timestamptz,
    at         timestamptz not null default clock_timestamp()
);

create function contract.log_step() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' and old.lease_token is not null
       and (tg_op = 'DELETE' or new.lease_token is distinct from old.lease_token or new.born <> old.born) then
        insert into contract.log (what, run_id, node, born, item, attempt, worker_id, token, limiter, started_at)
        values ('closed', old.run_id, old.node, old.born, old.item, old.attempt, old.worker_id, old.lease_token,
                old.limiter, old.started_at);
    end if;
    if tg_op <> 'DELETE' and new.lease_token is not null
       and (tg_op = 'INSERT' or new.lease_token is distinct from old.lease_token or new.born <> old.born) then
        insert into contract.log (what, run_id, node, born, item, attempt, worker_id, token, limiter, started_at)
        values ('claimed', new.run_id, new.node, new.born, new.item, new.attempt, new.worker_id, new.lease_token,
                new.limiter, new.started_at);
    end if;
    return null;
end
$$;
create trigger contract_log after insert or delete or update of lease_token, born on pgorch.steps
    for each row execute function contract.log_step();

create function contract.log_end() returns trigger language plpgsql as $$
begin
    insert into contract.log (what, run_id) values ('ended', new.id);
    return null;
end
$$;
create trigger contract_log after update of finished_at on pgorch.runs
    for each row when (old.finished_at is null and new.finished_at is not null) execute function contract.log_end();

create function contract.number_of(p_token uuid) returns bigint language sql immutable strict
    as $$ select ('x' || left(replace(p_token::text, '-', ''), 16))::bit(64)::bigint $$;

create view contract.claims as
select c.entry, c.run_id, c.node, c.born, c.item, c.attempt, c.worker_id, c.token, contract.number_of(c.token) as number,
       c.limiter, c.started_at, c.at, x.entry as closed, x.at as closed_at, x.times
from contract.log c
left join lateral (
    select min(x.entry) as entry, min(x.at) as at, count(*) as times from contract.log x
    where x.what = 'closed' and x.run_id = c.run_id and x.token = c.token and x.node = c.node and x.born = c.born
      and x.item is not distinct from c.item) x on true
where c.what = 'claimed';
create index on contract.log (run_id, token);

create view contract.runs as
select r.id, g.name as graph, r.status::text, r.status >= 'completed' as over, r.initiator, r.idempotency_key as key,
       r.created_at, r.finished_at, r.error, r.seq,
       -- A child is given what its parent has.
       coalesce(r.parent_run_id, r.id) as root
from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id;

-- What workers' results came to, and what was noted of their deaths. `token` is what the tool itself put into its result:
-- all else the engine copies from the row of the step as it is when the result comes, whoever sent it.
create view contract.results as
select h.run_id, h.seq, h.kind::text, h.node, h.item, h.attempt, h.worker_id, h.started_at, h.at,
       (h.output ->> ('token_' || h.node))::bigint as token, h.kind in ('step_completed', 'item_completed') as accepted
from pgorch.history h
where h.worker_id is not null and h.attempt is not null;

-- Ends of visits, and the edges of each run's graph. In graphs that can go back, a source can end once more.
create view contract.ends as
select h.run_id, h.seq, h.node from pgorch.history h
where h.kind in ('step_completed', 'step_failed', 'step_expired', 'step_skipped', 'approval_decided');
create view contract.edges as
select r.id as run_id, e.source, e.target,
       exists (select from pgorch.edges b where b.graph_id = e.graph_id and (b.back or b.max_traversals is not null)) as in_loop
from pgorch.runs r join pgorch.edges e on e.graph_id = r.graph_id;

create view contract.waits as
select h.run_id, h.node, (h.output ->> 'until')::timestamptz as until, e.at as ended_at
from pgorch.history h
join lateral (
    select e.at from pgorch.history e
    where e.bucket = h.bucket and e.run_id = h.run_id and e.node = h.node and e.seq > h.seq and e.kind = 'step_completed'
    order by e.seq limit 1) e on true
where h.kind = 'wait_started' and h.output ? 'until';

create view contract.signals as
select s.id, s.run_id, s.name, s.idempotency_key as key, s.sent_at, s.taken_at, s.taken_by from pgorch.signals s;

create view contract.approvals as
select a.id, a.run_id, a.status, a.decided_by, a.decided_at, a.deadline, r.initiator, n.exclude_initiator
from pgorch.approvals a
join pgorch.runs r on r.bucket = a.bucket and r.id = a.run_id
join pgorch.nodes n on n.graph_id = r.graph_id and n.id = a.node;

create view contract.audit as
select a.run_id, a.approval_id, a.actor, a.action, a.after from pgorch.audit a;

-- What is due and that nobody has taken.
create view contract.due as
select s.run_id, s.node as what, s.ready_at as since from pgorch.steps s
where s.lane_tool is not null and s.lane_queue <> ''
union all select t.run_id, t.kind, t.due_at from pgorch.timers t
union all select s.run_id, 'lease of ' || s.node, l.expires_at
from pgorch.steps s join pgorch._worker_leases l on l.bucket = s.bucket and l.worker_id = s.worker_id;

create view contract.limits as
select distinct s.limiter, n.concurrency as places
from (select distinct l.limiter, l.run_id, l.node from contract.log l where l.limiter is not null) s
join pgorch.runs r on r.id = s.run_id
join pgorch.nodes n on n.graph_id = r.graph_id and n.id = s.node;

-- The outside: tools' own tables in the tested database, and logs that are kept where no fault reaches, and brought
-- here to be compared.

create schema outside;
create table outside.accounts (id integer primary key, balance bigint not null);
create table outside.transfers (run_id uuid not null, node text not null, born integer not null, amount bigint not null);

-- Every call of the API as its caller saw it. status 0: nobody knows. digest: of the payload that a run was started with.
create table outside.ext_api (
    number bigint, at double precision, verb text, key text, run_id uuid, actor text, status integer, answer jsonb, sent jsonb,
    digest text);
-- What arrived at the sink: the beginnings and ends of executions of tools.
create table outside.ext_effect (
    number bigint, at double precision, what text, run_id uuid, node text, born integer, item integer, attempt integer,
    token bigint, key text, pid integer, digest text);
-- What readers saw, each in its order.
create table outside.ext_read (
    number bigint, at double precision, reader text, run_id uuid, status text, seq integer, digest text);
-- What pgorch's processes hold of the server, before the faults and when all is quiet again.
create table outside.footprints (moment text primary key check (moment in ('before', 'after')), sessions integer, locks integer, temp_files integer);
-- Of the run of the harness: connections before the faults, largest shift of the database's clock in seconds.
create table outside.circumstances (sessions integer, clock_shift double precision, quiet_seconds double precision);

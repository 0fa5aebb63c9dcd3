-- What limits there are, and what they hold back.

create or replace view pgorch.limit_list as
select b.bucket, l.kind, l.name, l.concurrency,
       case l.kind when 'queue' then (select count(*) from pgorch.steps s where s.bucket = b.bucket and s.queue_limit = l.name)
                   else (select count(*) from pgorch.steps s where s.bucket = b.bucket and s.tool_limit = l.name) end::integer as under_way,
       l.rate, l.per, l.burst, r.tokens as may_begin, l.set_at, l.set_by
from pgorch.limits l
cross join generate_series(0, pgorch.bucket_count() - 1) b(bucket)
left join pgorch._limit_state s on s.bucket = b.bucket and s.kind = l.kind and s.name = l.name
left join lateral pgorch._left_of_rate(
    coalesce(s.next_at, '-infinity'), extract(epoch from l.per)::double precision / l.rate, l.burst, pgorch.clock_now()) r on l.rate is not null;
comment on view pgorch.limit_list is 'Limits of queues and tools, and what is used of them now. A limit holds in each bucket.';
comment on column pgorch.limit_list.bucket is 'Bucket that what is used is about.';
comment on column pgorch.limit_list.kind is 'queue or tool.';
comment on column pgorch.limit_list.name is 'Name of the queue or tool.';
comment on column pgorch.limit_list.concurrency is 'How many steps may be under way at once; null: any number.';
comment on column pgorch.limit_list.under_way is 'How many are.';
comment on column pgorch.limit_list.rate is 'How many attempts may begin in each `per`; null: any number.';
comment on column pgorch.limit_list.per is 'The time of the rate.';
comment on column pgorch.limit_list.burst is 'How many may begin at once after a pause.';
comment on column pgorch.limit_list.may_begin is 'How many the rate would let begin now.';
comment on column pgorch.limit_list.set_at is 'When the limit was set.';
comment on column pgorch.limit_list.set_by is 'Who set it.';

create or replace view pgorch.concurrency_key_list as
select k.bucket, k.limiter::jsonb ->> 0 as graph, k.limiter::jsonb ->> 1 as node, k.limiter::jsonb ->> 2 as key,
       n.concurrency, k.under_way, k.ready, k.waiting, k.retrying, k.oldest_at
from (
    select s.bucket, s.limiter, max(s.id) as newest,
           count(*) filter (where s.worker_id is not null)::integer as under_way,
           count(*) filter (where s.lane_tool is not null)::integer as ready,
           count(*) filter (where s.held is not null and s.ready_at <= c.now)::integer as waiting,
           count(*) filter (where s.held is not null and s.ready_at > c.now)::integer as retrying,
           min(s.created_at) as oldest_at
    from pgorch.steps s cross join (select pgorch.clock_now() as now) c
    where s.limiter is not null
    group by s.bucket, s.limiter) k
join pgorch.steps s on s.bucket = k.bucket and s.id = k.newest
join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node;
comment on view pgorch.concurrency_key_list is 'Concurrency keys with live steps.';
comment on column pgorch.concurrency_key_list.bucket is 'Bucket.';
comment on column pgorch.concurrency_key_list.graph is 'Name of the graph: its versions share their keys.';
comment on column pgorch.concurrency_key_list.node is 'Node.';
comment on column pgorch.concurrency_key_list.key is 'What its concurrency_key gave.';
comment on column pgorch.concurrency_key_list.concurrency is 'How many steps may have a place at once.';
comment on column pgorch.concurrency_key_list.under_way is 'Steps that a worker performs.';
comment on column pgorch.concurrency_key_list.ready is 'Steps that have a place and wait for a worker.';
comment on column pgorch.concurrency_key_list.waiting is 'Steps that wait for a place.';
comment on column pgorch.concurrency_key_list.retrying is 'Steps whose next attempt is due later.';
comment on column pgorch.concurrency_key_list.oldest_at is 'Since when the oldest of them is there.';

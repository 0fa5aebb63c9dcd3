"""What must hold of a database and its outside logs after quiet, as queries that return no row.

Beside `tests.support.invariants`, which need the database alone and hold at every moment. Numbers are those
of the table of invariants in TECHNICAL_DOCS.md. Each query gives `run_id` and `why`. They read the views of
`contract.sql`. Where order matters it is that of entries, not of clocks: those are shifted by some faults.
"""

OK = "status between 200 and 299"
# Later than this no execution may begin whose token was superseded, in seconds.
GRACE_SECONDS = 1.0
MOST_DEATHS = 3
WASTED_SHARE = 0.05
# Below so many successes a share says nothing.
ENOUGH_SUCCESSES = 1000
# A pool may have grown, and something is always under way.
MORE_SESSIONS, MORE_LOCKS = 4, 10
# Who reads the states in the database itself, among the readers.
BY_SQL = "SQL"

CHECKS: dict[str, str] = {
    "I1 every run has ended": """
        select r.id as run_id, format('%s is %s', r.graph, r.status) as why
        from contract.runs r where not r.over
    """,
    "I2 nothing is due and untouched": """
        select d.run_id, format('%s is due since %s', d.what, d.since) as why
        from contract.due d, outside.circumstances c
        where d.since < pgorch.clock_now() - make_interval(secs => c.quiet_seconds)
    """,
    "I3 a run that was acknowledged is there": f"""
        select a.run_id, format('call %s: start %s', a.number, a.key) as why
        from outside.ext_api a left join contract.runs r on r.id = a.run_id and r.key = a.key
        where a.verb = 'start' and a.{OK} and r.id is null
    """,
    "I3 a signal that was acknowledged is there": f"""
        select a.run_id, format('call %s: signal %s', a.number, a.key) as why
        from outside.ext_api a
        left join contract.signals s
          on s.id = (a.answer ->> 'signal_id')::uuid and s.run_id = a.run_id and s.key = a.key
        where a.verb = 'signal' and a.{OK} and s.id is null
    """,
    "I3 a decision that was acknowledged is there": f"""
        select a.run_id, format('call %s: %s', a.number, a.sent ->> 'decision') as why
        from outside.ext_api a
        left join contract.approvals p
          on p.id = (a.answer ->> 'approval_id')::uuid and p.run_id = a.run_id
         and p.status = a.sent ->> 'decision' and p.decided_by = a.actor
        where a.verb = 'decide' and a.{OK} and p.id is null
    """,
    "I3 a cancel that was acknowledged is there": f"""
        select a.run_id, format('call %s, the run is %s', a.number, r.status) as why
        from outside.ext_api a left join contract.runs r on r.id = a.run_id
        where a.verb = 'cancel' and a.{OK} and r.status is distinct from 'cancelled'
    """,
    "I4 a key started one run": """
        select min(r.id::text)::uuid as run_id, format('%s started %s', r.key, count(*)) as why
        from contract.runs r where r.key is not null group by r.key having count(*) > 1
    """,
    "I4 all answers to a key name one run": f"""
        select min(a.run_id::text)::uuid as run_id,
               format('%s: %s runs', a.key, count(distinct a.run_id)) as why
        from outside.ext_api a where a.verb = 'start' and a.{OK}
        group by a.key having count(distinct a.run_id) > 1
    """,
    "I5 each run was asked for": """
        select r.id as run_id, format('%s, key %s', r.graph, r.key) as why
        from contract.runs r
        where not exists (select from outside.ext_api a where a.verb = 'start' and a.key = r.key)
          and r.id not in (select p.id from pgorch.runs p where p.parent_run_id is not null)
    """,
    "I5 each effect belongs to a run that exists": """
        select e.run_id, format('effect of %s', e.node) as why
        from outside.ext_effect e
        where not exists (select from contract.runs r where r.id = e.run_id)
    """,
    "I7 a result counts under the last token of its visit": """
        select r.run_id,
               format('%s, attempt %s, entry %s: made under token %s, the last claim has %s',
                      r.node, r.attempt, r.seq, r.token, c.number) as why
        from contract.results r
        left join lateral (
            select l.attempt, l.worker_id, contract.number_of(l.token) as number from contract.log l
            where l.what = 'claimed' and l.run_id = r.run_id and l.node = r.node and l.born < r.seq
              and (r.item is null or l.item = r.item)
            order by l.born desc, l.entry desc limit 1) c on true
        where r.accepted
          and (r.token, r.attempt, r.worker_id) is distinct from (c.number, c.attempt, c.worker_id)
    """,
    "I8 tokens grow": """
        select t.run_id, format('%s: %s after %s', t.node, t.number, t.earlier) as why
        from (select c.*, lag(c.number) over w as earlier from contract.claims c
              window w as (partition by c.run_id, c.node, c.born, c.item order by c.entry)) t
        where t.number <= t.earlier
    """,
    "I8 attempts are counted without a hole": """
        select c.run_id, format('%s: %s attempts, the highest is %s', c.node, count(distinct c.attempt),
                                max(c.attempt)) as why
        from contract.claims c group by c.run_id, c.node, c.born, c.item
        having count(distinct c.attempt) <> max(c.attempt) or min(c.attempt) <> 1
    """,
    "I8 no more deaths than are borne": f"""
        select l.run_id, format('%s: %s deaths', l.node, count(*)) as why
        from contract.claims c
        join contract.results l
          on l.run_id = c.run_id and l.node = c.node and l.kind = 'attempt_lost' and l.attempt = c.attempt
         and l.started_at = c.started_at and l.worker_id = c.worker_id
        group by l.run_id, l.node, c.born, c.item having count(*) > {MOST_DEATHS}
    """,
    "I9 every claim is closed once": """
        select c.run_id, format('%s, attempt %s: closed %s times', c.node, c.attempt, c.times) as why
        from contract.claims c join contract.runs r on r.id = c.run_id and r.over where c.times <> 1
    """,
    "I10 holders do not overlap": """
        select t.run_id, format('%s: attempt %s began too early', t.node, t.attempt) as why
        from (select c.*, lag(c.closed) over w as earlier_closed, lag(c.entry) over w as earlier
              from contract.claims c
              window w as (partition by c.run_id, c.node, c.born, c.item order by c.entry)) t
        where t.earlier is not null and (t.earlier_closed is null or t.earlier_closed > t.entry)
    """,
    "I14 a step came to be after what leads to it had ended": """
        select c.run_id,
               format('%s came to be at entry %s, %s ended at %s', c.node, c.born, h.node, h.seq) as why
        from contract.claims c
        join contract.edges e on e.run_id = c.run_id and e.target = c.node and not e.in_loop
        join contract.ends h on h.run_id = c.run_id and h.node = e.source
        where h.seq > c.born
    """,
    "I17 what a transaction wrote is there once for each success": """
        select coalesce(h.run_id, t.run_id) as run_id, format('%s successes, %s transfers', h.n, t.n) as why
        from (select r.run_id, r.node, count(*) as n from contract.results r
              where r.accepted and r.node = 'transfer' group by r.run_id, r.node) h
        full join (select t.run_id, t.node, count(*) as n from outside.transfers t
                   group by t.run_id, t.node) t
          on t.run_id = h.run_id and t.node = h.node
        where h.n is distinct from t.n
    """,
    "I18 each success had an effect": """
        select r.run_id, format('%s, attempt %s, token %s', r.node, r.attempt, r.token) as why
        from contract.results r
        where r.accepted and not exists (
            select from outside.ext_effect e
            where e.what = 'begin' and e.run_id = r.run_id and e.node = r.node and e.token = r.token
              and (r.item is null or e.item is null or e.item = r.item))
    """,
    "I18 each execution belongs to a claim": """
        select e.run_id, format('%s, attempt %s, token %s', e.node, e.attempt, e.token) as why
        from outside.ext_effect e
        where e.what = 'begin' and not exists (
            select from contract.claims c
            where c.run_id = e.run_id and c.node = e.node and c.born = e.born and c.number = e.token
              and (e.item is null or c.item = e.item))
    """,
    "I18 a claim is executed at most once": """
        select e.run_id, format('%s, attempt %s: %s times', e.node, e.attempt, count(*)) as why
        from outside.ext_effect e where e.what = 'begin'
        group by e.run_id, e.node, e.born, e.item, e.attempt, e.token having count(*) > 1
    """,
    "I18 the key is the same over the attempts": """
        select e.run_id, format('%s has %s keys', e.node, count(distinct e.key)) as why
        from outside.ext_effect e group by e.run_id, e.node, e.born, e.item having count(distinct e.key) > 1
    """,
    "I18 a key is of one visit": """
        select min(e.run_id::text)::uuid as run_id, e.key as why
        from outside.ext_effect e group by e.key
        having count(distinct (e.run_id, e.node, e.born, coalesce(e.item, -1))) > 1
    """,
    "I19 nothing begins after its token was superseded": f"""
        select e.run_id, format('%s, attempt %s: %s s after', e.node, e.attempt,
                                round((e.at - extract(epoch from c.closed_at))::numeric, 2)) as why
        from outside.ext_effect e
        cross join outside.circumstances o
        join contract.claims c
          on c.run_id = e.run_id and c.node = e.node and c.born = e.born and c.number = e.token
         and (e.item is null or c.item = e.item)
        where e.what = 'begin' and e.at > extract(epoch from c.closed_at) + {GRACE_SECONDS} + o.clock_shift
    """,
    "I20 an approval has one acknowledged decision": f"""
        select min(a.run_id::text)::uuid as run_id,
               format('%s of %s', a.answer ->> 'approval_id', string_agg(a.actor, ', ')) as why
        from outside.ext_api a where a.verb = 'decide' and a.{OK}
        group by a.answer ->> 'approval_id' having count(*) > 1
    """,
    "I20 nobody decides what he asked for, or too late": """
        select p.run_id,
               format('decided by %s at %s, deadline %s', p.decided_by, p.decided_at, p.deadline) as why
        from contract.approvals p
        where p.status in ('approved', 'rejected')
          and (p.exclude_initiator and p.decided_by = p.initiator or p.decided_at >= p.deadline)
    """,
    "I21 no timer fires early": """
        select w.run_id, format('%s was to end at %s, not at %s', w.node, w.until, w.ended_at) as why
        from contract.waits w where w.ended_at < w.until
    """,
    "I21 a wait takes one signal": """
        select min(s.run_id::text)::uuid as run_id, format('step %s took %s', s.taken_by, count(*)) as why
        from contract.signals s where s.taken_by is not null group by s.run_id, s.taken_by having count(*) > 1
    """,
    "I22 nothing is claimed of a run that is over": """
        select c.run_id, format('%s was claimed', c.node) as why
        from contract.claims c
        join contract.log l on l.run_id = c.run_id and l.what = 'ended' and l.entry < c.entry
    """,
    "I23 who has ended stays so, and the history a reader sees grows": """
        select t.run_id,
               format('%s saw %s %s after %s %s', t.reader, t.status, t.seq, t.earlier, t.earlier_seq) as why
        from (select x.*, lag(x.status) over w as earlier, lag(x.seq) over w as earlier_seq
              from outside.ext_read x window w as (partition by x.run_id, x.reader order by x.number)) t
        where t.seq < t.earlier_seq
           or t.earlier in ('completed', 'failed', 'cancelled') and t.status <> t.earlier
    """,
    "I25 no more are under way than the limit says": """
        select t.run_id, format('%s: %s at once', t.limiter, t.busy) as why
        from (select l.run_id, l.limiter, l.entry,
                     sum(case l.what when 'claimed' then 1 else -1 end)
                         over (partition by l.limiter order by l.entry) as busy
              from contract.log l where l.limiter is not null) t
        join contract.limits m on m.limiter = t.limiter where t.busy > m.places
    """,
    "I26 each change has one row of the audit": f"""
        select a.run_id, format('%s by %s: %s rows', a.verb, a.actor, t.n) as why
        from (select distinct on (a.verb, a.run_id, a.key, a.actor) a.* from outside.ext_api a
              where a.verb in ('decide', 'signal', 'cancel') and a.{OK}) a
        cross join lateral (
            select count(*) as n from contract.audit t
            where t.run_id = a.run_id and t.actor = a.actor and case a.verb
                when 'decide' then t.action in ('approve', 'reject')
                                   and (t.action = 'approve') = (a.sent ->> 'decision' = 'approved')
                                   and t.approval_id = (a.answer ->> 'approval_id')::uuid
                when 'signal' then t.action = 'signal' and t.after ->> 'signal_id' = a.answer ->> 'signal_id'
                else t.action = 'cancel' end) t
        where t.n <> 1
    """,
    "I28 no session is left, nor a transaction open": """
        select null::uuid as run_id, s.why
        from (select format('%s sessions, %s before', count(*), min(c.sessions)) as why
              from pg_stat_activity a, outside.circumstances c
              where a.datname = current_database() and a.backend_type = 'client backend'
              having count(*) > min(c.sessions)
              union all
              select format('%s has been open for %s', a.application_name, now() - a.xact_start)
              from pg_stat_activity a
              where a.datname = current_database() and a.pid <> pg_backend_pid()
                and a.xact_start < now() - interval '10 seconds' and a.backend_type = 'client backend'
              union all select format('prepared transaction %s', p.gid) from pg_prepared_xacts p
              union all select format('slot %s', p.slot_name) from pg_replication_slots p) s
    """,
    "I28 processes hold no more than before the faults": f"""
        select null::uuid as run_id, format('%s %s, %s before', h.n, h.what, h.earlier) as why
        from outside.footprints a
        join outside.footprints b on a.moment = 'after' and b.moment = 'before'
        cross join lateral (values ('sessions', a.sessions, b.sessions, {MORE_SESSIONS}),
                                   ('locks', a.locks, b.locks, {MORE_LOCKS}),
                                   ('temporary files', a.temp_files, b.temp_files, 0))
            h(what, n, earlier, slack)
        where h.n > h.earlier + h.slack
    """,
    "I28 hot tables hold little that is dead": """
        select null::uuid as run_id,
               format('%s: %s dead, %s live', t.relname, t.n_dead_tup, t.n_live_tup) as why
        from pg_stat_user_tables t
        where t.schemaname = 'pgorch' and t.n_dead_tup >= 2 * t.n_live_tup + 5000
    """,
    "I29 what was given is what is read": f"""
        select r.root as run_id,
               string_agg(distinct format('%s: %s', t.place, left(t.digest, 8)), ', ') as why
        from (select 'given' as place, run_id, digest from outside.ext_api where verb = 'start' and {OK}
              union all select 'by tools', run_id, digest from outside.ext_effect
              union all select case reader when '{BY_SQL}' then 'by SQL' else 'by the API' end, run_id, digest
              from outside.ext_read) t
        join contract.runs r on r.id = t.run_id
        where t.digest is not null
        group by r.root having count(distinct t.digest) > 1
    """,
    "I31 transfers keep the total": """
        select null::uuid as run_id, format('the accounts hold %s together', sum(a.balance)) as why
        from outside.accounts a having sum(a.balance) <> 0
        union all
        select null, format('account 1 holds %s, %s were moved there', a.balance, t.moved)
        from outside.accounts a cross join (select coalesce(sum(amount), 0) as moved from outside.transfers) t
        where a.id = 1 and a.balance <> t.moved
    """,
    "I32 little is done in vain": f"""
        select null::uuid as run_id, format('%s executions for %s successes', e.n, r.n) as why
        from (select count(*) as n from outside.ext_effect e join contract.runs r on r.id = e.run_id
              where e.what = 'begin' and r.status <> 'cancelled' and e.node <> 'poison') e,
             (select count(*) as n from contract.results h join contract.runs r on r.id = h.run_id
              where h.accepted and r.status <> 'cancelled') r
        where r.n >= {ENOUGH_SUCCESSES} and e.n > r.n * (1 + {WASTED_SHARE})
    """,
}

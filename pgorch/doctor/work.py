"""The work itself: runs that do not go on, and whoever should see to them.

Each statement walks an index from entry to entry, or stops at the first find, whatever the tables hold.
"""

from pgorch.doctor.finding import Ask, Finding, spoken

_ALIVE = "w.status = 'alive' and w.expires_at > pgorch.clock_now()"
# The lanes in which something waits, without reading what waits there.
_LANES = """
    with recursive lanes(bucket, queue, tool) as (
        (select s.bucket, s.lane_queue, s.lane_tool from pgorch.steps s where s.lane_tool is not null
         order by s.bucket, s.lane_queue, s.lane_tool limit 1)
        union all
        select n.* from lanes l cross join lateral (
            select s.bucket, s.lane_queue, s.lane_tool from pgorch.steps s
            where s.lane_tool is not null
              and (s.bucket, s.lane_queue, s.lane_tool) > (l.bucket, l.queue, l.tool)
            order by s.bucket, s.lane_queue, s.lane_tool limit 1) n)
"""


def time_went_back(ask: Ask) -> list[Finding]:
    """Ids of runs begin with their time, so the newest tells when the clock was ahead of now."""
    row = ask.row(
        """
        select (select c.offset_by from pgorch._clock c) as offset_by,
               (select max(n.created_at) from generate_series(0, 255) b(bucket) cross join lateral (
                    select r.created_at from pgorch.runs r where r.bucket = b.bucket
                    order by r.id desc limit 1) n)
               - pgorch.clock_now() as ahead
        """
    )
    findings = []
    if row["offset_by"].total_seconds():
        found = f"clock_now() differs from the server's clock by {row['offset_by']}: set_clock() is for tests"
        findings.append(Finding("clock", "problem", found, "select pgorch.set_clock('0')"))
    if row["ahead"] is not None and row["ahead"].total_seconds() > ask.limits.skew_seconds:
        ahead = spoken(row["ahead"].total_seconds())
        found = f"the newest run was started {ahead} in the future: the server's clock was set back"
        findings.append(Finding("clock", "warning", found, "chronyc tracking (on the server)"))
    return findings


def workers(ask: Ask) -> list[Finding]:
    rows = ask.rows(
        "select w.name, max(w.expires_at) < pgorch.clock_now() as silent,"
        " extract(epoch from pgorch.clock_now() - max(w.expires_at))::float8 as seconds"
        " from pgorch._worker_leases w where w.status = 'alive' group by w.worker_id, w.name"
    )
    silent = [row for row in rows if row["silent"]]
    alive = len(rows) - len(silent)
    findings = []
    if not alive:
        findings.append(Finding("workers", "warning", "none is alive", "pgorch worker --app your_module"))
    if silent:
        row = max(silent, key=lambda row: row["seconds"])
        found = f"{len(silent)} silent, for instance {row['name']}, whose lease ended"
        found += f" {spoken(row['seconds'])} ago"
        findings.append(Finding("workers", "warning", found, "pgorch workers list"))
    return findings or [Finding("workers", "ok", f"{alive} alive")]


def tools(ask: Ask) -> list[Finding]:
    """What waits for a tool, on a queue, that no living worker serves."""
    rows = ask.rows(
        f"""
        {_LANES}
        select ltrim(l.queue, '!') as queue, l.tool, min(s.run_id::text) as run_id from lanes l
        cross join lateral (
            select s.run_id from pgorch.steps s
            where s.bucket = l.bucket and s.lane_queue = l.queue and s.lane_tool = l.tool
            order by s.priority desc, s.ready_at, s.id limit 1) s
        where l.queue <> '' and not exists (
            select from pgorch._worker_leases w
            where w.bucket = l.bucket and {_ALIVE}
              and l.tool = any (w.tools) and ltrim(l.queue, '!') = any (w.queues))
        group by 1, 2 order by 1, 2
        """
    )
    if not rows:
        return [Finding("tools", "ok", "for all that waits there is a worker")]
    names = ", ".join(f"{row['tool']} on the queue {row['queue']}" for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    start = f"pgorch worker --app your_module --queue {rows[0]['queue']}"
    run = f"; for instance in run {rows[0]['run_id']}"
    found = f"steps wait for tools that no living worker has: {names}{more}{run}"
    return [Finding("tools", "problem", found, start)]


def leases(ask: Ask) -> list[Finding]:
    """Steps in the hands of workers that are gone: any other worker's heartbeat puts them back."""
    rows = ask.rows(
        """
        with recursive holders(bucket, worker_id) as (
            (select s.bucket, s.worker_id from pgorch.steps s where s.worker_id is not null
             order by s.bucket, s.worker_id limit 1)
            union all
            select n.* from holders h cross join lateral (
                select s.bucket, s.worker_id from pgorch.steps s
                where s.worker_id is not null and (s.bucket, s.worker_id) > (h.bucket, h.worker_id)
                order by s.bucket, s.worker_id limit 1) n)
        select coalesce(w.name, h.worker_id::text) as name,
               (select count(*) from (select from pgorch.steps s
                                      where s.bucket = h.bucket and s.worker_id = h.worker_id
                                      limit 1000) t) as steps
        from holders h
        left join pgorch._worker_leases w on w.bucket = h.bucket and w.worker_id = h.worker_id
        where w.worker_id is null or w.expires_at < pgorch.clock_now() - interval '2 seconds'
        """
    )
    if not rows:
        return [Finding("leases", "ok", "no step is held by a worker that is gone")]
    steps = sum(row["steps"] for row in rows)
    found = f"{steps} steps are still leased to {rows[0]['name']}" + (
        f" and {len(rows) - 1} more" if rows[1:] else ""
    )
    return [Finding("leases", "problem", f"{found}, whose lease is over", "pgorch worker --app your_module")]


def stuck_runs(ask: Ask) -> list[Finding]:
    """Due and untouched although a worker has the tool; runs with nothing live at all; steps held in vain."""
    late = ask.rows(
        f"""
        {_LANES}
        select l.tool, l.queue, s.run_id, s.node,
               extract(epoch from pgorch.clock_now() - s.ready_at)::float8 as seconds
        from lanes l
        -- The oldest of each priority: behind more urgent ones it can wait for ever.
        cross join lateral (
            with recursive levels(priority) as (
                (select s.priority from pgorch.steps s
                 where s.bucket = l.bucket and s.lane_queue = l.queue and s.lane_tool = l.tool
                 order by s.priority desc limit 1)
                union all
                select n.priority from levels p cross join lateral (
                    select s.priority from pgorch.steps s
                    where s.bucket = l.bucket and s.lane_queue = l.queue and s.lane_tool = l.tool
                      and s.priority < p.priority
                    order by s.priority desc limit 1) n)
            select o.* from levels p cross join lateral (
                select s.run_id, s.node, s.ready_at from pgorch.steps s
                where s.bucket = l.bucket and s.lane_queue = l.queue and s.lane_tool = l.tool
                  and s.priority = p.priority
                order by s.ready_at, s.id limit 1) o
            order by o.ready_at limit 1) s
        where s.ready_at < pgorch.clock_now() - make_interval(secs => %s)
          and not exists (select from pgorch.limits m where m.name in (l.tool, ltrim(l.queue, '!')))
        order by s.ready_at
        """,
        [ask.limits.late_seconds],
    )
    findings = []
    if late:
        row = late[0]
        found = f"run {row['run_id']} waits at {row['node']} for the tool {row['tool']}"
        found += f" since {spoken(row['seconds'])}"
        more = f" (and steps of {len(late) - 1} other lanes)" if late[1:] else ""
        findings.append(Finding("stuck runs", "problem", found + more, f"pgorch runs show {row['run_id']}"))
    lost = ask.rows(
        "select r.id from pgorch.runs r where r.finished_at is null and not exists ("
        " select from pgorch.steps s where s.bucket = r.bucket and s.run_id = r.id) limit 10"
    )
    if lost:
        found = f"run {lost[0]['id']} has not ended, and no step of it is live: it never goes on"
        more = f" ({len(lost)}{' or more' if len(lost) == 10 else ''} such runs)" if lost[1:] else ""
        findings.append(
            Finding("stuck runs", "problem", found + more, f"pgorch runs fork {lost[0]['id']} --from NODE")
        )
    held = ask.rows(
        "select r.id from pgorch.runs r where r.finished_at is null and r.status <> 'paused' and exists ("
        " select from pgorch.steps s where s.bucket = r.bucket and s.run_id = r.id and s.held = 'paused')"
        " limit 10"
    )
    if held:
        run_id = held[0]["id"]
        found = f"run {run_id} holds steps as a paused run does, and is not paused: they never begin"
        more = f" ({len(held)}{' or more' if len(held) == 10 else ''} such runs)" if held[1:] else ""
        mend = f"pgorch runs pause {run_id}; pgorch runs resume {run_id}"
        findings.append(Finding("stuck runs", "problem", found + more, mend))
    return findings or [Finding("stuck runs", "ok", "none")]


def timers(ask: Ask) -> list[Finding]:
    row = ask.row(
        "select t.run_id, extract(epoch from pgorch.clock_now() - t.due_at)::float8 as seconds"
        " from (select null) one left join lateral (select t.run_id, t.due_at"
        "  from generate_series(0, 255) b(bucket) cross join lateral ("
        "   select t.* from pgorch.timers t where t.bucket = b.bucket order by t.due_at limit 1) t"
        "  order by t.due_at limit 1) t on true"
    )
    if row["seconds"] is None or row["seconds"] < ask.limits.late_seconds:
        return [Finding("timers", "ok", "none is late")]
    found = f"the oldest (of run {row['run_id']}) is {spoken(row['seconds'])} late: workers fire them"
    return [Finding("timers", "problem", found, "pgorch workers list; select pgorch.tick(0)")]


def hooks(ask: Ask) -> list[Finding]:
    """Deliveries that were given up after a day stay for a week."""
    rows = ask.rows(
        "select coalesce(h.name, d.hook_id::text) as name, count(*) as n from pgorch.hook_deliveries d"
        " left join pgorch.hooks h on h.id = d.hook_id where d.status = 'dead' group by 1 order by 2 desc"
    )
    findings = [
        Finding(
            "hooks", "warning",
            f"{row['n']} deliveries to {row['name']} are dead: nobody took them for a day",
            f"pgorch hooks deliveries {row['name']} --status dead",
        )
        for row in rows
    ]  # fmt: skip
    paused = ask.rows(
        "select h.name, h.paused_because from pgorch.hooks h where h.paused_at is not null order by 1"
    )
    findings += [
        Finding(
            "hooks",
            "warning",
            f"{row['name']} is paused ({row['paused_because']})",
            f"pgorch hooks resume {row['name']}",
        )
        for row in paused
    ]
    return findings or [Finding("hooks", "ok", "no delivery is dead, no hook is paused")]


def retention(ask: Ask) -> list[Finding]:
    keep = ask.value("select pgorch.retention()::text")
    kept = "finished runs are kept for ever" if keep is None else f"finished runs are kept for {keep}"
    return [Finding("retention", "ok", f"{kept}; pgorch retention set changes it")]

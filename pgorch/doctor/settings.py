"""Settings of the server that pgorch depends on, as this role has them in this database."""

from typing import Any

from pgorch.doctor.finding import Ask, Finding

_NAMES = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "autovacuum",
    "track_counts",
    "jit",
    "statement_timeout",
    "lock_timeout",
    "idle_session_timeout",
    "transaction_timeout",
    "default_transaction_isolation",
    "plan_cache_mode",
    "enable_indexscan",
)
_TIMEOUTS = {
    "statement_timeout": "statements of clients and people end with 57014",
    "lock_timeout": "statements of clients and people end with 55P03",
    "transaction_timeout": "transactional tools, and batches of workers, are broken off",
    "idle_session_timeout": "listeners and idle connections are closed again and again",
}


def durability(ask: Ask) -> list[Finding]:
    now = _settings(ask)
    findings = []
    for name in ("fsync", "full_page_writes"):
        if now[name]["setting"] == "off":
            found = f"{name} is off: a crash of the machine can lose or corrupt data"
            findings.append(Finding("durability", "problem", found, _system(now[name], "on")))
    if now["synchronous_commit"]["setting"] == "off":
        found = "synchronous_commit is off: a crash forgets checkpoints and starts that were answered for"
        findings.append(Finding("durability", "warning", found, _reset(now["synchronous_commit"], "on")))
    return findings or [Finding("durability", "ok", "fsync, full_page_writes and synchronous_commit are on")]


def autovacuum(ask: Ask) -> list[Finding]:
    now = _settings(ask)
    for name in ("autovacuum", "track_counts"):
        if now[name]["setting"] == "off":
            found = f"{name} is off: hot tables grow without end, and the server runs out of transaction ids"
            return [Finding("autovacuum", "problem", found, _system(now[name], "on"))]
    rows = ask.rows(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = 'pgorch' and c.relkind = 'r'"
        " and c.reloptions::text ~ 'autovacuum_enabled=(off|false|0|no)'"
        " order by 1"
    )
    if rows:
        name = rows[0]["relname"]
        found = f"it is switched off for {', '.join(row['relname'] for row in rows)}"
        return [
            Finding("autovacuum", "problem", found, f"alter table pgorch.{name} reset (autovacuum_enabled)")
        ]
    return [Finding("autovacuum", "ok", "it is on")]


def settings(ask: Ask) -> list[Finding]:
    now, findings = _settings(ask), []
    for name, consequence in _TIMEOUTS.items():
        milliseconds = int(now[name]["setting"]) if name in now else 0
        limit = 20.0 if name == "idle_session_timeout" else ask.limits.short_timeout
        if 0 < milliseconds < limit * 1000:
            found = f"{name} is {milliseconds} ms ({now[name]['source']}): {consequence}"
            findings.append(Finding("settings", "warning", found, _reset(now[name], "0")))
    isolation = now["default_transaction_isolation"]
    if isolation["setting"] != "read committed":
        found = (
            f"{isolation['name']} is {isolation['setting']}: calls that meet fail with 40001 and are repeated"
        )
        findings.append(Finding("settings", "warning", found, _reset(isolation, "'read committed'")))
    if now["plan_cache_mode"]["setting"] == "force_custom_plan":
        found = "plan_cache_mode is force_custom_plan: every call of advance() is planned anew"
        findings.append(Finding("settings", "warning", found, _reset(now["plan_cache_mode"], "auto")))
    if now["enable_indexscan"]["setting"] == "off":
        found = "enable_indexscan is off: claims read whole tables"
        findings.append(Finding("settings", "warning", found, _reset(now["enable_indexscan"], "on")))
    jit = "; jit is on, which pgorch's own functions switch off" if now["jit"]["setting"] == "on" else ""
    return findings or [
        Finding("settings", "ok", f"timeouts, isolation and planner are as they should be{jit}")
    ]


def _settings(ask: Ask) -> dict[str, dict[str, Any]]:
    # Not those of the doctor's own session.
    rows = ask.rows(
        "select s.name, case when s.source = 'session' then s.reset_val else s.setting end as setting,"
        " s.source,"
        " quote_ident(current_user) as role, quote_ident(current_database()) as database"
        " from pg_settings s where s.name = any (%s)",
        [list(_NAMES)],
    )
    return {row["name"]: row for row in rows}


def _system(setting: dict[str, Any], value: str) -> str:
    if setting["source"] == "command line":
        return f"Start the server without -c {setting['name']}={setting['setting']}"
    return f"alter system set {setting['name']} = {value}; select pg_reload_conf()"


def _reset(setting: dict[str, Any], value: str) -> str:
    """How to mend it where it was set; the doctor's own session hides where that was."""
    name, role, database = setting["name"], setting["role"], setting["database"]
    if setting["source"] == "database user":
        return f"alter role {role} in database {database} reset {name}"
    if setting["source"] == "user":
        return f"alter role {role} reset {name}"
    if setting["source"] == "database":
        return f"alter database {database} reset {name}"
    if setting["source"] == "session":
        return f"alter role {role} in database {database} set {name} = {value}"
    return _system(setting, value)

from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.support.engine import Engine, chain


def by_check(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in findings}


def test_a_database_without_the_schema_is_a_problem_with_a_next_step(
    nowhere: Cli, empty_database: str
) -> None:
    said = nowhere("doctor", "--dsn", empty_database)
    assert said.code == 1
    findings = by_check(said.json)
    assert findings["schema"]["level"] == "problem"
    assert "pgorch migrate" in findings["schema"]["next"]
    assert "workers" not in findings


@pytest.mark.sessions
def test_a_sound_database_has_notifications_sessions_and_a_clock(cli: Cli, engine: Engine) -> None:
    engine.worker.enlist()
    findings = by_check(cli("doctor").json)
    sound = ("server", "clock", "pooler", "notifications", "vacuum", "schema", "workers", "stuck runs")
    assert {check: findings[check]["level"] for check in sound} == dict.fromkeys(sound, "ok")


def test_a_run_that_nobody_can_go_on_with_is_named_with_the_reason(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    said = cli("doctor")
    assert said.code == 1
    found = by_check(said.json)["tools"]
    assert str(run_id) in found["found"]
    assert "tools that no living worker has: a on the queue default" in found["found"]
    assert str(run_id) in cli("doctor", "-o", "table").out

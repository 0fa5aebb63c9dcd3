"""Each promise of the README is held by tests: which they are, and that they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELD_BY = {
    "What was answered for is committed": (
        "tests/engine/test_starting.py::test_a_run_and_its_first_step_exist_when_start_returns",
        "tests/engine/test_starting.py::test_a_run_that_was_started_in_a_transaction_that_rolls_back_never_existed",
        "tests/engine/test_waits.py::test_a_signal_that_is_rolled_back_was_never_sent",
        "tests/engine/test_approvals.py::test_a_decision_that_is_rolled_back_leaves_the_question_open",
        "tests/engine/test_cancel.py::test_a_cancel_that_is_rolled_back_changes_nothing",
        "tests/client/test_transactions.py::test_a_run_commits_together_with_the_callers_row",
        "tests/client/test_transactions.py::test_a_decision_commits_together_with_the_callers_row",
        "tests/api/test_processes.py::test_killed_under_load_nothing_is_lost_and_repeated_requests_start_no_second_run",
        "tests/crash/test_killed_server.py::test_the_server_is_killed_under_load_and_comes_back",
    ),
    "A checkpoint counts exactly once": (
        "tests/engine/test_leases.py::test_a_result_counts_once",
        "tests/engine/test_races.py::test_the_same_result_handed_in_twice_at_once_counts_once",
        "tests/worker/test_unknown_outcomes.py::test_a_result_handed_in_on_a_connection_that_breaks_counts_once",
        "tests/engine/test_leases.py::test_the_late_result_of_a_dead_worker_is_refused",
        "tests/engine/test_races.py::test_a_late_result_that_waits_for_the_recovery_of_its_step_is_refused",
        "tests/crash/test_killed_workers.py::test_a_paused_worker_cannot_write_when_it_comes_back",
        "tests/engine/test_races.py::test_two_branches_that_end_at_once_fire_their_join_once",
        "tests/engine/test_approvals.py::test_a_second_decision_is_refused_and_names_the_first_decider",
        "tests/people/test_quorum.py::test_of_fifty_at_once_one_wins_and_is_named",
    ),
    "A tool runs at least once.": (
        "tests/crash/test_killed_workers.py::test_a_worker_killed_at_a_marked_point",
        "tests/engine/test_retries.py::test_a_visit_keeps_its_name_over_its_attempts",
        "tests/worker/test_tools.py::test_fencing_tokens_grow_from_claim_to_claim",
        "tests/worker/test_transactional.py::test_what_it_writes_is_there_once_for_each_run",
        "tests/worker/test_transactional.py::test_a_tool_that_raises_has_written_nothing",
        "tests/worker/test_transactional.py::test_a_lost_lease_undoes_what_was_written",
        "tests/worker/test_transactional.py::test_a_commit_whose_outcome_is_unknown_counts_once",
        "tests/engine/test_sql_steps.py::test_what_a_failing_statement_wrote_is_gone",
    ),
    "A start with an idempotency key is one run": (
        "tests/engine/test_starting.py::test_the_same_key_gives_the_same_run",
        "tests/engine/test_starting.py::test_ten_starts_at_once_with_one_key_make_one_run",
        "tests/engine/test_races.py::test_starts_with_one_key_wait_for_each_other",
        "tests/inspection/test_retention.py::test_all_that_is_a_run_s_goes_with_it",
    ),
    "No death strands a run.": (
        "tests/crash/test_killed_workers.py::test_a_dead_worker_s_steps_are_taken_over_within_seconds",
        "tests/crash/test_killed_workers.py::test_all_workers_killed_and_others_started",
        "tests/crash/test_killed_workers.py::test_a_step_that_kills_its_workers_is_given_up_and_its_neighbours_are_not",
        "tests/engine/test_leases.py::test_a_step_that_kills_three_workers_is_quarantined",
        "tests/engine/test_loops.py::test_a_run_stays_with_its_version_of_the_graph",
        "tests/crash/test_deploy.py::test_a_deploy_strands_none_of_1000_runs",
    ),
    "A failover costs what the standby did not have.": (
        "tests/crash/test_lost_checkpoints.py::test_what_a_failover_has_lost_is_done_again_under_the_same_keys",
        "tests/outages/test_failover.py::test_a_failover_that_loses_what_was_acknowledged",
        "tests/outages/test_failover.py::test_a_failover_with_a_synchronous_standby_loses_nothing",
    ),
}
# Tests that are played on servers of their own come with a directory of their own.
APART = "tests/outages/"


def promises() -> list[str]:
    section = (ROOT / "README.md").read_text().partition("\n## What it promises\n")[2].partition("\n## ")[0]
    return re.findall(r"^\d\. (.+)$", section, re.MULTILINE)


def missing(names: tuple[str, ...]) -> list[str]:
    """Of the tests those that do not exist."""
    gone = []
    for name in names:
        path, _, function = name.partition("::")
        if path.startswith(APART) and not (ROOT / APART).exists():
            continue
        file = ROOT / path
        text = file.read_text() if file.exists() else ""
        if not re.search(rf"^(async )?def {function}\(", text, re.MULTILINE):
            gone.append(name)
    return gone


def test_there_are_six_and_each_has_tests() -> None:
    told = promises()
    assert len(told) == 6
    for line in told:
        assert sum(line.replace("**", "").startswith(said) for said in HELD_BY) == 1, line
    assert len(HELD_BY) == len(told)


@pytest.mark.parametrize("promise", HELD_BY)
def test_the_tests_that_hold_it_exist(promise: str) -> None:
    names = HELD_BY[promise]
    assert any(not name.startswith(APART) for name in names)
    assert missing(names) == []


def test_a_test_that_does_not_exist_is_seen() -> None:
    assert missing(("tests/docs/test_promises.py::test_nothing", "tests/nowhere.py::test_it")) != []
    assert missing(("tests/docs/test_promises.py::test_a_test_that_does_not_exist_is_seen",)) == []

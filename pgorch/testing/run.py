"""A run under test: what came of it, and what may still happen to it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pgorch.database.simulation import Approval, Entry
from pgorch.errors import NotFound
from pgorch.testing.answers import Decision, Decisions, decision_of
from pgorch.testing.player import LEASE_SECONDS, Crashes, Player
from pgorch.testing.tools import Call
from pgorch.tool.options import Interval, seconds_of

ENDED = frozenset({"completed", "failed", "cancelled"})
_ENDS = frozenset({"step_completed", "step_failed", "step_expired", "approval_decided"})
# A timer is due a moment after its time.
_MOMENT = 0.001


class Run:
    """Goes on by itself until it has ended, or waits for somebody or for time to pass.

    Pauses between attempts are jumped over; deadlines and waits come with `advance_clock`.
    """

    def __init__(
        self, player: Player, run_id: UUID, decisions: Decisions, at: Crashes, after: Crashes
    ) -> None:
        self.run_id = run_id
        self._player = player
        self._simulation = player.simulation
        self._decisions = decisions
        self._at = at
        self._after = after

    def __repr__(self) -> str:
        path = " → ".join(self.path)
        return f"<run {self.run_id}: {self.status}{f', {path}' if path else ''}>"

    # What came of it -------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """running, awaiting_approval, waiting, paused, completed, failed or cancelled."""
        return self._simulation.run(self.run_id).status

    @property
    def state(self) -> dict[str, Any]:
        return self._simulation.run(self.run_id).state

    @property
    def error(self) -> dict[str, Any] | None:
        """Of a failed run: {"type", "message", "node", ...}."""
        return self._simulation.run(self.run_id).error

    @property
    def output(self) -> Any:
        """Of a completed run: what the graph's `output` gave, else the state. None before."""
        row = self._simulation.run(self.run_id)
        if row.status != "completed":
            return None
        return row.state if row.output is None else row.output

    @property
    def path(self) -> list[str]:
        """The nodes in the order in which their visits ended, decisions and failed steps among them."""
        return [str(entry.node) for entry in self.history if entry.kind in _ENDS]

    @property
    def undone(self) -> list[str]:
        """The nodes whose steps were undone (`compensate`), in that order."""
        return [str(entry.node) for entry in self.history if entry.kind == "step_undone"]

    @property
    def history(self) -> list[Entry]:
        """Everything that happened, numbered from 1."""
        return self._simulation.history(self.run_id)

    @property
    def children(self) -> list["Run"]:
        """The runs that its nodes of type graph have started."""
        return [
            Run(self._player, run_id, self._decisions, self._at, self._after)
            for run_id in self._simulation.children([self.run_id])
        ]

    @property
    def approvals(self) -> list[Approval]:
        """The open questions, those of child runs too, oldest first."""
        return self._simulation.approvals(self._tree())

    def calls(self, tool: str | None = None) -> list[Call]:
        """The calls of tools by this run and its children, in order; of one tool if it is named."""
        tree = set(self._tree())
        calls = [call for call in self._player.tools.calls if call.run_id in tree]
        return calls if tool is None else [call for call in calls if call.tool == tool]

    # What may happen -------------------------------------------------------------------------------

    def decide(self, node: str, decision: str | Mapping[str, Any] | Decision) -> "Run":
        """Answers the open approval of a node.

        Raises NotFound if there is none, and what the engine refuses: NotAllowed, InvalidValue, WrongState.
        """
        open_ones = self.approvals
        found = next((approval for approval in open_ones if approval.node == node), None)
        if found is None:
            names = ", ".join(sorted({approval.node for approval in open_ones}))
            raise NotFound(
                f"No approval of {node} is open in {self!r}.",
                hint=f"Open are: {names}." if names else "Look at run.path for where it is.",
            )
        self._decide(found, decision_of(decision))
        return self.proceed()

    def approve(self, node: str, data: Mapping[str, Any] | None = None, **more: Any) -> "Run":
        """`decide` with "approved"; `more` is comment, by and roles."""
        return self.decide(node, Decision("approved", data, **more))

    def reject(self, node: str, data: Mapping[str, Any] | None = None, **more: Any) -> "Run":
        """`decide` with "rejected"; `more` is comment, by and roles."""
        return self.decide(node, Decision("rejected", data, **more))

    def signal(self, name: str, payload: Any = None) -> "Run":
        """Sends a signal to the run; one that nobody waits for yet is kept."""
        self._simulation.signal(self.run_id, name, {} if payload is None else payload)
        return self.proceed()

    def cancel(self, reason: str | None = None, *, compensate: bool = False) -> "Run":
        """Cancels the run; with `compensate` what was done is undone."""
        self._simulation.cancel(self.run_id, reason, compensate)
        return self.proceed()

    def advance_clock(self, by: Interval) -> "Run":
        """Lets time pass: "48 hours", seconds, or a timedelta.

        What is due in between comes at its time and in its order, with all that follows from it.
        Raises ConfigError if a worker has come to life in this database.
        """
        left = seconds_of(by, "The time to pass")
        while (due := self._simulation.next_due(self._tree())) is not None and due <= left:
            step = max(due, 0.0) + _MOMENT
            left -= step
            self._move(step)
            self.proceed()
        if left > 0:
            self._move(left)
        return self.proceed()

    def proceed(self) -> "Run":
        """Performs and decides what can be, until the run is at rest."""
        while (
            self._player.perform_all(self._tree, self._at, self._after)
            or self._player.tick()
            or self._answer()
            or self._jump_to_next_attempt()
        ):
            pass
        return self

    def _answer(self) -> bool:
        """Gives the answers that the test has for open questions."""
        for approval in self.approvals:
            decision = self._decisions.next(approval.node, approval.id)
            if decision is not None:
                self._decide(approval, decision)
                return True
        return False

    def _decide(self, approval: Approval, decision: Decision) -> None:
        self._simulation.decide(
            approval,
            decision.decision,
            data=None if decision.data is None else dict(decision.data),
            comment=decision.comment,
            actor=decision.by,
            roles=decision.roles,
        )

    def _jump_to_next_attempt(self) -> bool:
        seconds = self._simulation.next_attempt(self._tree())
        if seconds is None or seconds <= 0:
            # Something could be claimed now, but by none of the queues and tools of this test.
            return False
        self._move(seconds + _MOMENT)
        return True

    def _move(self, seconds: float) -> None:
        self._player.check_alone()
        self._simulation.move_clock(seconds)
        self._player.beat(LEASE_SECONDS)

    def _tree(self) -> list[UUID]:
        """The run and all runs below it."""
        tree = below = [self.run_id]
        while below:
            below = self._simulation.children(below)
            tree = tree + below
        return tree

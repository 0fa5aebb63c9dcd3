"""The live picture of a run in a terminal."""

from typing import Any
from uuid import UUID

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pgorch.cli.following import described, follow
from pgorch.cli.pictures import picture_of_run, progress
from pgorch.cli.session import Session
from pgorch.drawing import as_text, marks_of

_SHOWN_EVENTS = 8


def watch_live(db: Session, run_id: UUID, *, timeout: float | None, console: Console) -> str:
    """Draw the run anew at each change until it has ended, with its last events below; returns its status.

    The last picture stays. Raises RunTimeout, NotFound.
    """
    events: list[str] = []

    def on_event(event: dict[str, Any]) -> None:
        events.append(described(event))

    # Drawn only when something has changed: a terminal that nobody looks at costs nothing.
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def on_change(status: str) -> None:
            picture = as_text(picture_of_run(db, run_id), marks_of(progress(db, run_id)))
            parts = [Text(picture.rstrip("\n")), Text("")]
            parts += [Text(line, style="dim", no_wrap=True) for line in events[-_SHOWN_EVENTS:]]
            live.update(Group(*parts), refresh=True)

        return follow(db, run_id, timeout=timeout, on_event=on_event, on_change=on_change)

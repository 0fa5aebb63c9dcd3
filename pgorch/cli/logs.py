"""Log lines of long-running processes, on stderr."""

import logging
import os

_ABOUT = ("run_id", "node", "step_id", "attempt", "tool")


class _OneLine(logging.Formatter):
    """A message is one line, whatever the server's text looks like; only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        about = [f"{name}={value}" for name in _ABOUT if (value := record.__dict__.get(name)) is not None]
        record.message = " ".join([*record.message.split(), *about])
        return super().formatMessage(record)


def log_to_stderr(*, quiet: bool) -> None:
    """Warnings with time, part and process; unless `quiet`, what else is worth knowing, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(f"%(asctime)s %(levelname)s %(name)s[{os.getpid()}] %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pgorch").setLevel(logging.WARNING if quiet else logging.INFO)

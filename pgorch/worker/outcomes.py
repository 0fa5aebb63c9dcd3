"""What came of a step, as it is handed in."""

import traceback
from typing import Any, NamedTuple

import orjson

from pgorch import strict_json
from pgorch.errors import InvalidValue, PgorchError
from pgorch.tool import InvalidArguments

_MESSAGE_CHARACTERS = 4000
_TRACEBACK_LINES = 20
_TRACEBACK_CHARACTERS = 4000


class Outcome(NamedTuple):
    """`kind` is "success", "error" or "release"; `output` is JSON text, None only for a release."""

    kind: str
    output: str | None


RELEASE = Outcome("release", None)


def success(value: Any) -> Outcome:
    """The outcome of a tool that returned `value`, which may turn out to be no JSON."""
    try:
        return Outcome("success", strict_json.dumps(value))
    except InvalidValue as problem:
        return error("InvalidResult", str(problem), retryable=False, hint=problem.hint)
    except Exception as problem:  # a dataclass or mapping of the user's own that cannot be read
        said = f"The result cannot be written as JSON: {_said(problem)}"
        return error("InvalidResult", said, retryable=False)


def error(type: str, message: str, *, retryable: bool = True, **more: Any) -> Outcome:
    """An error; of `more`, what is None is left out."""
    known = {"type": type, "message": message[:_MESSAGE_CHARACTERS], "retryable": retryable}
    known |= {key: value for key, value in more.items() if value is not None}
    return Outcome("error", orjson.dumps(_storable(known)).decode())


def raised(problem: BaseException) -> Outcome:
    """The error of a tool that raised `problem`, which may say `retryable` and `retry_after` (seconds)."""
    if isinstance(problem, SystemExit | KeyboardInterrupt):
        return error(
            "ToolExited",
            f"The tool tried to end the worker: {type(problem).__name__}({_said(problem)})",
            retryable=False,
            hint="Raise an exception of your own instead.",
        )
    if isinstance(problem, InvalidArguments):
        return error("InvalidArguments", str(problem), retryable=False, hint=problem.hint)
    return error(
        type(problem).__name__,
        _said(problem),
        retryable=getattr(problem, "retryable", True) is not False,
        retry_after=_seconds(getattr(problem, "retry_after", None)),
        hint=problem.hint if isinstance(problem, PgorchError) else None,
        traceback=_traceback(problem),
    )


def timed_out(seconds: float) -> Outcome:
    return error("Timeout", f"The tool did not end within {seconds:g} seconds.")


def silent(seconds: float) -> Outcome:
    return error(
        "HeartbeatTimeout",
        f"The tool gave no sign of life for {seconds:g} seconds.",
        hint="Call ctx.heartbeat() more often, or give the node a longer heartbeat.",
    )


def _said(problem: BaseException) -> str:
    try:
        return str(problem) or type(problem).__name__
    except Exception:
        return f"({type(problem).__name__} whose text cannot be had)"


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    return None


def _traceback(problem: BaseException) -> str | None:
    # The first frame is the worker's own.
    frames = problem.__traceback__.tb_next if problem.__traceback__ else None
    if frames is None:
        return None
    return "".join(traceback.format_tb(frames, limit=-_TRACEBACK_LINES)).rstrip()[-_TRACEBACK_CHARACTERS:]


def _storable(known: dict[str, Any]) -> dict[str, Any]:
    """Texts without what Postgres cannot store: NUL characters and lone surrogates."""
    return {
        key: value.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str)
        else value
        for key, value in known.items()
    }

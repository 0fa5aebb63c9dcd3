"""Fuzzing of all that reads text here: guided by coverage (atheris) in Python, by pieces of a grammar in SQL.

    python -m tests.doors.fuzz --minutes 30 [--only loads,cron,...] [--seed 1]

atheris is installed when it is first needed (Linux, CPython 3.11 to 3.13). Each target has a process and an
equal part of the time; Python's parsers are guided by their own coverage. A target must return, raise the
error that it says it raises, keep what it says it keeps, and be done within 2 seconds. It exits with 1 and
prints the input if one does not.
"""

import argparse
import contextlib
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MOST_SECONDS = 2
MOST_MIB = 1024
_AFTER = datetime(2026, 1, 1, tzinfo=UTC)


# What reads in Python. Each is a function of bytes that raises only if something is wrong.


def loads(data: bytes) -> None:
    from pgorch import strict_json
    from pgorch.errors import InvalidValue

    try:
        value = strict_json.loads(data)
    except InvalidValue as error:
        str(error).encode()
        return
    # What is let in can be written and read again, and is the same.
    text = strict_json.dumps(value, limit=10**8)
    assert strict_json.loads(text, limit=10**8) == value


def places(data: bytes) -> None:
    from pgorch.json_places import line_and_column, path_at, pointer, sentence_part

    path = path_at(data, len(data))
    pointer(path).encode()
    sentence_part(path).encode()
    line_and_column(data, len(data))


def cron(data: bytes) -> None:
    from itertools import islice

    from pgorch.cron import due_times
    from pgorch.errors import InvalidValue

    expression, _, zone = data.decode("utf-8", "replace").partition("|")
    try:
        times = list(islice(due_times(expression, zone or "UTC", _AFTER), 5))
    except InvalidValue:
        return
    assert times == sorted(set(times))
    assert all(time > _AFTER for time in times)


def drawing(data: bytes) -> None:
    import orjson

    from pgorch.drawing import as_mermaid, as_text, picture_of

    words = [word.decode("utf-8", "replace") for word in data.split(b"\n")]
    nodes = [
        {"id": w[1:] or "x", "type": ["task", "pass", "map", "graph"][len(w) % 4]} for w in words if w
    ] or [{"id": "x"}]
    ids = [node["id"] for node in nodes]
    edges = [
        {"source": ids[n % len(ids)], "target": ids[len(w) % len(ids)], "condition": w, "label": w[:3]}
        for n, w in enumerate(words)
    ]
    graph = {"nodes": nodes, "edges": edges, "start_node": ids[0], "name": words[0]}
    picture = picture_of(orjson.loads(orjson.dumps(graph)))
    chart = as_mermaid(picture)
    chart.encode()
    assert "<script" not in chart.lower()
    as_text(picture).encode()


def addresses(data: bytes) -> None:
    import ipaddress

    from pgorch.api.addresses import is_loopback
    from pgorch.hooks.addresses import is_public

    text = data.decode("utf-8", "replace")
    is_loopback(text)
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text.partition("%")[0])
        if is_public(text):
            assert not address.is_private


def intervals(data: bytes) -> None:
    from pgorch.errors import ConfigError
    from pgorch.tool.options import seconds_of

    with contextlib.suppress(ConfigError):
        assert seconds_of(data.decode("utf-8", "replace"), "it") >= 0


def edits(data: bytes) -> None:
    from pgorch.cli.edits import assignments, put
    from pgorch.cli.failures import UsageError
    from pgorch.errors import PgorchError

    state: Any = {}
    try:
        for path, value in assignments(data.decode("utf-8", "replace").split("\n")):
            put(state, path, value)
    except (UsageError, PgorchError):
        pass


def parameters(data: bytes) -> None:
    from starlette.requests import Request

    from pgorch.api.parameters import LIMIT, check_query, cursor_id, page_size, seconds_to_wait
    from pgorch.api.problems import Problem
    from pgorch.api.runs import LABEL, STATE

    query, _, prefer = data.partition(b"\n")
    request = Request({"type": "http", "query_string": query, "headers": [(b"prefer", prefer)]})
    try:
        check_query(request, (LIMIT, STATE, LABEL))
        assert 1 <= page_size(request) <= 1000
        cursor_id(request)
        assert 0 <= seconds_to_wait(request) <= 300
    except Problem as problem:
        problem.response()


PYTHON: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "loads": (loads, [b'{"a": [1, 2.5e3, "x\\u00e9", null, true]}', b"[9007199254740993]", b'{"k":1,"k":2}']),
    "places": (places, [b'{"a": [1, {"b": "\\ud83d\\ude00"', b'[[[],{"x":[1,2', b'{"a\\"b": 1, "c"']),
    "cron": (cron, [b"*/5 0-3,7 1,L * MON#2|Europe/Berlin", b"0 3 * * *", b"0 0 29 2 *|America/St_Johns"]),
    "drawing": (drawing, [b"a\nb\nc", b"x<script>\n]\"'`\n-->"]),
    "addresses": (addresses, [b"127.0.0.1", b"::ffff:10.0.0.1%eth0", b"64:ff9b::7f00:1", b"2002:7f00:1::"]),
    "intervals": (intervals, [b"5 minutes", b"PT24H", b"1 day 02:03:04.5", b"90s"]),
    "edits": (edits, [b"a.b[0]=1\nc=\"x\"", b"x[3].y={}"]),
    "parameters": (parameters, [b"limit=3&state.a.b=c\nwait=30", b"label.x=%00&cursor=x"]),
}  # fmt: skip

# ruff: noqa: E501, SIM905 (lists of words are easier to read as words)

# What reads in SQL: a statement with one text, and pieces to make texts of.
_PATH_PIECES = '$ @ .a .* [*] [0] [last] .** .**{2} ( ) ? == != < > <= && || ! + - * / % 1 -1 1e9 0.5 " "x" true false null exists starts with like_regex flag is unknown $nodes $input $x .size() .type() .double() .abs() .datetime() .keyvalue() strict lax to , \' \\ \\u0041 é'.split()
SQL: dict[str, tuple[str, list[str]]] = {
    "templates": (
        "select pgorch._template_errors(jsonb_build_array(v), '', null), pgorch._template_parts(v)"
        " from (select %s::text as v) t",
        ["${", "}", "$${", "${$.a}", "${$nodes.a.output}", "{", '"', "\\", " ", *_PATH_PIECES],
    ),
    "conditions": (
        "select pgorch._condition_errors(v, '/c', 'success', 'task'), pgorch._path_roots(pgorch._path_or_null(v)),"
        " pgorch._path_node_refs(pgorch._path_or_null(v)), pgorch._compares_paths(pgorch._path_or_null(v))"
        " from (select %s::text as v) t",
        _PATH_PIECES,
    ),
    "schemas": (
        "select pgorch._schema_problems(jsonb_build_object(v, jsonb_build_object(v, v)), ''),"
        " pgorch._schema_problems(jsonb_build_object('type', 'string', 'pattern', v), '')"
        " from (select %s::text as v) t",
        'type pattern format enum const properties items ^ $ ( ) [ ] {1,255} * + ? | \\d \\1 (?= (?! a - ,'.split(),
    ),
    "cron expressions": (
        "select pgorch._checked_cron(%s::text)",
        '* / , - ? L # W 0 5 59 60 7 JAN mon @daily \\t 1-5 */0 é'.split(),
    ),
    "intervals in graphs": (
        """select pgorch.validate_graph(jsonb_build_object('nodes', jsonb_build_array(jsonb_build_object(
               'id', 'a', 'type', 'pass', 'timeout', v, 'deadline', v, 'queue', v)), 'edges', '[]'::jsonb,
               'start_node', v, 'name', v)) from (select %s::text as v) t""",
        '1 second day years P T PT1H infinity -infinity @ ago -1 1e10 99999999999 : 00:00 . é a@1 /'.split(),
    ),
    "names of graphs": ("select pgorch.find_graph(%s::text)", ["a", "@", "1", "@1", "@0", "@999999999", "'", '"', "%", "_", "é", "\\", "-", "uuid"]),
    "filters of bulk": (
        """select b.* from (select %s::text as v) t, pgorch.bulk('cancel', jsonb_build_object('graph', v,
               'created_before', v, 'state', jsonb_build_object(v, v), 'labels', jsonb_build_object(v, v))) b""",
        "2026-01-01 now infinity 'x' \" % _ ; -- a @1 T Z + 24:00 é".split(),
    ),
}  # fmt: skip
# What these may raise: pgorch's own errors, and "data exception" where text is cast to a time.
_FINE = ("OR", "22")


def fuzz_python(name: str, seconds: int, seed: int) -> int:
    """Runs atheris in this process; it ends the process."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    target, examples = PYTHON[name]
    with atheris.instrument_imports(include=["pgorch", "cronsim"]):
        target(examples[0])
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, example in enumerate(examples):
        (corpus / str(number)).write_bytes(example)
    atheris.Setup(
        [
            sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={MOST_SECONDS}",
            f"-rss_limit_mb={MOST_MIB}", "-max_len=4096", "-print_final_stats=1", "-verbosity=0",
            f"-artifact_prefix={corpus}/",
        ],
        target,
    )  # fmt: skip
    atheris.Fuzz()
    return 0


def fuzz_sql(name: str, seconds: float, seed: int, dsn: str) -> tuple[int, str | None]:
    """How many texts were tried, and what was wrong."""
    import psycopg

    query, pieces = SQL[name]
    chance = random.Random(seed)
    tried = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"set statement_timeout = '{MOST_SECONDS}s'".encode())
        deadline = time.monotonic() + seconds
        kept: list[str] = []
        while time.monotonic() < deadline:
            text = _made(chance, pieces, kept)
            tried += 1
            try:
                connection.execute(query.encode(), [text] * query.count("%s"))
                # What was understood is worth changing.
                if len(kept) < 500 or not chance.randrange(10):
                    kept = [*kept[-499:], text]
            except psycopg.Error as error:
                if (error.sqlstate or "")[:2] not in _FINE:
                    return tried, f"{name}: {text!r}: {error.sqlstate} {error}"
    return tried, None


def _made(chance: random.Random, pieces: list[str], kept: list[str]) -> str:
    if kept and chance.random() < 0.6:
        text = chance.choice(kept)
        at = chance.randrange(len(text) + 1)
        change = chance.random()
        if change < 0.4:
            return text[:at] + chance.choice(pieces) + text[at:]
        if change < 0.7:
            return text[:at] + text[at + chance.randrange(1, 5) :]
        return (
            text[:at]
            + chr(chance.choice((chance.randrange(1, 128), chance.randrange(1, 0xD800))))
            + text[at + 1 :]
        )
    glue = chance.choice(("", " "))
    return glue.join(chance.choice(pieces) for _ in range(chance.randrange(1, 14)))


def have_atheris() -> bool:
    if importlib.util.find_spec("atheris") is None:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "atheris"]
        )
        importlib.invalidate_caches()
    return importlib.util.find_spec("atheris") is not None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="names of targets, separated by commas")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target:
        return fuzz_python(options.target, options.seconds, options.seed)
    names = options.only.split(",") if options.only else [*PYTHON, *SQL]
    each = max(1, round(options.minutes * 60 / len(names)))
    wrong: list[str] = []
    in_python = [name for name in names if name in PYTHON]
    if in_python and not have_atheris():
        print("There is no atheris for this Python: only SQL is fuzzed.")
        wrong, in_python = ["no atheris"], []
    for name in in_python:
        tried, trouble = _in_a_process(name, each, options.seed)
        print(f"{name}: {tried} inputs in {each} s", flush=True)
        wrong += [trouble] if trouble else []
    if in_sql := [name for name in names if name in SQL]:
        from tests.doors.ground import database_alone

        with database_alone() as dsn:
            for name in in_sql:
                tried, trouble = fuzz_sql(name, each, options.seed, dsn)
                print(f"{name}: {tried} inputs in {each} s", flush=True)
                wrong += [trouble] if trouble else []
    for line in wrong:
        print(f"WRONG: {line}")
    print("nothing is wrong" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


def _in_a_process(name: str, seconds: int, seed: int) -> tuple[int, str | None]:
    command = [sys.executable, "-m", "tests.doors.fuzz", "--target", name, "--seconds", str(seconds)]
    done = subprocess.run(
        [*command, "--seed", str(seed)], capture_output=True, text=True, errors="replace", env=os.environ
    )
    said = done.stdout + done.stderr
    count = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    return int(count[1]) if count else 0, None if done.returncode == 0 else f"{name}: {said[-3000:]}"


if __name__ == "__main__":
    sys.exit(main())

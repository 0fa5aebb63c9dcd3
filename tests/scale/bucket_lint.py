"""Checks the bodies of SQL functions against the rules that let the same SQL run on one server or on many.

No database is needed: the bodies are parsed. Run as a program it prints what it finds in the files named:
``python -m tests.scale.bucket_lint sql/functions/*.sql``.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pglast import ast, parse_plpgsql, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType

HOT_TABLES = frozenset(
    {
        "runs",
        "steps",
        "history",
        "approvals",
        "votes",
        "audit",
        "timers",
        "signals",
        "_row_waits",
        "_row_changes",
        "_idempotency_keys",
        "_worker_leases",
        "_revocations",
        "_writes",
        "_limit_state",
        "_key_changes",
        "hook_deliveries",
        "hook_attempts",
    }
)
# Functions that change tables themselves, never on the path of a run, and what reads a table of the user.
MAY_USE_DYNAMIC_SQL = frozenset(
    {
        "_make_history",
        "_drop_history",
        "_matching_row",
        "_row_key",
        "_watch_tables",
        "_unwatch_table",
        "_make_sql_runner",
        "_run_statement",
        "_drop_temporary",
        "_put_back",
        "perform_sql",
    }
)
# Triggers on tables of users, which know no bucket: they look into all of them at once.
ASK_ALL_BUCKETS = frozenset({"_row_changed", "_row_left"})
# What is asked of the session in which it runs, wherever that is.
LOOK_AT_THE_SESSION = frozenset({"_sees_commits", "_deferred_writes", "perform_sql"})

VOLATILE = frozenset(
    {"clock_timestamp", "timeofday", "random", "gen_random_uuid", "uuidv7", "nextval", "pg_notify"}
)
TIME_OF_THE_TRANSACTION = frozenset({"now", "statement_timestamp", "transaction_timestamp"})
SESSION_INPUT = frozenset({"current_setting", "set_config"})
LEVELS = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
MODIFYING = LEVELS[1:]
STATEMENT_WORDS = frozenset(
    {"select", "insert", "update", "delete", "merge", "with", "values", "create", "lock", "deallocate", "set"}
)


@dataclass(frozen=True)
class Violation:
    function: str
    rule: int
    problem: str
    statement: str

    def __str__(self) -> str:
        statement = " ".join(self.statement.split())[:140]
        return f"{self.function}: rule {self.rule}: {self.problem}\n    {statement}"


@dataclass(frozen=True)
class Function:
    name: str
    language: str
    volatile: bool
    arguments: tuple[str, ...]
    body: str
    statements: tuple[str, ...]
    dynamic: int


def functions_in(sql: str) -> Iterator[Function]:
    for raw in parse_sql(sql):
        if isinstance(raw.stmt, ast.CreateFunctionStmt):
            yield _function(raw.stmt)


def lint(functions: Iterable[Function]) -> list[Violation]:
    found = list(functions)
    own_volatile = frozenset(f.name for f in found if f.volatile)
    numbering = _callers_of("nextval", found)
    violations: list[Violation] = []
    for function in found:
        check = _Check(function, VOLATILE | own_volatile, numbering | {"nextval"})
        violations.extend(check.run())
    return violations


def lint_files(paths: Iterable[Path]) -> list[Violation]:
    return lint(f for path in sorted(paths) for f in functions_in(path.read_text(encoding="utf-8")))


class _Check:
    def __init__(self, function: Function, volatile: frozenset[str], numbering: frozenset[str]) -> None:
        self.function = function
        self.volatile = volatile
        self.numbering = numbering
        self.violations: list[Violation] = []
        self.statement = ""

    def run(self) -> list[Violation]:
        if self.function.dynamic and self.function.name not in MAY_USE_DYNAMIC_SQL:
            self._say(5, "dynamic SQL (execute)")
        for statement in self.function.statements:
            self.statement = statement
            if (
                self.function.language == "sql"
                and "p_bucket" in self.function.arguments
                and _is_hot(statement)
            ):
                self._say(2, "a SQL function is planned without knowing its bucket: make it plpgsql")
            for raw in parse_sql(_as_statement(statement)):
                self._check_statement(raw.stmt)
        return self.violations

    def _say(self, rule: int, problem: str) -> None:
        self.violations.append(Violation(self.function.name, rule, problem, self.statement))

    def _check_statement(self, root: Any) -> None:
        levels = [n for n in _walk(root) if isinstance(n, LEVELS)]
        for level in levels:
            self._check_level(level)
        modifying = [n for n in levels if isinstance(n, MODIFYING)]
        if len(modifying) > 1:
            self._say(3, f"{len(modifying)} modifying commands in one statement")
        calls = [_name(n) for n in _walk(root) if isinstance(n, ast.FuncCall)]
        hot = any(isinstance(n, ast.RangeVar) and n.relname in HOT_TABLES for n in _walk(root))
        for call in calls:
            # How a transaction is isolated is told to every server that takes part in it.
            if call in SESSION_INPUT and self.function.name not in LOOK_AT_THE_SESSION | ASK_ALL_BUCKETS:
                self._say(6, f"{call}() does not reach the server of another bucket: pass an argument")
            if hot and call in self.numbering:
                self._say(5, f"{call}() takes a number of a sequence in a statement on a hot table")
        if any(isinstance(m, ast.UpdateStmt | ast.DeleteStmt) for m in modifying):
            for call in calls:
                if call in self.volatile:
                    self._say(4, f"volatile {call}() in an update or delete: put it into a variable")
            for case in (n for n in _walk(root) if isinstance(n, ast.CaseExpr | ast.CoalesceExpr)):
                for call in (_name(n) for n in _walk(case) if isinstance(n, ast.FuncCall)):
                    if call in TIME_OF_THE_TRANSACTION:
                        self._say(4, f"{call}() inside case or coalesce of an update or delete")
        if isinstance(root, ast.CreateStmt | ast.CreateTableAsStmt):
            self._say(5, "a table made on the way")

    def _check_level(self, level: Any) -> None:
        if isinstance(level, ast.MergeStmt):
            self._say(5, "merge is refused on distributed tables")
            return
        if isinstance(level, ast.InsertStmt):
            self._check_insert(level)
            return
        names = _hot_names(level)
        bound = _bound_to_a_bucket(level, names)
        for name in names:
            if name not in bound and not (
                isinstance(level, ast.SelectStmt) and self.function.name in ASK_ALL_BUCKETS
            ):
                self._say(2, f"no {name}.bucket = <parameter> beside the hot table {name}")

    def _check_insert(self, insert: Any) -> None:
        if insert.relation.relname in HOT_TABLES:
            first = insert.cols[0].name if insert.cols else None
            if first != "bucket":
                self._say(2, f"insert into {insert.relation.relname}: bucket is not the first column named")
            elif not _inserts_own_bucket(insert):
                self._say(2, f"insert into {insert.relation.relname}: bucket is not a parameter")
        values = insert.selectStmt.valuesLists if insert.selectStmt is not None else None
        if values and any(isinstance(n, ast.SubLink) for n in _walk(values)):
            self._say(5, "subquery inside insert ... values")


def _is_hot(statement: str) -> bool:
    return re.search(rf"\bpgorch\.({'|'.join(HOT_TABLES)})\b", statement) is not None


def _inserts_own_bucket(insert: Any) -> bool:
    source = insert.selectStmt
    if source is None:
        return False
    if source.valuesLists:
        return all(_is_parameter(row[0]) for row in source.valuesLists)
    return source.targetList is not None and _is_parameter(source.targetList[0].val)


def _hot_names(level: Any) -> list[str]:
    target = None if isinstance(level, ast.SelectStmt) else level.relation
    parts = (target, getattr(level, "fromClause", None), getattr(level, "usingClause", None))
    tables: list[Any] = [n for n in _walk(parts, cut=LEVELS) if isinstance(n, ast.RangeVar)]
    return [
        str(t.alias.aliasname if t.alias else t.relname)
        for t in tables
        if t.schemaname == "pgorch" and t.relname in HOT_TABLES
    ]


def _bound_to_a_bucket(level: Any, hot_names: list[str]) -> set[str]:
    conditions = [level.whereClause]
    for part in (getattr(level, "fromClause", None), getattr(level, "usingClause", None)):
        conditions += [n.quals for n in _walk(part, cut=LEVELS) if isinstance(n, ast.JoinExpr)]
    bound: set[str] = set()
    for term in (t for c in conditions for t in _conjuncts(c) if isinstance(t, ast.A_Expr)):
        if term.kind != A_Expr_Kind.AEXPR_OP or _operator(term) != "=":
            continue
        for one, other in ((term.lexpr, term.rexpr), (term.rexpr, term.lexpr)):
            column = _column(one)
            if column and column[-1] == "bucket" and _is_parameter(other):
                bound.add(column[0] if len(column) > 1 else hot_names[0] if len(hot_names) == 1 else "")
    return bound


def _is_parameter(node: Any) -> bool:
    column = _column(node)
    if column:
        return column in (["p_bucket"], ["v_bucket"])
    if isinstance(node, ast.FuncCall) and _name(node) == "bucket_of" and node.args:
        argument = _column(node.args[0])
        return argument is not None and len(argument) == 1 and argument[0].startswith(("p_", "v_"))
    return isinstance(node, ast.ParamRef)


def _conjuncts(condition: Any) -> Iterator[Any]:
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for part in condition.args or ():
            yield from _conjuncts(part)
    elif condition is not None:
        yield condition


def _walk(node: Any, cut: tuple[type, ...] = ()) -> Iterator[Any]:
    if isinstance(node, tuple | list):
        for part in node:
            yield from _walk(part, cut)
    elif isinstance(node, ast.Node) and not isinstance(node, cut):
        yield node
        for attribute in node:
            yield from _walk(getattr(node, attribute, None), cut)


def _column(node: Any) -> list[str] | None:
    if not isinstance(node, ast.ColumnRef):
        return None
    return [str(f.sval) for f in node.fields or () if isinstance(f, ast.String)]


def _name(call: Any) -> str:
    return str(call.funcname[-1].sval)


def _operator(expression: Any) -> str:
    return str(expression.name[-1].sval)


def _callers_of(name: str, functions: list[Function]) -> frozenset[str]:
    callers = {name}
    while True:
        more = {
            f.name
            for f in functions
            if f.language == "sql" and any(re.search(rf"\b{c}\s*\(", f.body) for c in callers)
        }
        if more <= callers:
            return frozenset(callers)
        callers |= more


def _as_statement(text: str) -> str:
    text = re.sub(r"^(\s*--[^\n]*\n)*", "", text).strip()
    first = re.match(r"\w*", text)
    if first and first.group().lower() in STATEMENT_WORDS:
        return text
    return "select " + re.sub(r"^[\w.\[\]\s+-]+?:=", "", text, count=1)


def _function(statement: Any) -> Function:
    name = statement.funcname[-1].sval
    options = {o.defname: o.arg for o in statement.options or ()}
    language = options["language"].sval
    body = options["as"][0].sval if "as" in options else ""
    parameters = [p for p in statement.parameters or () if p.name]
    if language == "plpgsql":
        tree = parse_plpgsql(_parseable(statement, parameters, body))
        statements = tuple(_queries(tree))
        dynamic = len(re.findall('"PLpgSQL_stmt_dyn(?:execute|fors)"', json.dumps(tree)))
    else:
        statements, dynamic = (body,), 0
    volatility = options["volatility"].sval if "volatility" in options else "volatile"
    return Function(
        name, language, volatility == "volatile", tuple(p.name for p in parameters), body, statements, dynamic
    )


def _parseable(statement: Any, parameters: list[Any], body: str) -> str:
    """The parser knows only built-in types: rows become records, and parameters become variables."""
    body = re.sub(
        r"(?m)^(\s*(?!from\b|join\b|into\b|update\b)\w+\s+(?:constant\s+)?)pgorch\.(\w+)((?:\[\])*)(?=\s*(?:;|:=))",
        lambda m: m[1] + ("text[]" if m[3] else "text" if m[2] == "event_kind" else "record"),
        body,
    )
    variables = "".join(f"{p.name} {_stand_in(p.argType)};\n" for p in parameters)
    body = re.sub(r"^\s*declare\b", "", body, count=1, flags=re.IGNORECASE)
    # o, b and t are the modes of parameters that are columns of the result.
    if any(p.mode.value in ("o", "b", "t") for p in parameters):
        header = "(out _first text, out _second text)"
        if statement.returnType is not None and statement.returnType.setof:
            header += " returns setof record"
    else:
        result = statement.returnType
        is_set = "setof " if result.setof else ""
        header = f"() returns {is_set}{_stand_in(result)}"
    text = f"declare\n{variables}{body}"
    return f"create function f{header} language plpgsql as $parseable${text}\n$parseable$"


def _stand_in(type_name: Any) -> str:
    names = [n.sval for n in type_name.names]
    if names[-1] == "void":
        return "void"
    if type_name.arrayBounds:
        return "text[]"
    return "record" if names[0] == "pgorch" and names[-1] != "event_kind" else "text"


def _queries(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "PLpgSQL_expr":
                yield value["query"]
            else:
                yield from _queries(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _queries(value)


if __name__ == "__main__":
    problems = lint_files(Path(name) for name in sys.argv[1:])
    print(*problems, f"{len(problems)} violations", sep="\n")
    sys.exit(bool(problems))

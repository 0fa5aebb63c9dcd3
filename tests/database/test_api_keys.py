"""Keys of the API in SQL: made once, kept as a hash, looked up, expired and revoked."""

import base64
import hashlib
import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgorch.database.queries import SyncQueries
from tests.support.races import Rival, open_connection

Connection = psycopg.Connection[dict[str, Any]]
KEY = re.compile(r"pgo_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


def one(connection: Connection, query: str, *parameters: Any) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row


def create(connection: Connection, principal: str = "ada", roles: tuple[str, ...] = ("viewer",)) -> str:
    key: str = one(connection, "select * from pgorch.create_key(%s, %s)", principal, list(roles))["key"]
    return key


def halves(key: str) -> tuple[str, bytes]:
    """The id, and the hash of the secret."""
    match = KEY.fullmatch(key)
    assert match is not None
    return match[1], hashlib.sha256(match[2].encode()).digest()


def whose(connection: Connection, key: str) -> Any:
    return SyncQueries(connection).api_principal(*halves(key))


def jump(connection: Connection, interval: str) -> None:
    connection.execute("select pgorch.set_clock(%s::interval)", [interval])


def test_a_key_names_its_id_and_a_secret_of_32_bytes_that_is_never_the_same(connection: Connection) -> None:
    made = one(
        connection, "select *, clock_timestamp() as now from pgorch.create_key('ada', '{viewer,finance}')"
    )
    match = KEY.fullmatch(made["key"])
    assert match is not None
    assert match[1] == made["id"]
    assert len(base64.urlsafe_b64decode(match[2] + "=")) == 32
    assert abs(made["expires_at"] - made["now"] - timedelta(days=90)) < timedelta(seconds=5)

    rows = connection.execute(
        "select (x.k).id, (x.k).key from (select pgorch.create_key('ada', '{viewer}') as k"
        " from generate_series(1, 500) offset 0) x"
    ).fetchall()
    assert len({row["id"] for row in rows}) == 500
    secrets = [
        base64.urlsafe_b64decode(halved[2] + "=") for row in rows if (halved := KEY.fullmatch(row["key"]))
    ]
    assert len(set(secrets)) == 500
    # Each of the 256 bits is about as often set as not: six standard deviations.
    for byte in range(32):
        for bit in range(8):
            assert abs(sum(secret[byte] >> bit & 1 for secret in secrets) - 250) < 68


def test_the_principal_and_the_roles_are_found_with_the_hash_of_the_secret_alone(
    connection: Connection,
) -> None:
    key = create(connection, "ada", ("operator", "finance"))
    found = whose(connection, key)
    assert (found.principal, found.roles) == ("ada", ["operator", "finance"])
    assert 89 * 86400 < found.expires_in <= 90 * 86400
    key_id, hash = halves(key)
    queries = SyncQueries(connection)
    assert queries.api_principal(key_id, hashlib.sha256(b"guess").digest()) is None
    assert queries.api_principal(key_id, key.encode()) is None
    assert queries.api_principal("0" * 12, hash) is None


def test_the_secret_is_nowhere_in_the_database(connection: Connection) -> None:
    key = create(connection)
    secret = key.split("_", 2)[2]
    stored = one(connection, "select secret_hash from pgorch.api_keys")["secret_hash"]
    assert stored == halves(key)[1]
    tables = connection.execute(
        "select c.oid::regclass::text as name from pg_class c"
        " where c.relnamespace = 'pgorch'::regnamespace and c.relkind in ('r', 'p', 'v')"
    ).fetchall()
    assert len(tables) > 20
    for table in tables:
        for row in connection.execute(f"select t::text as text from {table['name']} t".encode()).fetchall():
            assert secret not in row["text"]
    # Neither as its bytes, which a bytea would show in hexadecimal.
    raw = base64.urlsafe_b64decode(secret + "=").hex()
    assert raw not in one(connection, "select k::text as text from pgorch.api_keys k")["text"]


def test_the_list_has_no_hash(connection: Connection) -> None:
    _, hash = halves(create(connection))
    listed = one(connection, "select * from pgorch.key_list")
    assert listed["status"] == "valid"
    assert (listed["principal"], listed["roles"], listed["created_by"]) == ("ada", ["viewer"], "postgres")
    assert not any(isinstance(value, bytes) for value in listed.values())
    assert hash.hex() not in str(listed)


def test_a_principal_has_two_keys_while_one_replaces_the_other(connection: Connection) -> None:
    old, new = create(connection), create(connection)
    assert whose(connection, old).principal == whose(connection, new).principal == "ada"
    connection.execute("select pgorch.revoke_key(%s)", [halves(old)[0]])
    assert whose(connection, old) is None
    assert whose(connection, new).principal == "ada"


def test_a_key_expires(connection: Connection) -> None:
    key = one(connection, "select * from pgorch.create_key('ada', '{viewer}', '2 days')")["key"]
    jump(connection, "47 hours")
    assert whose(connection, key).expires_in < 3600
    jump(connection, "49 hours")
    assert whose(connection, key) is None
    assert one(connection, "select status from pgorch.key_list")["status"] == "expired"


def test_with_null_a_key_never_expires(connection: Connection) -> None:
    made = one(connection, "select * from pgorch.create_key('ada', '{viewer}', null)")
    assert made["expires_at"] is None
    jump(connection, "200 years")
    assert whose(connection, made["key"]).expires_in is None


def test_a_key_is_revoked_by_its_id_or_as_a_whole_and_stays_so(connection: Connection) -> None:
    for form in ("{id}", "pgo_{id}", "{key}"):
        key = create(connection)
        given = form.format(id=halves(key)[0], key=key)
        first = one(connection, "select pgorch.revoke_key(%s) as at", given)["at"]
        assert one(connection, "select pgorch.revoke_key(%s) as at", given)["at"] == first
        assert whose(connection, key) is None
        [listed] = connection.execute(
            "select status, revoked_at from pgorch.key_list where id = %s", [halves(key)[0]]
        ).fetchall()
        assert listed == {"status": "revoked", "revoked_at": first}


def test_revoking_what_is_no_key_repeats_nothing_of_what_was_given(connection: Connection) -> None:
    unknown = "pgo_0123456789ab_" + "s" * 43
    with pytest.raises(psycopg.Error, match="there is no key 0123456789ab") as refused:
        connection.execute("select pgorch.revoke_key(%s)", [unknown])
    assert refused.value.sqlstate == "OR003"
    assert "sss" not in str(refused.value)
    for given in ("sss", "pgo_sss", "0123456789abc", "0123456789AB", "", None):
        with pytest.raises(psycopg.Error, match="not the id of a key") as refused:
            connection.execute("select pgorch.revoke_key(%s)", [given])
        assert "sss" not in str(refused.value)


WRONG: list[tuple[Any, Any, Any, str]] = [
    ("", ["viewer"], "1 day", "principal"),
    (None, ["viewer"], "1 day", "principal"),
    ("a\nb", ["viewer"], "1 day", "principal"),
    (" ada", ["viewer"], "1 day", "principal"),
    ("a" * 201, ["viewer"], "1 day", "principal"),
    ("ada", [], "1 day", "one role at least"),
    ("ada", None, "1 day", "one role at least"),
    ("ada", ["finance"], "1 day", "one role at least"),
    ("ada", ["oprator"], "1 day", "one role at least"),
    ("ada", [["viewer", "admin"]], "1 day", "one role at least"),
    ("ada", ["viewer", ""], "1 day", "a role has a name"),
    ("ada", ["viewer", None], "1 day", "a role has a name"),
    ("ada", ["viewer", "a b"], "1 day", "a role has a name"),
    ("ada", ["viewer", "x" * 64], "1 day", "a role has a name"),
    ("ada", ["viewer", "viewer"], "1 day", "named twice"),
    ("ada", ["viewer"], "0", "more than no time"),
    ("ada", ["viewer"], "-1 day", "more than no time"),
    ("ada", ["viewer"], "101 years", "more than no time"),
]


@pytest.mark.parametrize(("principal", "roles", "expires_in", "why"), WRONG)
def test_what_makes_no_key_is_refused(
    connection: Connection, principal: Any, roles: Any, expires_in: Any, why: str
) -> None:
    with pytest.raises(psycopg.Error, match=why) as refused:
        connection.execute(
            "select pgorch.create_key(%s, %s::text[], %s::interval)", [principal, roles, expires_in]
        )
    assert refused.value.sqlstate == "OR006"
    assert one(connection, "select count(*) as n from pgorch.api_keys")["n"] == 0


def test_the_use_of_a_key_is_written_at_most_once_a_minute(connection: Connection) -> None:
    key = create(connection)
    row = "select last_used_at, xmin::text as version from pgorch.api_keys"
    assert one(connection, row)["last_used_at"] is None
    whose(connection, key)
    first = one(connection, row)
    assert first["last_used_at"] is not None
    jump(connection, "50 seconds")
    whose(connection, key)
    assert one(connection, row) == first
    jump(connection, "61 seconds")
    whose(connection, key)
    later = one(connection, row)
    assert later["last_used_at"] - first["last_used_at"] > timedelta(seconds=60)
    # A key that does not work is not used.
    connection.execute("select pgorch.revoke_key(%s)", [halves(key)[0]])
    jump(connection, "1 hour")
    assert whose(connection, key) is None
    assert one(connection, row)["last_used_at"] == later["last_used_at"]


def test_of_two_that_use_a_key_at_once_one_writes_and_neither_waits(
    database: str, connection: Connection
) -> None:
    key = create(connection)
    with open_connection(database, autocommit=False) as other:
        assert whose(other, key) is not None
        connection.execute("set lock_timeout = '200ms'")
        assert whose(connection, key).principal == "ada"
        other.commit()
    with open_connection(database, autocommit=False) as revoking:
        # Not yet committed: it still works, and does not wait for the end of that.
        revoking.execute("select pgorch.revoke_key(%s)", [halves(key)[0]])
        jump(connection, "5 minutes")
        assert whose(connection, key).principal == "ada"
        revoking.commit()
    assert whose(connection, key) is None


def test_of_two_that_revoke_a_key_the_first_one_says_since_when(
    database: str, connection: Connection
) -> None:
    key_id = halves(create(connection))[0]
    with open_connection(database, autocommit=False) as first:
        at = one(first, "select pgorch.revoke_key(%s) as at", key_id)["at"]
        second = Rival(database, "select pgorch.revoke_key(%s) as at", key_id)
        second.wait_until_blocked()
        first.commit()
    assert second.rows() == [{"at": at}]

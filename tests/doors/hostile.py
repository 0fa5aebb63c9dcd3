"""JSON that no door may let in, and JSON at the edge of what each must, as bytes."""

from typing import Any, Final

from hypothesis import strategies as st

# By what is wrong with it: the text of a value, and where in it the trouble is (a JSON pointer; None: the
# place is that of the value).
HOSTILE: Final[dict[str, tuple[bytes, str]]] = {
    "NUL": (rb'{"a": ["x\u0000y"]}', "/a/0"),
    "NUL in a key": (rb'{"a\u0000": 1}', "/a\\u0000"),
    "lone surrogate": (rb'{"a": "\ud800"}', "/a"),
    "lone low surrogate": (rb'["\udc00x"]', "/0"),
    "NaN": (b'{"a": NaN}', "/a"),
    "Infinity": (b"[1, Infinity]", "/1"),
    "-Infinity": (b"[-Infinity]", "/0"),
    "beyond a double": (b'{"a": 1e400}', "/a"),
    "2^53+1": (b'{"a": {"b": 9007199254740993}}', "/a/b"),
    "2^64+1": (b'{"a": [18446744073709551617]}', "/a/0"),
    "400 digits": (b"[1" + b"0" * 399 + b"]", "/0"),
    "twice the same key": (b'{"a": {"k": 1, "k": 2}}', "/a/k"),
    "twice, written differently": (rb'{"k": 1, "\u006b": 2}', "/k"),
    "65 levels": (b"[" * 65 + b"]" * 65, "/0" * 64),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, "/0"),
    "100,000 levels of objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "/a"),
    "no UTF-8": (b'{"a": "\xff\xfe"}', ""),
    "overlong UTF-8": (b'{"a": "\xc0\x80"}', ""),
    "surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', ""),
    "half of a text": (b'{"a": "x', ""),
    "a comma too many": (b'{"a": [1, 2,]}', "/a/2"),
    "single quotes": (b"{'a': 1}", ""),
    "a comment": (b'{"a": 1 /* one */}', "/a"),
    "two values": (b"{} {}", ""),
    "leading zero": (b'{"a": 01}', "/a"),
    "hexadecimal": (b'{"a": 0x10}', "/a"),
}
# These are wrong only where a text begins.
WHOLE: Final[dict[str, bytes]] = {
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without BOM": '{"a": 1}'.encode("utf-16-le"),
    "nothing": b"",
    "blanks": b"  \n",
    "only NUL": b"\0",
}
# What must come back from every door as it went in.
EDGE: Final[dict[str, Any]] = {
    "integers": [0, -1, 2**53, -(2**53), 2**53 + 2, 10**17],
    "decimals": [0.1, -0.5, 1.1, 1e-7, 123456789.125, 5e-324, 2.2250738585072014e-308],
    "texts": ["", " ", "\\", '"', "\u2028", "\x01\x1f", "größer", "😀", "\U0010ffff", "\uffff", "e\u0301"],
    "keys": {"": 1, " ": 2, "$": 3, "a.b": 4, "a/b~c": 5, "ключ": 6, "${$.x}": 7, "__proto__": 8},
    "names of types": {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "id"}},
    "py/object": {"py/object": "os.system", "!!python/object": "x", "$ref": "#/x", "@class": "Runtime"},
    "empty": [{}, [], None, False, True],
    "64 levels at most": [[[[[[[[[[{"a": [[[[[[[[[[]]]]]]]]]]}]]]]]]]]]],
}  # fmt: skip

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False, width=64)
# What strict JSON allows, and every door has to keep.
ALLOWED: Final = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=15,
)


def as_doubles(value: Any) -> Any:
    """The value as a client sees it that has no numbers but doubles: what a round trip has to keep.

    -0.0 is 0 in PostgreSQL, which knows no other.
    """
    if isinstance(value, dict):
        return {key: as_doubles(member) for key, member in value.items()}
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    return float(value) + 0.0 if type(value) in (int, float) else value

"""The table of faults names tests that exist, and is one table in order."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS = [line for line in (HERE / "README.md").read_text().splitlines() if re.match(r"\| *\d", line)]
NAMED = re.compile(r"`((?:tests/)?[\w/]*\.py)?(?:::(test_\w+))?(?:\.\.\.)?`")


def test_its_rows_are_sorted_and_whole() -> None:
    numbers = [int(re.findall(r"\d+", row)[0]) for row in ROWS]
    assert len(numbers) >= 22
    assert numbers == sorted(set(numbers))
    assert {len(re.split(r"(?<!\\)\|", row)) for row in ROWS} == {8}


def test_the_tests_that_it_names_exist() -> None:
    found = 0
    for row in ROWS:
        file, before = "", HERE
        for path, name in NAMED.findall(row.rpartition(" | ")[2]):
            file = path or file
            at = ROOT / file if file.startswith("tests/") else HERE / file
            if not at.exists() and "/" not in file:
                # A second file in the directory of the one before.
                at = before.parent / file
            before = at
            defined = re.findall(r"^(?:async )?def (test_\w+)\(", at.read_text(), re.MULTILINE)
            assert not name or any(each.startswith(name) for each in defined), f"{at}::{name}"
            found += 1
    assert found > 30

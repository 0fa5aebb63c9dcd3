"""What the documents name has to exist."""

import re
from pathlib import Path

import pytest

from pgorch.api.routes import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]
TECHNICAL = (ROOT / "TECHNICAL_DOCS.md").read_text()
DOCUMENTS = ("README.md", "TECHNICAL_DOCS.md", "CONTRIBUTING.md", "CHANGELOG.md")


def test_the_tests_of_the_invariants_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TECHNICAL)
    assert len(named) > 20
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert not missing


def test_every_endpoint_is_named_and_no_other() -> None:
    section = TECHNICAL.partition("\n## HTTP\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/\S+)`", section))
    assert named == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


def test_every_table_and_view_is_named() -> None:
    sql = "".join(path.read_text() for path in sorted((ROOT / "sql").glob("*/*.sql")))
    made = set(re.findall(r"create (?:table|(?:or replace )?view) pgorch\.(\w+)", sql))
    assert len(made) > 20
    unnamed = {name for name in made if f"`{name}`" not in TECHNICAL}
    assert unnamed <= {"_history_rest"}


def test_every_public_function_is_named() -> None:
    sql = "".join(path.read_text() for path in sorted((ROOT / "sql" / "functions").glob("*.sql")))
    made = set(re.findall(r"create or replace function pgorch\.([a-z]\w*)", sql))
    helpers = {"clock_now", "set_clock", "uuid7", "new_run_id", "bucket_of", "bucket_count"}
    assert {name for name in made - helpers if f"`{name}`" not in TECHNICAL} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_a_document_names_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    paths = re.findall(r"`((?:sql|pgorch|tests|demos|docker|\.ci)/[\w./-]+)`", text)
    for path in [*links, *paths]:
        assert (ROOT / path).exists(), path

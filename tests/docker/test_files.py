"""What can be said about the Docker files without Docker."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from pgorch.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)


def test_what_the_image_copies_is_in_the_checkout_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert {"pgorch", "sql", "demos", "LICENSE"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name in kept, f"{name} is kept out of the build by .dockerignore"


def test_what_the_package_needs_for_its_build_is_copied_before_it_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    before_install = DOCKERFILE.partition("pip install")[0]
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in [project["project"]["readme"], *project["project"]["license-files"], *wheel["packages"]]:
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", before_install, re.MULTILINE), name
    for name in wheel["force-include"]:
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", before_install, re.MULTILINE), name


def test_the_image_runs_as_an_ordinary_user_on_a_python_that_is_new_enough() -> None:
    assert instructions("USER")[-1] not in ("root", "0")
    assert DOCKERFILE.rindex("\nUSER") > DOCKERFILE.rindex("\nCOPY")
    for image in instructions("FROM"):
        version = re.match(r"python:3\.(\d+)-slim", image)
        assert version is not None
        assert int(version[1]) >= 11


def test_the_commands_of_the_services_exist_with_their_options(compose: Any) -> None:
    verbs = typer.main.get_command(app)
    for name in ("migrate", "api", "worker"):
        verb, *options = compose["services"][name]["command"]
        command = verbs.get_command(typer.Context(verbs), verb)  # type: ignore[attr-defined]
        assert command is not None, verb
        known = {option for parameter in command.params for option in parameter.opts}
        assert {option for option in options if option.startswith("-")} <= known


def test_the_first_key_is_made_by_the_command_that_the_file_names(compose: Any) -> None:
    text = (ROOT / "docker" / "compose.yaml").read_text()
    [(service, words)] = re.findall(r"^#.* exec (\w+) pgorch (keys create .+)$", text, re.MULTILINE)
    # It runs where the database is known; the image's other environment is that of any process.
    assert compose["services"][service]["environment"]["PGORCH_DSN"]
    parameters = typer.main.get_command(app).commands["keys"].commands["create"].params  # type: ignore[attr-defined]
    known = {option for parameter in parameters for option in parameter.opts}
    assert {word for word in words.split() if word.startswith("--")} <= known
    # And the API does ask for it.
    assert "--no-auth" not in compose["services"]["api"]["command"]


def test_there_are_two_workers_that_start_after_the_migration(compose: Any) -> None:
    services = compose["services"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[name]["environment"]["PGORCH_DSN"].endswith("@postgres:5432/pgorch")


def test_the_data_of_postgres_18_is_kept_where_its_image_has_it(compose: Any) -> None:
    postgres = compose["services"]["postgres"]
    assert postgres["image"] == "postgres:18"
    # From 18 on the image keeps a directory for each major version below this one.
    assert postgres["volumes"] == ["data:/var/lib/postgresql"]
    assert "data" in compose["volumes"]


def test_only_this_machine_can_reach_the_published_port(compose: Any) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]

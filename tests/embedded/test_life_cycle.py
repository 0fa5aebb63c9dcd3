import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from pgorch.embedded import EmbeddedServer, find_binaries
from pgorch.embedded.postmaster import find_running, read_pid_file
from pgorch.errors import ConfigError
from tests.embedded.users import user, wait_for


def running_pid(data_dir: Path) -> int:
    running = find_running(data_dir / "data")
    assert running is not None
    return running.pid


def is_running(data_dir: Path) -> bool:
    return find_running(data_dir / "data") is not None


@contextmanager
def zombie() -> Iterator[int]:
    """The number of a process that has ended and whose parent does not bury it."""
    script = (
        "import subprocess, time; p = subprocess.Popen('true'); print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            stat = Path(f"/proc/{pid}/stat")
            wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "the child has ended")
            yield pid
        finally:
            parent.kill()


def test_a_server_starts_on_a_new_directory_keeps_its_data_and_leaves_no_process(data_dir: Path) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert not server.adopted
        assert server.version == find_binaries().version
        with psycopg.connect(server.dsn) as connection:
            assert connection.info.dbname == "pgorch"
            connection.execute("create table kept as select 42 as answer")
    assert not is_running(data_dir)
    with EmbeddedServer(data_dir, fsync=False) as server, psycopg.connect(server.dsn) as connection:
        assert not server.adopted
        assert connection.execute("select answer from kept").fetchone() == (42,)
    assert not is_running(data_dir)


def test_it_listens_on_no_port_and_only_its_user_can_enter_the_directory_of_its_socket(
    data_dir: Path,
) -> None:
    with EmbeddedServer(data_dir, fsync=False) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)
        assert connection.execute("select inet_server_addr()").fetchone() == (None,)
        assert os.stat(connection.info.host).st_mode & 0o077 == 0
        assert data_dir.stat().st_mode & 0o077 == 0


def test_durable_unless_a_test_asks_otherwise(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server, psycopg.connect(server.dsn) as connection:
        settings = connection.execute(
            "select current_setting('fsync'), current_setting('full_page_writes'),"
            " current_setting('synchronous_commit'), current_setting('data_checksums')"
        ).fetchone()
        assert settings == ("on", "on", "on", "on")


def test_who_asks_for_durability_gets_no_server_that_was_started_without(data_dir: Path) -> None:
    with EmbeddedServer(data_dir, fsync=False) as careless:
        with pytest.raises(ConfigError, match="fsync off"):
            EmbeddedServer(data_dir).start()
        with psycopg.connect(careless.dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_second_process_adopts_and_the_last_one_stops(data_dir: Path) -> None:
    with user(data_dir) as first, user(data_dir) as second:
        answers = [first.told(), second.told()]
        assert sorted(a["adopted"] for a in answers) == [False, True]
        assert answers[0]["dsn"] == answers[1]["dsn"]
        pid = running_pid(data_dir)
        first.leave()
        assert running_pid(data_dir) == pid
        second.leave()
    assert not is_running(data_dir)


def test_six_processes_race_on_a_new_directory_and_one_starts_the_server(data_dir: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user(data_dir)) for _ in range(6)]
        assert sorted(u.told()["adopted"] for u in users) == [False] + [True] * 5
        for one in users[:5]:
            one.leave()
        assert is_running(data_dir)
        users[5].leave()
    assert not is_running(data_dir)


def test_a_killed_user_leaves_the_server_to_the_next_who_stops_it(data_dir: Path) -> None:
    with user(data_dir) as first:
        first.told()
        pid = running_pid(data_dir)
        first.kill()
    assert running_pid(data_dir) == pid
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert server.adopted
        assert running_pid(data_dir) == pid
    assert not is_running(data_dir)


def test_a_killed_server_comes_back_with_all_that_was_committed(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table kept as select 42 as answer")
        pid = running_pid(data_dir)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_running(data_dir), "the server is gone")
        server.start()
        assert not server.adopted
        assert running_pid(data_dir) != pid
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("select answer from kept").fetchone() == (42,)
    assert not is_running(data_dir)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_zombie_counts_as_dead(data_dir: Path) -> None:
    EmbeddedServer(data_dir, fsync=False).start().stop()
    with zombie() as dead:
        pid_file = data_dir / "data" / "postmaster.pid"
        pid_file.write_text(f"{dead}\n{data_dir}/data\n1\n5432\n{data_dir}/run\n\n    0 0\nready   \n")
        with EmbeddedServer(data_dir, fsync=False) as server:
            assert not server.adopted
            assert running_pid(data_dir) != dead


def test_a_process_forked_by_a_user_does_not_count_as_one(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, fsync=False).start()
    assert server._use is not None
    with subprocess.Popen(["sleep", "600"], pass_fds=[server._use]) as heir:
        try:
            server.stop()
            assert not is_running(data_dir)
            with EmbeddedServer(data_dir, fsync=False) as another:
                assert not another.adopted
            assert not is_running(data_dir)
        finally:
            heir.kill()


def test_another_program_with_the_number_of_a_dead_server_is_not_taken_for_it(data_dir: Path) -> None:
    EmbeddedServer(data_dir, fsync=False).start().stop()
    pid_file = data_dir / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{data_dir}/data\n1\n5432\n{data_dir}/run\n\n    0 0\nready   \n")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert not server.adopted
        left = read_pid_file(data_dir / "data")
        assert left is not None
        assert left.pid != os.getpid()


def test_an_interrupted_initdb_is_begun_anew(data_dir: Path) -> None:
    (data_dir / "data.tmp").mkdir(parents=True)
    (data_dir / "data.tmp" / "PG_VERSION").write_text("18")
    with EmbeddedServer(data_dir, fsync=False) as server:
        assert not server.adopted
    assert not (data_dir / "data.tmp").exists()


def test_stopping_twice_and_starting_twice_do_no_harm(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, fsync=False)
    server.stop()
    server.start()
    server.start()
    assert server.adopted
    server.stop()
    server.stop()
    assert not is_running(data_dir)


def test_the_callers_postgres_variables_do_not_reach_the_server(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGHOST": "nowhere", "LC_ALL": "xx_XX"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedServer(data_dir, fsync=False) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("show port").fetchone() == ("5432",)

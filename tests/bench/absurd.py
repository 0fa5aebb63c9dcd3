"""Absurd (Python) beside pgorch, in the same minutes on the same server: the ratio is what counts."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from pgorch.cli.bench.counters import read
from pgorch.cli.bench.ground import checkpoint
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from tests.bench.arena import STEPS, Arena, Figure, median_rate

PACKAGES = ("absurd-sdk", "absurdctl")
_WORKER = Path(__file__).with_name("absurd_worker.py")


def absurd(arena: Arena) -> list[Figure]:
    """10-step chains in both, two processes each, turn and turn about."""
    program = _environment()
    ours, theirs = [], []
    with arena.database() as (dsn, db), arena.database() as (peer_dsn, peer):
        url = _url(peer_dsn)
        variables = {**os.environ, "ABSURD_DATABASE_URL": url}
        variables["PATH"] = f"{arena.programs}{os.pathsep}{os.environ['PATH']}"
        for arguments in (["init"], ["create-queue", "default"]):
            subprocess.run([program.parent / "absurdctl", *arguments], env=variables, check=True)
        with _peers(program, url):
            _peer_load(peer, arena.scaled(50))
        wal: list[float] = []
        for _ in range(3):
            with workers(db, dsn, 2) as pids:
                ours += arena.chains(db, pids, 5000, times=1)
            with _peers(program, url):
                rate, bytes_per_step = _peer_load(peer, arena.scaled(500))
            theirs.append(rate)
            wal.append(bytes_per_step)
    own, other = median_rate(ours), statistics.median(theirs)
    return [
        Figure("steps/s, pgorch, 2 workers", own, ">= 15000"),
        Figure("steps/s, Absurd, 2 processes, 20 at once", other),
        Figure("WAL bytes per step, Absurd", statistics.median(wal)),
        Figure("ratio", own / other, ">= 10"),
    ]


def _environment() -> Path:
    """An environment of the peer's own, made on demand; the path of its Python."""
    directory = Path(tempfile.gettempdir()) / f"pgorch-peer-absurd-{os.getuid()}"
    python = directory / "bin" / "python"
    if not (directory / "bin" / "absurdctl").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def _url(dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    return f"postgresql:///{parts['dbname']}?host={parts['host']}&port={parts['port']}&user={parts['user']}"


@contextlib.contextmanager
def _peers(program: Path, url: str) -> Iterator[None]:
    """Two worker processes of the peer, which poll for work."""
    processes = [
        subprocess.Popen([program, _WORKER, url, str(STEPS)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()


def _peer_load(db: Session, runs: int) -> tuple[float, float]:
    """Steps a second and WAL bytes per step of `runs` tasks that are spawned at one moment."""
    checkpoint(db)
    with db.connection.transaction():
        db.rows(
            "select absurd.spawn_task('default', 'chain', '{}'::jsonb) as spawned"
            " from generate_series(1, %s)",
            [runs],
        )
        before = read(db)
        began = time.perf_counter()
    while db.value("select count(*) from absurd.t_default t where t.state not in ('completed', 'failed')"):
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    failed = db.value("select count(*) from absurd.t_default t where t.state = 'failed'")
    assert failed == 0, f"{failed} tasks of the peer failed"
    return runs * STEPS / seconds, (read(db) - before).wal_bytes / (runs * STEPS)

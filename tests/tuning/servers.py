"""Throw-away database servers, as any user who may not be root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from limbeck.tuning.database import driven

SECRET = "whisper"
"""The password of both servers."""


@dataclass(frozen=True)
class Server:
    """One that runs: the URL of its database, and what it is."""

    url: str
    kind: str


def found(name: str, *folders: str) -> str | None:
    """A program on the path or in the newest of some folders."""
    newest = sorted((path for folder in folders for path in Path("/").glob(folder)), reverse=True)
    return shutil.which(name) or next((str(path / name) for path in newest if (path / name).exists()), None)


def unprivileged() -> dict[str, Any]:
    """How a process begins as a user who is not root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def folder() -> Iterator[Path]:
    """One that such a user may write; names of sockets have to be short."""
    path = Path(tempfile.mkdtemp(prefix="db-"))
    try:
        if os.getuid() == 0:
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str], directory: Path, answers: Callable[[], object]) -> Iterator[None]:
    """A server, once it answers."""
    log = directory / "log"
    with open(log, "wb") as output:
        child = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output, **unprivileged())
    try:
        for _ in range(600):
            assert child.poll() is None, log.read_text(errors="replace")
            with suppress(Exception):
                answers()
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"no answer within a minute:\n{log.read_text(errors='replace')}")
        yield
    finally:
        child.send_signal(signal.SIGQUIT)  # at once, whoever is connected
        child.wait(timeout=60)


def made(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, **unprivileged())
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server of PostgreSQL that asks for a password.

    Its programs are a part of what the slow tests need: without them they fail.
    """
    initdb, postgres = (found(name, "usr/lib/postgresql/*/bin") for name in ("initdb", "postgres"))
    if initdb is None or postgres is None:
        pytest.fail("no initdb and postgres on the path or in /usr/lib/postgresql: install postgresql")
    with folder() as directory:
        data, port = directory / "data", free_port()
        (directory / "secret").write_text(SECRET)
        (directory / "secret").chmod(0o644)
        account = ["--username=limbeck", "--auth=scram-sha-256", f"--pwfile={directory / 'secret'}"]
        made([initdb, f"--pgdata={data}", *account, "--no-sync", "--encoding=UTF8", "--locale=C"], directory)
        command = [postgres, "-D", str(data), "-p", str(port), "-k", str(directory), "-c", "fsync=off"]
        command += ["-c", "listen_addresses=127.0.0.1"]
        url = f"postgresql://limbeck@127.0.0.1:{port}/postgres"
        with running(command, directory, lambda: sql(url, "SELECT 1")):
            yield Server(url, "postgresql")


@contextmanager
def mysql() -> Iterator[Server]:
    """A server of MySQL or MariaDB whose user's password is in a file; skips the test where there is none."""
    install, server = found("mariadb-install-db"), found("mariadbd", "usr/sbin")
    mysqld = None if install and server else found("mysqld", "usr/sbin")
    if not (mysqld or (install and server)):
        pytest.skip("neither mariadbd with mariadb-install-db nor mysqld: install mariadb-server")
    with folder() as directory:
        data, port, first = directory / "data", free_port(), directory / "first.sql"
        first.write_text(
            f"CREATE DATABASE limbeck;\nCREATE USER 'limbeck'@'127.0.0.1' IDENTIFIED BY '{SECRET}';\n"
            "GRANT ALL ON limbeck.* TO 'limbeck'@'127.0.0.1';\n"
        )
        if mysqld:
            made([mysqld, "--no-defaults", "--initialize-insecure", f"--datadir={data}"], directory)
        else:
            made([str(install), "--no-defaults", f"--datadir={data}", "--skip-test-db"], directory)
        command = [mysqld or str(server), "--no-defaults", f"--datadir={data}", f"--port={port}"]
        command += ["--bind-address=127.0.0.1", f"--socket={directory / 's'}", f"--init-file={first}"]
        command += [f"--pid-file={directory / 'pid'}", "--skip-name-resolve"]
        options = directory / "my.cnf"
        options.write_text(f"[client]\npassword={SECRET}\n")
        url = f"mysql://limbeck@127.0.0.1:{port}/limbeck?read_default_file={options}"
        with running(command, directory, lambda: sql(url, "SELECT 1")):
            yield Server(url, "mysql")


def sql(url: str, statement: str) -> Any:
    """The first cell of what the server answers, if it answers with any."""
    engine = sqlalchemy.create_engine(driven(url), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None

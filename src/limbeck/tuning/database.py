"""Databases that searches share: how one is opened, what its errors mean, and the claims that its server keeps.

Such a claim is an advisory lock of PostgreSQL or a named lock of MySQL. It belongs to a connection and is free as soon
as that has ended, however its process ended: no clock decides who is dead.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, exc, make_url, text

from limbeck.errors import DataError, DiskError, MissingError, RecipeError, first_line
from limbeck.files import path_of
from limbeck.progress import Stop

WAIT = 0.02
"""Seconds between two tries for a claim that another process has."""
PATIENCE = 60
"""Seconds for which a process waits until others are done with a file of SQLite."""
CONNECTING = 30
"""Seconds for which it waits for a server of PostgreSQL; the driver of MySQL has its own."""

NETWORKED = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "sshfs")
"""File systems of other machines, on which SQLite may lose what it was told."""
MOUNTS = Path("/proc/self/mounts")
"""Where Linux says what is mounted; other systems say nothing here."""

_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}
"""Those that limbeck's extras install, which have the names of the databases."""

_TAKE = {"postgresql": "SELECT pg_try_advisory_lock(:key)", "mysql": "SELECT GET_LOCK(:key, 0)"}
_FREE = {"postgresql": "SELECT pg_advisory_unlock(:key)", "mysql": "SELECT RELEASE_LOCK(:key)"}

# A connection that holds a claim is quiet for as long as a trial takes, which no server may take for an end of it; of a
# machine that is gone PostgreSQL hears within minutes, MySQL when its system does.
_LASTING = {
    "postgresql": """
        SELECT set_config(name, CASE name WHEN 'idle_session_timeout' THEN '0' WHEN 'tcp_keepalives_count' THEN '4'
                          ELSE '30' END, false)
        FROM pg_settings WHERE name IN
            ('idle_session_timeout', 'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count')
    """,
    "mysql": "SET SESSION wait_timeout = 2000000",
}


class DatabaseClaims:
    """Claims that the server of a database keeps; see `limbeck.tuning.claims.Claims`.

    Args:
        url: of the database.
        search: the name of the search in it.
        stop: looked at while waiting.

    Raises:
        MissingError: no driver for it.
    """

    def __init__(self, url: str, search: str, stop: Stop) -> None:
        self.url, self.search, self.stop = url, search, stop
        # Connections come from a pool of those that hold nothing: none claims twice, which would succeed.
        self._engine = sqlalchemy.create_engine(
            driven(url), isolation_level="AUTOCOMMIT", pool_size=2, max_overflow=-1, pool_pre_ping=True
        )
        self._kind = self._engine.dialect.name
        sqlalchemy.event.listen(self._engine, "connect", self._make_lasting)

    def _make_lasting(self, connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_LASTING[self._kind])
        connection.commit()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The search to itself for as long as the block runs; waits for whoever has it.

        Raises:
            DataError: the server does not answer.
            Interrupted: a stop was asked for while another process had the search.
        """
        while True:
            with self.claimed("search") as mine:
                if mine:
                    yield
                    return
            self.stop.raise_if_asked("run the same command again")
            time.sleep(WAIT)

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Whether this process holds the claim of that name while the block runs; nobody waits.

        Raises:
            DataError: the server does not answer.
        """
        key = {"key": self._key(name)}
        with database_errors(self.url):
            connection = self._engine.connect()
        try:
            with database_errors(self.url):
                mine = bool(connection.execute(text(_TAKE[self._kind]), key).scalar())
            try:
                yield mine
            finally:
                with suppress(exc.DBAPIError):  # the connection was lost, and the claim with it
                    if mine:
                        connection.execute(text(_FREE[self._kind]), key)
        finally:
            connection.close()

    def _key(self, name: str) -> int | str:
        """A claim's name as the server takes it: 64 bits, or a few letters that all its databases share."""
        whole = "\n".join(("limbeck", str(self._engine.url.database), self.search, name)).encode()
        digest = hashlib.sha256(whole)
        if self._kind == "postgresql":
            return int.from_bytes(digest.digest()[:8], "big", signed=True)
        return digest.hexdigest()[:40]


# --- opening ---------------------------------------------------------------------------------------------------------


def storage_at(url: str) -> RDBStorage:
    """The database at a URL as Optuna keeps studies in one, with its tables.

    A file of SQLite keeps its rollback journal: the other one that SQLite knows loses writes in many of its versions.

    Raises:
        DataError: the server does not answer or lets nobody in, or the file lies on another machine.
        DiskError: the file cannot be written.
        MissingError: no driver for it.
        RecipeError: the URL is none.
    """
    parts, file = driven(url), sqlite_file(url)
    if file is not None:
        check_local(file)
    arguments = {"connect_args": {"timeout": PATIENCE}} if file else {"pool_pre_ping": True}
    with database_errors(url):
        return RDBStorage(parts.render_as_string(hide_password=False), engine_kwargs=arguments)


def driven(url: str) -> URL:
    """A URL with its driver, which is there.

    Raises:
        MissingError: it is not.
        RecipeError: the URL is none.
    """
    parts = _parts(url)
    kind = parts.get_backend_name()
    if kind == "sqlite":
        return parts.set(database=str(sqlite_file(url)))
    if "+" not in parts.drivername:
        parts = parts.set(drivername=f"{kind}+{_DRIVERS[kind]}")
    if kind == "postgresql" and "connect_timeout" not in parts.query:
        parts = parts.update_query_dict({"connect_timeout": str(CONNECTING)})
    try:
        parts.get_dialect().import_dbapi()
    except (ImportError, exc.NoSuchModuleError) as error:
        raise MissingError(
            f"{parts.drivername} is not there: {first_line(error)}",
            expected=f"the driver {_DRIVERS[kind]} for {shown(url)}",
            do=f"pip install 'limbeck[{kind}]', and leave another driver out of the URL",
        ) from None
    return parts


def url_of(file: Path) -> str:
    """The URL of a file of SQLite."""
    return URL.create("sqlite", database=str(file.resolve())).render_as_string()


def sqlite_file(url: str) -> Path | None:
    """The file at a URL; None of a server's.

    Raises:
        RecipeError: the URL is none.
    """
    parts = _parts(url)
    return path_of(str(parts.database), "tune.storage").resolve() if parts.get_backend_name() == "sqlite" else None


def check_local(file: Path) -> None:
    """Refuse a file of SQLite on a file system of another machine, as far as this one's system tells.

    Raises:
        DataError: it lies on one.
    """
    whole, kind, longest = file.resolve(), "", -1
    with suppress(OSError):
        for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            _, point, found, *_ = line.split(" ")
            mounted = Path(point.encode().decode("unicode_escape"))
            if whole.is_relative_to(mounted) and len(mounted.parts) >= longest:  # the last one hides those before it
                kind, longest = found, len(mounted.parts)
    if kind.removeprefix("fuse.") in NETWORKED:
        raise DataError(
            f"{file} lies on {kind}, a file system of another machine",
            expected="a disk of this machine, since SQLite may lose what is written elsewhere",
            do="take another out, or tune.storage: postgresql://... (docs/recipe.md)",
        )


def _parts(url: str) -> URL:
    try:
        return make_url(url)
    except exc.ArgumentError as error:
        raise RecipeError(
            f"tune.storage is no URL: {first_line(error)}",
            expected="one such as postgresql://user@host/base",
            do="mend it in the file or with --set",
        ) from None


@contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Say in words what is wrong with a database.

    Raises:
        DataError: a server that does not answer or lets nobody in; a file that is busy or is none of SQLite.
        DiskError: a file that cannot be written.
        MissingError: the driver lacks a part of its own.
    """
    try:
        yield
    except (exc.SQLAlchemyError, StorageInternalError) as error:
        raise _in_words(url, error) from None
    except RuntimeError as error:
        if "cryptography" not in str(error):  # which pymysql needs where no TLS hides the password
            raise
        raise MissingError(
            f"{shown(url)}: {first_line(error)}",
            expected="the package, or TLS",
            do="pip install cryptography",
        ) from None


def _in_words(url: str, error: Exception) -> DataError | DiskError:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    gist = first_line(getattr(cause, "orig", None) or cause)  # type: ignore[arg-type]
    file = sqlite_file(url)
    if file is None:
        return DataError(
            f"{shown(url)}: {gist}",
            expected="a database that answers, and a user who may make tables in it",
            do="look at the server and the URL; the password is in PGPASSWORD, ~/.pgpass or read_default_file",
        )
    if isinstance(cause, exc.OperationalError) and "locked" not in gist:
        return DiskError(f"{file}: {gist}", expected="a disk with room that may be written", do="look at the disk")
    return DataError(
        f"{file}: {gist}",
        expected="a database of SQLite that other processes let go of in time",
        do="look who has it, or move it away",
    )


def shown(url: str) -> str:
    """A URL as it may be read by anybody."""
    return make_url(url).render_as_string(hide_password=True)

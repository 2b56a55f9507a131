"""How databases are storage_at, and what is said where one cannot be; servers are in test_servers.py."""

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from limbeck.errors import DataError, DiskError, LimbeckError, MissingError, RecipeError
from limbeck.tuning import database
from limbeck.tuning.database import check_local, database_errors, driven, sqlite_file, storage_at, url_of


def test_a_file_keeps_a_study(tmp_path: Path):
    url = url_of(tmp_path / "né 标签 #?%.db")
    for begun in (False, True):
        storage = storage_at(url)
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=begun)
        assert len(study.trials) == begun
        study.tell(study.ask(), 0.5)
        storage.engine.dispose()
    with closing(sqlite3.connect(tmp_path / "né 标签 #?%.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_url_is_of_a_file_or_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///x/y.db") == tmp_path / "x" / "y.db"
    assert sqlite_file(url_of(tmp_path / "y.db")) == tmp_path / "y.db"
    assert sqlite_file("postgresql://me@host/base") is None
    with pytest.raises(RecipeError, match=r"tune\.storage is no URL"):
        sqlite_file("no url")


def test_a_driver_is_that_of_the_extras_unless_one_is_named():
    assert driven("postgresql://me@host/base").drivername == "postgresql+psycopg"
    assert driven("mysql://me@host/base").drivername == "mysql+pymysql"
    assert driven("postgresql://me@host/base?connect_timeout=3").query["connect_timeout"] == "3"


@pytest.mark.parametrize("driver", ["psycopg2", "nonsense"])
def test_a_driver_that_is_not_there_is_named_with_what_to_install(driver: str):
    with pytest.raises(MissingError) as caught:
        driven(f"postgresql+{driver}://me@host/base")
    assert f"postgresql+{driver}" in caught.value.came
    assert "pip install 'limbeck[postgresql]'" in caught.value.do


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_that_is_not_there_is_said_to_be(kind: str):
    with pytest.raises(DataError) as caught:
        storage_at(f"{kind}://me@127.0.0.1:1/base")
    assert f"{kind}://me@127.0.0.1:1/base: " in caught.value.came
    assert "\n" not in caught.value.came
    assert "refused" in caught.value.came


def test_a_file_that_is_no_database_is_said_to_be(tmp_path: Path):
    (tmp_path / "study.db").write_text("not a database" * 100)
    with pytest.raises(DataError, match="file is not a database"):
        storage_at(url_of(tmp_path / "study.db"))


def test_a_file_that_cannot_be_written_is_the_disks_fault(tmp_path: Path):
    with pytest.raises(DiskError, match="unable to open database file"):
        storage_at(url_of(tmp_path / "none" / "study.db"))


def raised_by(url: str, error: Exception) -> LimbeckError:
    with pytest.raises(LimbeckError) as caught, database_errors(url):
        raise error
    return caught.value


def test_errors_of_a_database_are_told_by_what_the_user_can_do():
    busy = sqlalchemy.exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))
    assert isinstance(raised_by("sqlite:///x.db", busy), DataError)
    full = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    full.__cause__ = sqlalchemy.exc.OperationalError("x", {}, sqlite3.OperationalError("database or disk is full"))
    refused = raised_by("sqlite:///x.db", full)
    assert isinstance(refused, DiskError)
    assert "database or disk is full" in refused.came
    hidden = "'cryptography' package is required for sha256_password or caching_sha2_password auth methods"
    assert isinstance(raised_by("mysql://me@host/base", RuntimeError(hidden)), MissingError)
    with pytest.raises(RuntimeError, match="ours"), database_errors("mysql://me@host/base"):
        raise RuntimeError("ours")


MOUNTED = """\
/dev/sda1 / ext4 rw 0 0
server:/export /data nfs4 rw 0 0
/dev/sdb1 /data/local ext4 rw 0 0
host:/home /mnt/a\\040b fuse.sshfs rw 0 0
//server/share /over cifs rw 0 0
/dev/sdc1 /over xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/study.db", None),
        ("/data/runs/x/study.db", "nfs4"),
        ("/database/study.db", None),
        ("/data/local/study.db", None),
        ("/mnt/a b/study.db", "fuse.sshfs"),
        ("/over/study.db", None),
    ],
)
def test_a_file_on_another_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str | None
):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTED)
    monkeypatch.setattr(database, "MOUNTS", mounts)
    if kind is None:
        check_local(Path(path))
        return
    with pytest.raises(DataError, match=f"lies on {kind}, a file system of another machine") as caught:
        storage_at(url_of(Path(path)))
    assert "tune.storage" in caught.value.do


def test_where_nobody_says_what_is_mounted_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "MOUNTS", tmp_path / "none")
    check_local(tmp_path / "study.db")

"""Searches that machines share through a real server of PostgreSQL or MySQL."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from servers import SECRET, Server, mysql, postgresql, sql

from limbeck.errors import DataError, Interrupted
from limbeck.progress import Stop
from limbeck.tuning.database import DatabaseClaims, storage_at

pytestmark = pytest.mark.slow

Claimant = Callable[..., DatabaseClaims]


@pytest.fixture(scope="module", params=[postgresql, mysql], ids=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", SECRET)
        with request.param() as running:
            yield running


@pytest.fixture
def claimant(server: Server) -> Iterator[Claimant]:
    """Makes claims as another process would have them."""
    with ExitStack() as open_ones:

        def make(search: str = "s", stop: Stop | None = None) -> DatabaseClaims:
            claims = DatabaseClaims(server.url, search, stop or Stop())
            open_ones.callback(claims._engine.dispose)
            return claims

        yield make


HOLDER = """
import sys
from limbeck.progress import Stop
from limbeck.tuning.database import DatabaseClaims

with DatabaseClaims(sys.argv[1], "s", Stop()).claimed(sys.argv[2]) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def holder(server: Server, name: str) -> subprocess.Popen[str]:
    """A process that holds a claim until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    return child


def becomes_free(claims: DatabaseClaims, name: str) -> bool:
    """Whether a claim is free once the server has noticed that a connection is gone, which waits for nothing else."""
    for _ in range(1000):
        with claims.claimed(name) as free:
            if free:
                return True
    return False


def test_a_claim_is_held_by_one_and_looked_at_by_all(claimant: Claimant):
    one, other = claimant(), claimant()
    with one.claimed("0001") as mine:
        assert mine
        for claims in (one, other):  # the holder too is told that it is taken
            for _ in range(3):
                with claims.claimed("0001") as free:
                    assert not free
        with other.claimed("0002") as free, claimant("another search").claimed("0001") as elsewhere:
            assert free
            assert elsewhere
    with other.claimed("0001") as mine:
        assert mine


def test_a_claim_is_free_when_its_holder_fails(claimant: Claimant):
    one = claimant()
    with pytest.raises(ZeroDivisionError), one.claimed("0001"):
        raise ZeroDivisionError
    with claimant().claimed("0001") as mine:
        assert mine


def test_a_claim_is_free_when_its_holder_is_killed(server: Server, claimant: Claimant):
    child = holder(server, "0001")
    claims = claimant()
    with claims.claimed("0001") as free:
        assert not free
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert becomes_free(claims, "0001")


def test_a_claim_whose_connection_is_lost_is_free_and_its_holder_goes_on(server: Server, claimant: Claimant):
    one = claimant()
    with one.claimed("0001") as mine:
        assert mine
        if server.kind == "postgresql":
            sql(server.url, "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'")
        else:
            holding = sql(server.url, f"SELECT IS_USED_LOCK('{one._key('0001')}')")
            sql(server.url, f"KILL {holding}")
        assert becomes_free(claimant(), "0001")
    with one.claimed("0001") as mine:  # over a new connection
        assert mine


COUNTER = """
import sys
from pathlib import Path
from limbeck.progress import Stop
from limbeck.tuning.database import DatabaseClaims

claims, path = DatabaseClaims(sys.argv[1], "s", Stop()), Path(sys.argv[2])
for _ in range(100):
    with claims.alone():
        path.write_text(str(int(path.read_text()) + 1))
"""


def test_one_process_at_a_time_has_a_search_to_itself(server: Server, tmp_path: Path):
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTER, server.url, str(count)]
    children = [subprocess.Popen(command) for _ in range(3)]
    assert [child.wait(timeout=120) for child in children] == [0, 0, 0]
    assert count.read_text() == "300"


def test_who_waits_for_a_search_can_be_stopped(claimant: Claimant):
    stop = Stop()
    waiting = claimant(stop=stop)
    with claimant().alone():
        stop.request(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught, waiting.alone():
            pass
    assert caught.value.exit_status == 143
    with waiting.alone():
        pass


def test_a_study_is_kept_by_the_server(server: Server):
    storage = storage_at(server.url)
    study = optuna.create_study(storage=storage, study_name="kept")
    study.tell(study.ask(), 0.5)
    storage.engine.dispose()
    again = storage_at(server.url)
    assert [trial.value for trial in optuna.load_study(storage=again, study_name="kept").trials] == [0.5]
    again.engine.dispose()


def test_whoever_has_no_password_is_told_where_it_belongs(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSWORD", "wrong and secret")
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    url = server.url.split("?")[0]
    for attempt in (lambda: storage_at(url), lambda: DatabaseClaims(url, "s", Stop()).claimed("0001").__enter__()):
        with pytest.raises(DataError) as caught:
            attempt()
        assert url in caught.value.came
        assert "~/.pgpass or read_default_file" in caught.value.do
        assert "secret" not in str(caught.value)


def test_a_connection_that_holds_a_claim_may_be_quiet_for_as_long_as_a_trial_takes(server: Server, claimant: Claimant):
    settings = {
        "postgresql": {"idle_session_timeout": "0", "tcp_keepalives_idle": "30", "tcp_keepalives_count": "4"},
        "mysql": {"wait_timeout": "2000000"},
    }[server.kind]
    show = "SHOW {}" if server.kind == "postgresql" else "SELECT @@session.{}"
    with claimant()._engine.connect() as connection:
        for name, value in settings.items():
            assert str(connection.exec_driver_sql(show.format(name)).scalar()) == value

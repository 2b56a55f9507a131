"""Searches that machines share through a real server of PostgreSQL or MySQL."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from claiming import check_held_by_one
from servers import SECRET, Server, mysql, postgresql, sql

from limbeck.errors import DataError, Interrupted
from limbeck.files import read_json
from limbeck.progress import Stop
from limbeck.record import read_record
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
    check_held_by_one(claimant(), claimant(), claimant("another search"))


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


TRIALS = 16
RECIPE = """
data: {source: digits, labelled: 200, validation: 100}
teacher: {kind: train, model: {name: mlp, hidden: [32]}, fit: {epochs: 5, threads: 1}}
student: {model: {name: mlp, hidden: [8]}}
fit: {epochs: 6, threads: 1, checkpoint_seconds: 0.1}
proof: {seeds: [0, 1]}
tune: {trials: TRIALS, jobs: 1}
"""


def searcher(recipe: Path, server: Server, out: Path, *flags: str) -> subprocess.Popen[str]:
    settings = ["--set", f"out={out}", "--set", f"tune.storage={server.url}"]
    command = [sys.executable, "-m", "limbeck", "tune", str(recipe), *settings, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def in_a_trial(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until a process has begun its third trial."""
    while len(list((out / "tune" / "trials").glob("0*"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_server_that_goes_away_ends_a_search_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSWORD", SECRET)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("TRIALS", str(TRIALS)))
    with postgresql() as server:
        process = searcher(recipe, server, tmp_path / "run")
        in_a_trial(process, tmp_path / "run")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == DataError.exit_status, errors
    assert "Traceback" not in errors
    assert "do: look at the server" in errors
    assert SECRET not in errors


def test_machines_share_a_search_and_outlive_one_of_them(server: Server, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("TRIALS", str(TRIALS)))
    one, other = (searcher(recipe, server, tmp_path / out) for out in ("one", "other"))
    in_a_trial(one, tmp_path / "one")
    one.send_signal(signal.SIGKILL)
    one.communicate()
    again = searcher(recipe, server, tmp_path / "one", "--resume")
    ended(other)
    ended(again)

    records = [read_record(tmp_path / out / "tune") for out in ("one", "other")]
    landscapes = [read_json(tmp_path / out / "tune" / "landscape.json") for out in ("one", "other")]
    assert landscapes[0]["trials"] == landscapes[1]["trials"]
    assert [trial["number"] for trial in landscapes[0]["trials"]] == list(range(TRIALS))
    assert {trial["state"] for trial in landscapes[0]["trials"]} <= {"complete", "pruned"}
    assert records[0]["verdicts"] == records[1]["verdicts"]
    for out in ("one", "other"):  # some of the trials each
        assert 0 < len(list((tmp_path / out / "tune" / "trials").glob("0*"))) < TRIALS

    storage = storage_at(server.url)
    studies = [study for study in storage.get_all_studies() if study.study_name != "kept"]
    trials = [trial for study in studies for trial in storage.get_all_trials(study._study_id)]
    storage.engine.dispose()
    assert len(studies) == 1
    assert all(trial.state.is_finished() for trial in trials)
    assert len(trials) == TRIALS + 1, "the one that was killed was begun again"

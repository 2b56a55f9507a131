"""Claims of the processes of one machine; those that a server keeps are in test_servers.py."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from claiming import check_held_by_one

from limbeck.errors import Interrupted
from limbeck.progress import Stop
from limbeck.tuning.claims import BothClaims, FileClaims, claims_of
from limbeck.tuning.database import DatabaseClaims, url_of

HOLDER = """
import sys
from pathlib import Path
from limbeck.progress import Stop
from limbeck.tuning.claims import FileClaims

claims = FileClaims(Path(sys.argv[1]), Stop())
with claims.alone() if sys.argv[2] == "alone" else claims.claimed(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(directory: Path, what: str) -> subprocess.Popen[bytes]:
    """A process that holds a claim, or has the search to itself, until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(directory), what]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def test_a_claim_is_held_by_one_and_looked_at_by_all(tmp_path: Path):
    one, other = FileClaims(tmp_path, Stop()), FileClaims(tmp_path, Stop())
    check_held_by_one(one, other, FileClaims(tmp_path / "other", Stop()))


def test_a_claim_is_free_when_its_holder_is_killed(tmp_path: Path):
    child = holder(tmp_path, "0001")
    claims = FileClaims(tmp_path, Stop())
    with claims.claimed("0001") as free:
        assert not free
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with claims.claimed("0001") as free:
        assert free


def test_who_waits_for_a_search_can_be_stopped(tmp_path: Path):
    child, stop = holder(tmp_path, "alone"), Stop()
    waiting = FileClaims(tmp_path, stop)
    stop.request(signal.SIGINT)
    with pytest.raises(Interrupted) as caught, waiting.alone():
        pass
    assert caught.value.exit_status == 130
    child.communicate()
    with waiting.alone():
        pass


def test_to_have_a_search_to_oneself_claims_no_trial(tmp_path: Path):
    claims = FileClaims(tmp_path, Stop())
    with claims.alone(), claims.claimed("0001") as mine:
        assert mine


def test_claims_lie_where_the_processes_of_a_search_meet(tmp_path: Path):
    here = claims_of(None, tmp_path / "here", "s", Stop())
    shared = [claims_of(url_of(tmp_path / "x.db"), tmp_path / out, "s", Stop()) for out in ("a", "b")]
    with here.claimed("0001") as mine, FileClaims(tmp_path / "here", Stop()).claimed("0001") as again:
        assert mine
        assert not again
    with shared[0].claimed("0001") as mine, shared[1].claimed("0001") as again:
        assert mine
        assert not again
    other = claims_of(url_of(tmp_path / "x.db"), tmp_path / "a", "another search", Stop())
    with shared[0].claimed("0001"), other.claimed("0001") as mine:
        assert mine
    served = claims_of("postgresql://me@127.0.0.1:1/base", tmp_path, "s", Stop())
    assert isinstance(served, BothClaims)
    assert isinstance(served.first, DatabaseClaims)
    assert isinstance(served.second, FileClaims)


def test_a_claim_of_two_keepers_is_had_of_both_or_of_none(tmp_path: Path):
    first, second = (FileClaims(tmp_path / name, Stop()) for name in ("first", "second"))
    both = BothClaims(first, second)
    with both.claimed("0001") as mine, first.claimed("0001") as one, second.claimed("0001") as other:
        assert (mine, one, other) == (True, False, False)
    for keeper, another in ((first, second), (second, first)):
        with keeper.claimed("0001"), both.claimed("0001") as mine, another.claimed("0001") as free:
            assert not mine
            assert free is (another is second)
    with both.claimed("0001") as mine, both.alone():
        assert mine

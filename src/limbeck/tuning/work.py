"""What every process of a search does: trial after trial, until it is known of all what came of them."""

import time

from limbeck.progress import Progress
from limbeck.tuning.ground import LONGEST_WAIT, WAIT, Ground
from limbeck.tuning.study import Search
from limbeck.tuning.trial import run_trial

PAUSE = 1.0
"""Seconds between two looks at how far all processes together have come."""


def work(search: Search, ground: Ground) -> None:
    """Run trials until none is left and none is under way elsewhere.

    Raises:
        Interrupted: a stop was asked for; a trial under way can be gone on with.
    """
    herald, wait = Herald(search, ground), WAIT
    while not search.done:
        ground.opened.stop.raise_if_asked("run the same command again with --resume")
        with search.next_trial() as begun:
            herald.tell()
            if begun is not None:
                run_trial(search, begun, herald.ground)
                wait = WAIT
                continue
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
    herald.tell(at_once=True)


class Herald:
    """Tells the watcher how far the search has come, whoever works on it.

    Args:
        search: of all processes.
        ground: of this one.
    """

    def __init__(self, search: Search, ground: Ground) -> None:
        self.search, self.watch = search, ground.opened.watch
        self.began, self.last = time.monotonic(), 0.0
        self.before = len(search.standing().results)
        self.ground = ground.watched_by(lambda _: self.tell())

    def tell(self, *, at_once: bool = False) -> None:
        """Tell, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self.last < PAUSE and not at_once:
            return
        self.last = now
        standing = self.search.standing()
        taught = [one for one in standing.results if one.number and one.state == "complete"]
        values = [one.value for one in taught if one.value is not None]
        facts: dict[str, float] = {"best": max(values)} if values else {}
        facts |= {"pruned": standing.count("pruned"), "running": standing.running}
        if failed := standing.count("failed"):
            facts["failed"] = failed
        finished = len(standing.results)
        wanted = self.search.trials
        since, left = finished - self.before, wanted - finished
        if since:
            facts["left_seconds"] = (now - self.began) / since * left
        self.watch(Progress("tune", finished, wanted, facts))

"""Which figures a search has: light, so that a page in Markdown needs no drawing."""

from typing import Any

Landscape = dict[str, Any]
Trial = dict[str, Any]

TITLES = {
    "landscape": "Accuracy over what was searched, every trial a mark",
    "history": "Accuracy of the trials in their order, and the best so far",
    "importances": "How much of the variation of accuracy each parameter takes part in",
    "front": "Accuracy of each student over its cost",
}


def shown(landscape: Landscape) -> list[str]:
    """The figures that have something to show, by their names in `TITLES`."""
    has = {
        "landscape": bool(landscape["surface"]),
        "history": landscape["best"] is not None and len(taught(landscape)) > 1,
        "importances": len(landscape["importances"]) > 1,
        "front": len(landscape["front"]) > 1,
    }
    return [name for name in TITLES if has[name]]


def taught(landscape: Landscape) -> list[Trial]:
    """Trials with a teacher and a value, in their order."""
    return [t for t in landscape["trials"] if t["value"] is not None and t["origin"] != "no teacher"]


def best_of(landscape: Landscape) -> Trial:
    """The best trial, where there is one."""
    return next(trial for trial in landscape["trials"] if trial["number"] == landscape["best"])


def no_teacher(landscape: Landscape) -> Trial | None:
    """The trial without a teacher; None if it is not complete."""
    found = (t for t in landscape["trials"] if t["origin"] == "no teacher" and t["state"] == "complete")
    return next(found, None)

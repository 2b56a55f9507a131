"""What is found about the data of a run.

Dimension key: N examples, G distinct keys.
"""

import torch

from limbeck.data import Examples, columns_line
from limbeck.errors import name_some
from limbeck.examination.finding import Finding, note, ok, warning
from limbeck.preparation import Prepared


def look_at_data(data: Prepared) -> tuple[Finding, ...]:
    """Counts, roles of columns, duplicates, labels that contradict each other, and what is in both sets; by key alone.

    The labels of measured examples are not read.
    """
    facts = data.facts
    on = "held out for validation" if facts["measured_on"] == "validation" else "to test on"
    count = facts["teacher_labelled"]
    labelled = "all labelled" if count == facts["teacher_train"] else f"{count:,} of them labelled"
    classes = len(facts["classes"])
    says = f"{facts['teacher_train']:,} training examples, {labelled}, {facts['measured']:,} {on}, {classes} classes"
    columns = columns_line(facts)
    return ok("data", says), *([note("columns", columns)] if columns else []), _duplicates(data), _overlap(data)


def _duplicates(data: Prepared) -> Finding:
    contradicting = contradictions(data.teacher_train)
    if len(contradicting):
        return warning(
            "duplicates",
            f"{len(contradicting):,} training examples have a twin with another label (rows "
            f"{name_some(contradicting.tolist())}); {data.facts['duplicates']:,} repeat another",
            "look at their labels: no network can be right on both",
        )
    if data.facts["duplicates"]:
        return note("duplicates", f"{data.facts['duplicates']:,} training examples repeat another, with the same label")
    return ok("duplicates", "no training example repeats another")


def _overlap(data: Prepared) -> Finding:
    count = data.facts["overlap"]
    if not count:
        return ok("overlap", "no test example is in the training set too")
    if data.facts["overlap_dropped"]:
        return ok("overlap", f"{count:,} test examples that are in the training set too are left out")
    return warning(
        "overlap",
        f"{count:,} test examples are in the training set too, which flatters whoever learns by heart",
        "set data.drop_overlap: true, or leave the official test set as it is and say so",
    )


def contradictions(examples: Examples) -> torch.Tensor:
    """Sorted index of the labelled examples of which another with the same key has another label."""
    rows = examples.labelled.nonzero()[:, 0]
    labels_N, groups_N = examples.labels[rows], examples.groups[rows]
    groups = int(examples.groups.max()) + 1
    # Only the groups that are met are read, so what the others begin with is nothing.
    least_G = torch.zeros(groups, dtype=torch.int64).scatter_reduce(0, groups_N, labels_N, "amin", include_self=False)
    most_G = torch.zeros(groups, dtype=torch.int64).scatter_reduce(0, groups_N, labels_N, "amax", include_self=False)
    return rows[(least_G != most_G)[groups_N]]

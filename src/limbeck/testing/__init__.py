"""The contract suite: what an objective and a training step promise, as functions that can fail.

For a plug-in's own tests too:

    check_objective(MyObjective(beta=0.3), definition=my_formula_in_numpy)

runs every promise that the objective's declared traits imply. Most promises are relative (this equals that)
and let a constant factor through; the definition is absolute. A step is held to both by `check_step`. Nothing
here needs pytest: under it, parametrise over `PROMISES` and a failure names its promise.
"""

from limbeck.testing.definition import Definition
from limbeck.testing.objectives import PROMISES, broken_promises, check_definition, check_objective
from limbeck.testing.promise import Promise
from limbeck.testing.step import STEP_PROMISES, AddGradients, broken_step_promises, check_step

__all__ = [
    "PROMISES",
    "STEP_PROMISES",
    "AddGradients",
    "Definition",
    "Promise",
    "broken_promises",
    "broken_step_promises",
    "check_definition",
    "check_objective",
    "check_step",
]

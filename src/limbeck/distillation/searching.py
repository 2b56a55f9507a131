"""`limbeck.tune`: the best setting, found and proved in one call."""

import inspect
from typing import Any

from limbeck import tuning
from limbeck.distillation.distilling import AGAIN, distill
from limbeck.distillation.plan import plan_of, put
from limbeck.distillation.result import SearchResult
from limbeck.errors import Interrupted, RecipeError
from limbeck.recipe_text import build
from limbeck.report import write_report
from limbeck.search_space import Tune


def tune(*, search: Tune | None = None, **settings: Any) -> SearchResult:
    """Find the temperature and alpha, and more on request, with which a student learns best, and prove it.

    Args:
        search: what is searched, and how long; None is `limbeck.Tune()`. Trials run one after the other where teacher,
            student or data are handed over in person.
        settings: the arguments of `limbeck.distill`; those that are searched are the setting that the best is compared
            with. The search lies in the directory `tune` of `out`.

    Returns:
        The result: `.best`, `.verdict`, `.landscape`, `.proof.student`.

    Raises:
        RecipeError: settings that cannot be used, or a search that cannot be made. DataError: data, teacher or labels
            that cannot. DiskError: a full or read-only disk. Interrupted: Ctrl-C or SIGTERM, after a safe checkpoint.
    """
    if search is not None and not isinstance(search, Tune):
        raise RecipeError(f"search is {search!r}", expected="limbeck.Tune(...)", do="make one")
    call = inspect.signature(distill).bind(**settings)
    call.apply_defaults()
    plan = plan_of(**call.arguments)
    # Built from plain values, as a file's search is, so that one check serves both.
    built = build(Tune, search or Tune(), where="limbeck.tune", do="mend the argument")
    recipe = put(plan.recipe, "limbeck.tune", tune=built)
    try:
        record = tuning.tune(recipe, plan.materials, plan.options)
    except Interrupted as stopped:
        raise stopped.advising(AGAIN) from None
    directory = tuning.directory_of(recipe)
    write_report(directory, record)
    return SearchResult(directory, record, plan.materials)

"""The search space of a recipe: which settings there are, how Optuna suggests one, and what one makes of the recipe.

A setting is a flat mapping: `{"temperature": 3.85, "alpha": 0.12, "objective": "dkd", "dkd.non_target_weight": 4.0}`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import optuna

from limbeck.objectives import CATALOGUE
from limbeck.recipe import GivenModel, Recipe, recipe_from_tree, tree_of
from limbeck.search_space import Alternative, Choices, Domain, Interval, Tune, alternatives
from limbeck.training.schedules import complement_of

Setting = dict[str, Any]

KNOWN = ((4.0, 0.1), (2.0, 0.5), (8.0, 0.1), (1.0, 0.5), (4.0, 0.5), (2.0, 0.1), (8.0, 0.5), (1.0, 0.1))
"""Temperatures and alphas that papers take; the first four have all of either."""


@dataclass(frozen=True)
class Space:
    """Where a search looks; `Space.of` makes one.

    Args:
        recipe: with its search.
        tune: that search.
        objectives: that are tried.
        students: the models that are tried, by their labels.
    """

    recipe: Recipe
    tune: Tune
    objectives: tuple[Alternative, ...]
    students: dict[str, Any]

    @classmethod
    def of(cls, recipe: Recipe) -> "Space":
        """The space of a recipe, that of all defaults where it declares none.

        Raises:
            RecipeError: nothing there can be searched.
        """
        recipe = with_search(recipe)
        tune = recipe.tune
        assert tune is not None
        models = tune.student or (recipe.student.model,)
        return cls(recipe, tune, alternatives(tune, recipe.distill.objective), {label_of(one): one for one in models})

    # --- settings ----------------------------------------------------------------------------------------------------

    def suggest(self, trial: optuna.Trial) -> Setting:
        """The setting that Optuna suggests for a trial; one queued is given back as it is."""
        names = tuple(one.name for one in self.objectives)
        chosen = {"objective": _suggested(trial, "objective", Choices(values=names))} if len(names) > 1 else {}
        domains = self._domains(self._alternative(chosen))
        return {name: chosen.get(name) or _suggested(trial, name, domain) for name, domain in domains.items()}

    def queued(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters by which `study.enqueue_trial` is told of a setting: Optuna knows them by the same names."""
        return dict(setting)

    def changes(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """What a setting changes of the recipe, by dotted keys."""
        alternative = self._alternative(setting)
        made: dict[str, Any] = {}
        values = {key: setting[name] for key, (name, _) in alternative.searched.items()}
        if self.tune.objective or values:
            made["distill.objective"] = {**alternative.fixed, **values}
            made["distill.temperature"] = None
        if "alpha" in setting:
            made |= {"distill.alpha": setting["alpha"]}
            made |= dict.fromkeys(("distill.student_weight", "distill.distillation_weight"))
        if "lr" in setting:
            made["fit.optimizer.lr"] = setting["lr"]
        if self.tune.student:
            made["student.model"] = asdict(self.students[self.student_of(setting)])
        return made

    def student_of(self, setting: Mapping[str, Any]) -> str:
        """The label of the model of a setting."""
        return str(setting.get("student", next(iter(self.students))))

    def own(self) -> Setting | None:
        """The recipe's own setting, numbers to three digits; None if the space does not hold it."""
        same = [one for one in self.objectives if self._is_own(one)]
        if not same or label_of(self.recipe.student.model) not in self.students:
            return None
        domains, own = self._domains(same[0]), self._own(same[0])
        if not all(name in own and domain.holds(own[name]) for name, domain in domains.items()):
            return None
        return {name: domain.near(own[name]) for name, domain in domains.items()}

    def known(self) -> list[Setting]:
        """Settings with temperatures and alphas that papers take, as far as they are searched."""
        found = [self.with_guess(temperature, alpha) for temperature, alpha in KNOWN]
        return [one for place, one in enumerate(found) if one is not None and one not in found[:place]]

    def with_guess(self, temperature: float, alpha: float) -> Setting | None:
        """A setting with these, as far as they are searched; None if neither is, or one is outside its range.

        All else is the recipe's own where that lies in the space, or else a default, or else the middle of its range.
        """
        own_name = self.recipe.distill.objective.name
        alternative = next((one for one in self.objectives if one.name == own_name), self.objectives[0])
        domains, own = self._domains(alternative), self._own(alternative)
        given: dict[str, float] = {}
        if "temperature" in alternative.searched:
            given[alternative.searched["temperature"][0]] = temperature
        if "alpha" in domains:
            given["alpha"] = alpha
        if not given or not all(domains[name].holds(value) for name, value in given.items()):
            return None
        kind: Any = CATALOGUE[alternative.name]
        defaults = {f"{alternative.name}.{f.name}": f.default for f in fields(kind)}
        found = {}
        for name, domain in domains.items():
            candidates: list[Any] = [known[name] for known in (given, own, defaults) if name in known]
            found[name] = next((domain.near(one) for one in candidates if domain.holds(one)), domain.middle)
        return found

    def corners(self) -> list[Setting]:
        """A setting with each objective and one with each student: where all these can be formed, all can."""
        found = []
        for alternative in self.objectives:
            domains = self._domains(alternative)
            middle = {name: domain.middle for name, domain in domains.items()}
            middle |= {"objective": alternative.name} if "objective" in domains else {}
            found += [middle | ({"student": label} if "student" in domains else {}) for label in self.students]
        return found

    def facts(self) -> dict[str, Any]:
        """What is searched and within which bounds, in plain values."""
        return {name: _facts(domain) for one in self.objectives for name, domain in self._domains(one).items()}

    def identity(self) -> dict[str, Any]:
        """The facts, and all else that a setting's meaning rests on but for the recipe's own values."""
        models = {label: asdict(model) for label, model in self.students.items()}
        return {"space": self.facts(), "objectives": [one.fixed for one in self.objectives], "students": models}

    # --- how they are told apart -------------------------------------------------------------------------------------

    def _alternative(self, setting: Mapping[str, Any]) -> Alternative:
        return next(one for one in self.objectives if one.name == setting.get("objective", one.name))

    def _domains(self, alternative: Alternative) -> dict[str, Domain]:
        """The parameters of a setting with that objective."""
        searched = dict(alternative.searched.values())
        found: dict[str, Domain] = {"temperature": searched.pop("temperature")} if "temperature" in searched else {}
        return found | self._rates | self._objective | searched | self._student

    @cached_property
    def _rates(self) -> dict[str, Domain]:
        ranges = {"alpha": self.tune.alpha, "lr": self.tune.lr}
        return {name: Interval(low=ends[0], high=ends[1], log=name == "lr") for name, ends in ranges.items() if ends}

    @cached_property
    def _objective(self) -> dict[str, Domain]:
        names = tuple(one.name for one in self.objectives)
        return {"objective": Choices(values=names)} if len(names) > 1 else {}

    @cached_property
    def _student(self) -> dict[str, Domain]:
        return {"student": Choices(values=tuple(self.students))} if len(self.students) > 1 else {}

    def _is_own(self, alternative: Alternative) -> bool:
        """Whether the recipe's objective is this one, whatever it has where this one is searched."""
        distill = self.recipe.distill
        if distill.temperature is not None and (self.tune.objective or "temperature" in alternative.searched):
            return False  # a schedule, or the first guess
        if not self.tune.objective:
            return True
        own: Any = distill.objective
        if own.name != alternative.name:
            return False
        searched = {key: value for key, value in asdict(own).items() if key in alternative.searched}
        try:
            return bool(CATALOGUE[own.name](**{**alternative.fixed, **searched}) == own)
        except ValueError:  # what the one has beside what the other has
            return False

    def _own(self, alternative: Alternative) -> Setting:
        """The recipe's own values by their names in a setting; of its objective, if it is of that name."""
        distill, objective = self.recipe.distill, self.recipe.distill.objective
        own: Setting = {"objective": alternative.name, "student": label_of(self.recipe.student.model)}
        own["lr"] = self.recipe.fit.optimizer.lr
        own["alpha"] = distill.alpha
        if distill.alpha is None and complement_of(distill.weights[0]) == distill.weights[1]:
            own["alpha"] = distill.weights[0]
        if objective.name == alternative.name:
            own |= {name: getattr(objective, key) for key, (name, _) in alternative.searched.items()}
        return own


def with_search(recipe: Recipe) -> Recipe:
    """The recipe with the search that it declares, or else that of all defaults.

    Raises:
        RecipeError: it cannot be searched.
    """
    return recipe if recipe.tune else recipe_from_tree(tree_of(recipe), {"tune": {}}, where="the recipe")


def label_of(model: Any) -> str:
    """A model in a few words: its name, and the settings that are not the default."""
    if isinstance(model, GivenModel):
        return model.what
    settings = {f.name: getattr(model, f.name) for f in fields(model) if f.name != "name"}
    defaults = {f.name: f.default for f in fields(model)}
    said = ", ".join(_said(key, value) for key, value in settings.items() if value != defaults[key])
    return f"{model.name}({said})" if said else str(model.name)


def _said(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{key} {'yes' if value else 'no'}"
    return f"{key} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def _suggested(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    match domain:
        case Choices(values=values):
            return trial.suggest_categorical(name, values)
        case Interval(whole=True):
            return trial.suggest_int(name, int(domain.low), int(domain.high))
        case _:
            return domain.near(trial.suggest_float(name, domain.low, domain.high, log=domain.log))


def _facts(domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Choices):
        return {"choices": list(domain.values)}
    return {"low": domain.low, "high": domain.high, "log": domain.log}

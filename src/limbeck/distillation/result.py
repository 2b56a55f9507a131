"""What the Python doors give back."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from limbeck.data import AnyPreprocess
from limbeck.finished import Chosen, Finished, finished
from limbeck.measurement import Verdict
from limbeck.preparation import Materials
from limbeck.progress import Watch, unwatched
from limbeck.recipe import Recipe, read_recipe
from limbeck.record import read_record
from limbeck.report import closing_sentence, landscape_of, search_lines, write_report
from limbeck.rundir import RESOLVED
from limbeck.teachers import SavedModel
from limbeck.training import ArmName

if TYPE_CHECKING:
    from limbeck.export import Delivered


@dataclass(frozen=True)
class Result:
    """What a run has shown, and where it lies.

    Args:
        directory: of the run: record, reports, students, labels.
        record: all that was measured.
        recipe: of the run.
        materials: what was handed over in person.
    """

    directory: Path
    record: dict[str, Any]
    recipe: Recipe
    materials: Materials = field(default_factory=Materials)

    @property
    def verdict(self) -> Verdict:
        """The distilled arm against scratch, or the first comparison that was made."""
        return Verdict.from_dict(self.record["verdict"])

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every comparison that was made."""
        return tuple(Verdict.from_dict(verdict) for verdict in self.record["verdicts"])

    @property
    def student(self) -> nn.Module:
        """The trained student of the lowest seed, last epoch, in evaluation mode; no teacher inside.

        It takes preprocessed inputs, see `preprocess`.
        """
        return self._saved.module

    @property
    def preprocess(self) -> AnyPreprocess:
        """From inputs as they are stored to what the student takes."""
        return self._saved.preprocess

    def bench(
        self,
        *,
        price: float | None = None,
        seconds: float | None = None,
        arm: ArmName | None = None,
        seed: int | None = None,
        watch: Watch = unwatched,
    ) -> dict[str, Any]:
        """Measure what answers of teacher, student and exports cost on this machine, into bench.json and the report.

        Args:
            price: of an hour of this machine, in your currency.
            seconds: for the times of teacher, student or export, each, at most; None is 20.
            arm: of the student; None is distilled.
            seed: of the student; None is the lowest.
            watch: told of progress.

        Returns:
            What bench.json says; docs/bench.md has every key.

        Raises:
            RecipeError: an unknown student, or a price or seconds that are not above 0. DataError: data that have
                changed since.
        """
        from limbeck.benchmark.bench import SECONDS, bench  # torch's exporters take seconds to import

        chosen = Chosen(arm=arm, seed=seed)
        found = bench(
            self._run, chosen=chosen, price=price, seconds=SECONDS if seconds is None else seconds, watch=watch
        )
        write_report(self.directory, self.record)
        return found

    def export(
        self,
        *formats: str,
        arm: ArmName | None = None,
        seed: int | None = None,
        licence: str | None = None,
        least_agreement: float | None = None,
        most_drop: float | None = None,
        watch: Watch = unwatched,
    ) -> "list[Delivered]":
        """Deliver a student in some formats, each file held to the student before.

        Args:
            formats: `onnx` unless given; `limbeck list formats` has them.
            arm: of the student; None is distilled.
            seed: of the student; None is the lowest.
            licence: of the student, as its maker states it.
            least_agreement: the share of first choices that int8 must keep; None is 0.99.
            most_drop: the points of accuracy that int8 may lose; None is 0.5.
            watch: told of progress.

        Returns:
            For each format its bundle: `.directory`, `.parity`.

        Raises:
            GateError: a file is too far from the student; nothing is left of it. RecipeError: an unknown format or
                student. MissingError: an extra that a format needs. DataError: data that have changed since.
        """
        from limbeck.export import export, formats_of, tolerance  # torch's exporters take seconds to import

        outcome = export(
            self._run,
            formats_of(",".join(formats or ("onnx",))),
            chosen=Chosen(arm=arm, seed=seed),
            licence=licence,
            tolerance=tolerance(least_agreement, most_drop),
            watch=watch,
        )
        write_report(self.directory, self.record)
        outcome.raise_refused()
        return list(outcome.delivered)

    @cached_property
    def _run(self) -> Finished:
        return finished(self.directory, self.materials, self.recipe)

    @cached_property
    def _saved(self) -> SavedModel:
        return self._run.student(*self._run.settled(Chosen()))

    def __str__(self) -> str:
        return closing_sentence(self.record)


@dataclass(frozen=True)
class SearchResult:
    """What a search has found, and where it lies.

    Args:
        directory: of the search: recipe of the best setting, landscape, trials, proof, reports.
        record: of its proof.
        materials: what was handed over in person.
    """

    directory: Path
    record: dict[str, Any]
    materials: Materials = field(default_factory=Materials)

    @property
    def verdict(self) -> Verdict:
        """Whether tuning helped: the best setting against the recipe's own, over fresh seeds, on the test set."""
        return Verdict.from_dict(self.record["verdict"])

    @property
    def best(self) -> dict[str, Any]:
        """The best setting by the names of what was searched."""
        return dict(self.record["best"]["setting"])

    @property
    def recipe(self) -> Recipe:
        """The recipe with the best setting, as `best.yaml` has it."""
        return read_recipe(self.directory / "best.yaml")

    @property
    def landscape(self) -> dict[str, Any]:
        """Every trial and what they tell together; docs/tuning.md has every key."""
        return landscape_of(self.directory)

    @property
    def proof(self) -> Result:
        """The run of the best setting, with its student."""
        number = self.record["best"]["number"]
        directory = self.directory / "proof" / f"{number:04d}"
        return Result(directory, read_record(directory), read_recipe(directory / RESOLVED), self.materials)

    def __str__(self) -> str:
        return "\n".join(search_lines(self.record, self.landscape))

"""Promises: checks that can fail, and the comparisons they are written in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Promise(Generic[Subject]):
    """One promise: a check that raises where it is broken, and to whom it applies."""

    check: Callable[[Subject], None]
    applies: Callable[[Subject], bool] = lambda subject: True

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.check.__name__

    def __call__(self, subject: Subject) -> None:
        """Check it, if it applies.

        Raises:
            AssertionError: the promise, what was expected and what came.
        """
        if not self.applies(subject):
            return
        try:
            self.check(subject)
        except Exception as error:
            raise AssertionError(f"{subject} breaks its promise {self.name!r}: {error}") from error


def broken_by(promises: Sequence[Promise[Subject]], subject: Subject) -> dict[str, str]:
    broken = {}
    for promise in promises:
        try:
            promise(subject)
        except AssertionError as error:
            broken[promise.name] = str(error)
    return broken


def raise_broken(broken: dict[str, str]) -> None:
    if broken:
        raise AssertionError("\n".join(broken.values()))


def expect(kept: bool, expected: object, got: object) -> None:
    if not kept:
        raise AssertionError(f"expected {expected}, got {got}")


def expect_finite(values: Tensor, *gradients: Tensor) -> None:
    for at, tensor in enumerate((values, *gradients)):
        strange = int((~tensor.isfinite()).sum())
        what = "a finite gradient" if at else "finite values"
        expect(not strange, what, f"{strange} of {tensor.numel()} entries that are not")


def expect_close(got: Tensor, wanted: Tensor, what: str, *, relative: float = 0.0, floor: float) -> None:
    """Within `relative` of the largest wanted entry, plus `floor`; a NaN is never close."""
    expect(got.shape == wanted.shape, f"{what} of shape {list(wanted.shape)}", f"shape {list(got.shape)}")
    if not wanted.numel():
        return
    difference = float((got - wanted).abs().max())
    allowed = relative * float(wanted.abs().max()) + floor
    worst = int((got - wanted).abs().argmax())
    expect(
        difference <= allowed,
        f"{what}: {wanted.flatten()[worst]:.6g} to within {allowed:.3g}",
        f"{got.flatten()[worst]:.6g}",
    )


def expect_same(got: Sequence[Tensor], wanted: Sequence[Tensor], when: str, *, exact: bool = False) -> None:
    """The same values, and the same gradients, to rounding in float64 if not exactly."""
    relative, floor = (0.0, 0.0) if exact else (1e-9, 1e-9)
    for at, (one, other) in enumerate(zip(got, wanted, strict=True)):
        what = f"the same {'gradient' if at else 'values'} {when}"
        expect_close(one, other, what, relative=relative, floor=floor)


def expect_all_close(got: Sequence[Tensor], wanted: Sequence[Tensor], when: str) -> None:
    for one, other in zip(got, wanted, strict=True):
        expect_close(one, other, f"values and gradients {when}", relative=1e-9, floor=1e-12)

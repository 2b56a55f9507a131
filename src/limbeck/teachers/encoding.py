"""How a teacher's logits are written down, and what that loses.

Dimension key: N records, C classes, k classes of which a logit is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from limbeck.errors import DataError
from limbeck.signal import Signal, Top

HALF_ERROR = 2.0**-10
"""The largest error, as a share of a row's range, at which float16 counts as faithful."""

TAP = "tap."
"""Before the name of a tap, in the names of a shard's tensors."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How a teacher is asked, and its answers kept.

    Args:
        encoding: `auto` is float16 where that is faithful, and float32 elsewhere; `fp16` refuses what
            float16 cannot hold; `fp32`; `top-k` keeps the k largest logits of each example, in float16 where that is
            faithful, and the exact mass of all others at temperature 1 and at those of the loss.
        k: how many, with top-k.
        precision: of a network while it is asked. `bf16` is refused unless it names the same class as fp32 on 99.9 % of
            1,000 examples; `auto` takes it where it does, and is faster on this machine, and the run keeps to that.
    """

    encoding: Literal["auto", "fp16", "fp32", "top-k"] = "auto"
    k: int | None = None
    precision: Literal["fp32", "bf16", "auto"] = "fp32"

    def __post_init__(self) -> None:
        if (self.encoding == "top-k") != (self.k is not None):
            raise ValueError(f"k goes with the encoding top-k and with no other, not k {self.k} with {self.encoding}")
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be 1 or more, not {self.k}")


@dataclass(frozen=True)
class Encoding:
    """Settings made ready for one loss.

    Args:
        labels: the settings.
        temperatures: at which the tail of a top-k record is kept, rising.
    """

    labels: Labels = Labels()
    temperatures: tuple[float, ...] = (1.0,)

    def facts(self) -> dict[str, Any]:
        """What decides how an answer is written down, for a fingerprint."""
        if self.labels.k is None:
            return {"name": self.labels.encoding}
        return {"name": self.labels.encoding, "k": self.labels.k, "temperatures": list(self.temperatures)}

    def encode(self, logits_NC: Tensor) -> dict[str, Tensor]:
        """The tensors of a shard that hold these logits, float32.

        Raises:
            DataError: float16 was asked for and does not hold them.
        """
        if self.labels.k is not None:
            return self._encode_top(logits_NC, min(self.labels.k, logits_NC.shape[1]))
        if self.labels.encoding == "fp32":
            return {"logits": logits_NC}
        stored_NC = halved(logits_NC)
        if self.labels.encoding == "fp16" and stored_NC.dtype != torch.float16:
            raise DataError(
                f"float16 does not hold the teacher's logits, which go from {logits_NC.min():.3g} to "
                f"{logits_NC.max():.3g}",
                expected="errors below a thousandth of each row's range",
                do="set labels.encoding: auto or fp32",
            )
        return {"logits": stored_NC}

    def _encode_top(self, logits_NC: Tensor, k: int) -> dict[str, Tensor]:
        """The k largest, the first of them moved to 0: softmax knows no offset, and float16 is finest there."""
        top = logits_NC.topk(k, dim=1)
        first_N1 = top.values[:, :1]
        near_NC = logits_NC - first_N1
        rest_NC = near_NC.scatter(1, top.indices, -torch.inf)
        tails_NT = torch.stack([(rest_NC / t).logsumexp(dim=1) for t in self.temperatures], dim=1)
        narrow = torch.int16 if logits_NC.shape[1] <= torch.iinfo(torch.int16).max else torch.int32
        values_NK = top.values - first_N1
        return {
            "ids": top.indices.to(narrow),
            "logits": halved(values_NK, ranges(logits_NC)),
            "tails": tails_NT,
        }

    def decode(self, tensors: Mapping[str, Tensor], classes: int) -> Signal:
        """The signal in tensors of a shard, or in rows of them; logits and features in float32.

        Args:
            tensors: as `encode` made them, taps beside them.
            classes: C.
        """
        features = {name.removeprefix(TAP): values.float() for name, values in tensors.items() if name.startswith(TAP)}
        if self.labels.k is None:
            return Signal(tensors["logits"].float(), features)
        tails = dict(zip(self.temperatures, tensors["tails"].unbind(dim=1), strict=True))
        return Signal(tensors["logits"].float(), features, Top(tensors["ids"].long(), tails, classes))

    def loss_of(self, logits_NC: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is lost on the way, by record.

        Returns:
            `errors` [N], the largest of a logit that is kept, and `divergences` [N], KL(teacher || what is stored) at
            temperature 1 in nats, the tail taken as spread evenly.
        """
        signal = self.decode(tensors, logits_NC.shape[1])
        exact_NK, stored_NC = logits_NC, signal.logits
        if signal.top is not None:
            exact_NK = logits_NC.gather(1, signal.top.ids) - logits_NC.amax(dim=1, keepdim=True)
            stored_NC = spread(signal)
        log_p_NC, log_q_NC = logits_NC.log_softmax(dim=1), stored_NC.log_softmax(dim=1)
        return {
            "errors": largest_errors(exact_NK, signal.logits),
            "divergences": (log_p_NC.exp() * (log_p_NC - log_q_NC)).sum(dim=1).clamp_min(0),
        }


def spread(signal: Signal, temperature: float = 1.0) -> Tensor:
    """Logits [N, C] of a signal's softmax at a temperature, the mass of a tail spread evenly over its classes.

    Raises:
        ValueError: the tail is not known at this temperature.
    """
    top = signal.top
    if top is None:
        return signal.logits
    rest = top.classes - top.ids.shape[1]
    if rest == 0:
        return torch.empty(len(top.ids), top.classes).scatter(1, top.ids, signal.logits)
    even_N1 = temperature * (top.tail(temperature) - torch.tensor(float(rest)).log())[:, None]
    return even_N1.repeat(1, top.classes).scatter(1, top.ids, signal.logits)


def tail_mass(encoding: Encoding, tensors: Mapping[str, Tensor]) -> Tensor:
    """The probability [N] of all classes that top-k records do not keep, at temperature 1."""
    tail_N = tensors["tails"][:, encoding.temperatures.index(1.0)]
    return (tail_N - torch.logaddexp(tail_N, tensors["logits"].float().logsumexp(dim=1))).exp()


def halved(values: Tensor, spans_N: Tensor | None = None) -> Tensor:
    """Values [N, ...] in float16 if that is faithful to every row; else in float32, the faithful rows rounded as well.

    So the digits of a record are a function of its own values: the same beside any others, stored or live. Faithful is
    an error of at most 2^-10 of the row's range: softmax knows no offset, and one of a whole row would hide any error.

    Args:
        values: float32.
        spans_N: the range of each row, where it is not that of the values.
    """
    half = values.half()
    faithful_N = largest_errors(values, half) <= HALF_ERROR * (ranges(values) if spans_N is None else spans_N)
    if faithful_N.all():
        return half
    return torch.where(faithful_N.view(-1, *[1] * (values.ndim - 1)), half.float(), values)


def largest_errors(values: Tensor, stored: Tensor) -> Tensor:
    """The largest error of each row [N] of what is stored."""
    return (stored.float() - values).abs().flatten(1).amax(dim=1)


def ranges(values: Tensor) -> Tensor:
    """The largest value of each row less the smallest, [N]."""
    rows = values.flatten(1)
    return rows.amax(dim=1) - rows.amin(dim=1)

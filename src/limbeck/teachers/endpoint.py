"""An HTTP endpoint as teacher: what it is asked, and what it answers.

Dimension key: N examples, B examples of a request, C classes.
"""

import base64
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.errors import DataError, RecipeError
from limbeck.signal import Signal
from limbeck.teachers.audience import Audience
from limbeck.teachers.gives import Gives, Logits, Probabilities, Votes
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher
from limbeck.teachers.wire import Wire, shown_url

FORMAT = 1
GIVES: dict[str, Gives] = {"probabilities": Probabilities(), "logits": Logits(), "votes": Votes()}
"""The key under which an endpoint answers, and what its numbers then are."""
MOST_BESIDE = 4 * 2**20
"""Bytes of an answer beside its numbers: the names of the classes."""
MOST_NUMBER = 64
MOST_TEXT = 1024


@dataclass(frozen=True, kw_only=True)
class EndpointTeacher:
    """An HTTP endpoint that answers probabilities, logits or votes, asked for each example as it is stored.

    Args:
        url: http or https; it is sent the format of docs/recipe.md by POST, and redirects are refused.
        version: of what answers there, which the store is keyed by; if the endpoint tells one, they must be equal.
        classes: the names of its outputs, in its order; null is what it says, else the data's.
        timeout: seconds for one try.
        retries: tries after the first.
        backoff: seconds before the first of them; each further wait is twice as long, or what the endpoint asks for.
        concurrency: requests that are under way at once.
        request_size: examples of one request.
        token_env: the environment variable that holds a bearer token; the token is neither stored nor shown.

    Raises:
        ValueError: a url of another kind or with a password in it, or numbers that make no sense.
    """

    kind: Literal["endpoint"] = "endpoint"
    url: str
    version: str | None = None
    classes: tuple[str, ...] | None = None
    timeout: float = 30.0
    retries: int = 5
    backoff: float = 0.5
    concurrency: int = 4
    request_size: int = 32
    token_env: str | None = None

    def __post_init__(self) -> None:
        check_url(self.url)
        if not (0 < self.timeout < math.inf and 0 <= self.backoff < math.inf):
            raise ValueError(f"timeout must be above 0 and backoff at least 0, not {self.timeout} and {self.backoff}")
        if self.retries < 0 or self.concurrency < 1 or self.request_size < 1:
            raise ValueError(
                "retries must be at least 0, concurrency and request_size at least 1, not "
                f"{self.retries}, {self.concurrency} and {self.request_size}"
            )

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`. Asks for one example, to learn what answers there."""
        audience.refuse_taps(f"the endpoint {shown_url(self.url)}")
        wire = Wire(
            url=self.url,
            timeout=self.timeout,
            retries=self.retries,
            backoff=self.backoff,
            concurrency=self.concurrency,
            token=self._token(audience.key),
        )
        one = audience.examples.select(torch.tensor([0]))
        teacher = RemoteTeacher(wire, self.request_size, Form(version=self.version))
        teacher.meet(one.inputs, one.keys)
        own = teacher.form.classes if self.classes is None else self.classes
        if own is not None and len(own) != teacher.form.width:
            raise DataError(
                f"`classes` names {len(own)} outputs, and the endpoint {shown_url(self.url)} has {teacher.form.width}",
                expected="a name for each of its outputs, in its order",
                do=f"mend {audience.key}.classes",
            )
        return answering(teacher, own, audience.classes, f"the endpoint {shown_url(self.url)}")

    def _token(self, key: str) -> str | None:
        if self.token_env is None:
            return None
        token = os.environ.get(self.token_env, "").strip()
        if not token or not (token.isascii() and token.isprintable()):
            raise RecipeError(
                f"{key}.token_env is {self.token_env}, "
                + ("which holds no token" if token else "which is empty or not set"),
                expected="an environment variable with the endpoint's token",
                do=f"set {self.token_env} before limbeck is started, or leave {key}.token_env out",
            )
        return token


def check_url(url: str) -> None:
    """Whether a question can be sent there.

    Raises:
        ValueError: another scheme, no host, a password, or what is no URL.
    """
    parts = urlsplit(url)
    if parts.username is not None:  # not shown: it may hold a secret
        raise ValueError(f"url must hold no name or password, as that of {parts.hostname} does: use token_env")
    plain = url.isascii() and url.isprintable() and not {" ", "#"} & set(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.port == 0:
        raise ValueError(f"url must be http://HOST/... or https://HOST/..., without blanks and #, not {url!r}")


@dataclass(frozen=True)
class Form:
    """What all answers of one endpoint have in common, once it has answered.

    Args:
        version: of what answers.
        classes: as it names them.
        gives: the key of its numbers.
        width: numbers for each example.
    """

    version: str | None = None
    classes: tuple[str, ...] | None = None
    gives: str | None = None
    width: int | None = None


class RemoteTeacher:
    """An endpoint that is asked about a few examples a request, some at once; answers keep the order of the examples.

    Args:
        wire: to it.
        request_size: examples of one request.
        form: what is known of its answers; None in a field is learnt by `meet`.
    """

    def __init__(self, wire: Wire, request_size: int, form: Form) -> None:
        self.wire, self.request_size, self.form = wire, request_size, form
        self.gives: Gives = Probabilities()
        self.answered = 0

    def meet(self, inputs: Tensor, keys: Tensor) -> None:
        """Ask about a few examples, and hold all further answers to what this one was like."""
        values_BC, form = self._asked(inputs, keys)
        self.form = replace(form, version=form.version or self.form.version, width=values_BC.shape[1])
        self.gives = GIVES[form.gives or "probabilities"]

    def identity(self) -> dict[str, Any]:
        """Where and in which version; without a version its store belongs to its run alone, and its probes tell."""
        classes = self.form.classes
        return {
            "kind": "endpoint",
            "url": self.wire.url,
            "version": self.form.version,
            "classes": None if classes is None else list(classes),
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        requests = zip(inputs.split(self.request_size), keys.split(self.request_size), strict=True)
        with ThreadPoolExecutor(self.wire.concurrency, "limbeck-endpoint") as threads:
            waiting = [threads.submit(self._asked, *request) for request in requests]
            try:
                parts = [one.result()[0] for one in waiting]
            except DataError as error:
                raise DataError(
                    f"{error.came} ({self.answered:,} examples were answered before)",
                    expected=error.expected,
                    do=error.do,
                ) from None
            finally:
                threads.shutdown(wait=True, cancel_futures=True)
        self.answered += len(inputs)
        return Signal(torch.cat(parts))

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> None:
        """See `Teacher.size`: what answers is not here."""

    def _asked(self, inputs: Tensor, keys: Tensor) -> tuple[Tensor, Form]:
        """Answers [B, C] of one request, and what they are like."""
        question = {"format": FORMAT, "inputs": packed(inputs), "keys": [bytes(key.tolist()).hex() for key in keys]}
        most = MOST_BESIDE + MOST_NUMBER * len(keys) * (self.form.width or 0)
        values_BC, form = self._understood(self.wire.ask(question, most=most), len(keys))
        for name in ("version", "classes", "gives"):
            known, now = getattr(self.form, name), getattr(form, name)
            if known is not None and now != known and not (name == "version" and now is None):
                raise self._odd(
                    f"{name} {_short(now)}, where it was {_short(known)}",
                    f"one {name} during the whole run" + (", that of the recipe" if name == "version" else ""),
                )
        if self.form.width is not None and values_BC.shape[1] != self.form.width:
            came = f"{values_BC.shape[1]} numbers for each example, where it was {self.form.width}"
            raise self._odd(came, "as many for every example")
        return values_BC, form

    def _understood(self, answer: Any, count: int) -> tuple[Tensor, Form]:
        if not isinstance(answer, dict):
            raise self._odd(f"one {type(answer).__name__}", "an object")
        keys = [key for key in GIVES if key in answer]
        if len(keys) != 1:
            raise self._odd(f"the keys {_short(sorted(map(str, answer)))}", f"one of {', '.join(GIVES)}")
        values_BC = self._numbers(answer[keys[0]], keys[0], count)
        classes, version = answer.get("classes"), answer.get("version")
        if classes is not None and not (
            isinstance(classes, list)
            and all(isinstance(name, str) and len(name) <= MOST_TEXT for name in classes)
            and len(classes) == values_BC.shape[1]
        ):
            raise self._odd(f"classes {_short(classes)}", f"{values_BC.shape[1]} names")
        if version is not None and not (isinstance(version, str) and 0 < len(version) <= MOST_TEXT):
            raise self._odd(f"version {_short(version)}", "a text")
        return values_BC, Form(version, None if classes is None else tuple(classes), keys[0])

    def _numbers(self, rows: Any, name: str, count: int) -> Tensor:
        lists = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
        if not lists or len(rows) != count:
            came = f"{len(rows)} rows" if lists else f"one {type(rows).__name__}"
            raise self._odd(f"{came} of {name} for {count} examples", "a list of numbers for each example")
        widths = sorted({len(row) for row in rows})
        if len(widths) != 1 or widths[0] < 1:
            raise self._odd(f"rows of {' and '.join(map(str, widths[:3]))} {name}", "as many numbers for each example")
        if not all(type(value) in (int, float) for row in rows for value in row):
            raise self._odd(f"{name} that are no numbers", "numbers")
        try:
            values = np.array(rows, dtype=np.float64)
        except OverflowError:
            values = np.full((1, 1), np.inf)
        if not (np.abs(values) <= np.finfo(np.float32).max).all():
            raise self._odd(f"{name} that float32 cannot hold", "finite numbers")
        return torch.from_numpy(values).float()

    def _odd(self, came: str, expected: str) -> DataError:
        return DataError(
            f"the endpoint {shown_url(self.wire.url)} answered with {came}",
            expected=expected,
            do="let it answer as docs/recipe.md says, and do not exchange what answers there during a run",
        )


def packed(inputs: Tensor) -> dict[str, Any]:
    """Stored inputs [B, ...] as JSON: their shape, type, and bytes in base64, little end first."""
    array = inputs.contiguous().numpy()
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {
        "shape": list(inputs.shape),
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "data": base64.b64encode(little.tobytes()).decode(),
    }


def _short(value: Sequence[str] | Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."

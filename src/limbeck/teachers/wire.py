"""One HTTP endpoint and how it is spoken to: JSON there, JSON back, with patience that ends."""

import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader

from limbeck.errors import DataError

RETRIED = frozenset({408, 429, *range(500, 600)})
"""Answers that say nothing of the question: another try may do better."""
LONGEST_WAIT = 60.0
"""Seconds between two tries, whatever the endpoint asks for."""
CHUNK = 1 << 16
_SHOWN = 200


class _Passing(Exception):
    """A try failed in a way that may pass.

    Args:
        why: in words.
        wait: seconds that the endpoint asks for.
    """

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A URL, and how long it is waited for.

    Args:
        url: http or https.
        timeout: seconds for one try, from the first byte sent to the last received.
        retries: tries after the first.
        backoff: seconds before the first of them; each further wait is twice as long.
        concurrency: connections that are kept open.
        token: sent as a bearer token; neither shown nor stored.
    """

    url: str
    timeout: float
    retries: int
    backoff: float
    concurrency: int
    token: str | None = field(default=None, repr=False)

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(maxsize=self.concurrency, block=True, retries=False)

    def ask(self, question: Any, *, most: int) -> Any:
        """The JSON value that a question is answered with.

        Args:
            question: a JSON value.
            most: bytes of the answer.

        Raises:
            DataError: refused, redirected, no JSON, too long, or no answer after all tries.
        """
        body = json.dumps(question).encode()
        for tries in range(1, self.retries + 2):
            try:
                return self._parsed(self._posted(body, most))
            except _Passing as passing:
                if tries > self.retries:
                    raise self._error(
                        f"did not answer in {tries} {'tries' if tries > 1 else 'try'}: {passing}",
                        "an endpoint that is up",
                        "look at its logs, then run the same command again with --resume: finished shards are kept",
                    ) from None
                wait = self.backoff * 2 ** (tries - 1) if passing.wait is None else passing.wait
                time.sleep(min(max(wait, 0.0), LONGEST_WAIT))
        raise AssertionError("unreachable")

    def _posted(self, body: bytes, most: int) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        ends = time.monotonic() + self.timeout
        try:
            response = self._pool.request(
                "POST",
                self.url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=self.timeout),
                redirect=False,
                preload_content=False,
            )
            try:
                return self._read(response, most, ends)
            except BaseException:
                response.close()
                raise
            finally:
                response.release_conn()
        except HTTPError as error:
            raise _Passing(self._hidden(str(error))) from None

    def _read(self, response: urllib3.BaseHTTPResponse, most: int, ends: float) -> bytes:
        """The body of a good answer."""
        self._check_status(response, ends)
        kind, encoding = response.headers.get("Content-Type", ""), response.headers.get("Content-Encoding", "identity")
        if "json" not in kind.lower() or encoding != "identity":
            raise self._error(
                f"answered with the type {kind[:80] or 'none'!r} and the encoding {encoding[:80]!r}",
                "application/json, not compressed",
                "let it answer as docs/recipe.md says",
            )
        body = self._body(response, most + 1, ends)
        if len(body) > most:
            raise self._error(
                f"answered with more than {most:,} bytes",
                "one number for each example and class",
                "let it answer as docs/recipe.md says",
            )
        return body

    def _body(self, response: urllib3.BaseHTTPResponse, most: int, ends: float) -> bytes:
        found = bytearray()
        while len(found) < most:
            if time.monotonic() > ends:
                raise _Passing(f"its answer was not complete after {self.timeout:g} s")
            chunk = response.read1(min(CHUNK, most - len(found)), decode_content=False)
            if not chunk:
                break
            found += chunk
        return bytes(found)

    def _check_status(self, response: urllib3.BaseHTTPResponse, ends: float) -> None:
        status = response.status
        if status in RETRIED:
            raise _Passing(f"status {status}", _wait_asked(response.headers.get("Retry-After")))
        if 300 <= status < 400:
            raise self._error(
                f"redirects to {response.headers.get('Location', 'nowhere')[:_SHOWN]!r} (status {status})",
                "an answer from where the question went, with what it holds",
                "set the url to where it answers, if you trust that place",
            )
        if status != 200:
            said = self._body(response, 4 * _SHOWN, ends).decode(errors="replace")
            raise self._error(
                f"refused with status {status}: {self._hidden(said)}",
                "status 200",
                "check the url and the token, and that it takes these examples",
            )

    def _parsed(self, body: bytes) -> Any:
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            said = self._hidden(body[:_SHOWN].decode(errors="replace"))
            raise self._error(
                f"answered with no JSON ({self._hidden(str(error))}): {said}",
                "JSON, without NaN or Infinity",
                "let it answer as docs/recipe.md says",
            ) from None

    def _hidden(self, text: str) -> str:
        """Text of the endpoint on one short line, without the token."""
        shown = text.replace(self.token, "***") if self.token else text
        return "".join(letter if letter.isprintable() else " " for letter in shown)[:_SHOWN].strip()

    def _error(self, came: str, expected: str, do: str) -> DataError:
        return DataError(f"the endpoint {shown_url(self.url)} {came}", expected=expected, do=do)


def shown_url(url: str) -> str:
    """A URL without its query, which may hold a secret."""
    return urlsplit(url)._replace(query="").geturl()


def _wait_asked(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        return urllib3.Retry().parse_retry_after(header)
    except InvalidHeader:
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")

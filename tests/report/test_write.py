import errno
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import DataError, DiskError
from limbeck.record import read_record
from limbeck.report import write_report


class Tags(HTMLParser):
    """The tags that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs


def tags(path: Path) -> Tags:
    parser = Tags()
    parser.feed(path.read_text())
    return parser


def test_a_report_can_be_deleted_and_made_again(finished: Path, tmp_path: Path):
    record = read_record(finished)
    path = write_report(tmp_path, record)
    assert path == tmp_path / "report.md"
    for name in ("report.md", "report.html"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_the_page_opens_without_a_network(finished: Path):
    found = tags(finished / "report.html")
    assert {"table", "h1", "h2", "code"} <= found.seen
    assert not {"script", "img", "link", "iframe"} & found.seen
    assert not [value for name, value in found.attributes if name in ("src", "href")]


HOSTILE = "<script>alert(1)</script>|<img src=x onerror=alert(1)>[x](javascript:alert(1))`{0}{body}"


def test_names_of_the_user_stay_text(tmp_path: Path, record: dict[str, Any]):
    record["recipe"]["out"] = HOSTILE
    record["arms"] = {HOSTILE: record["arms"]["scratch"]}
    record["verdict"] = record["verdicts"][0] = {**record["verdict"], "arm": HOSTILE}
    record["gap_share"] = record["mcnemar"] = {}
    write_report(tmp_path, record)
    found = tags(tmp_path / "report.html")
    assert not {"script", "img"} & found.seen
    assert not [name for name, _ in found.attributes if name == "onerror"]
    assert not [value for _, value in found.attributes if value and value.startswith("javascript")]


def test_the_record_of_one_student_is_no_report(finished: Path, tmp_path: Path):
    with pytest.raises(DataError, match="is that of one student"):
        write_report(tmp_path, read_record(finished / "arms" / "distilled" / "seed-0"))
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    write_report(tmp_path, record)
    before = (tmp_path / "report.md").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    record["recipe"]["out"] = "elsewhere"
    with pytest.raises(DiskError, match="No space left"):
        write_report(tmp_path, record)
    assert (tmp_path / "report.md").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.html"}

"""Readers of what runs leave: the report and the peek. Nothing here decides anything."""

from limbeck.report.cost_section import bench_markdown
from limbeck.report.demo import demo_markdown
from limbeck.report.markdown import closing_sentence, report_markdown
from limbeck.report.peek import Peek, peek, peek_json, peek_text
from limbeck.report.places import landscape_of, record_of
from limbeck.report.search import search_lines, search_sentence
from limbeck.report.write import markdown_of, write_report

__all__ = [
    "Peek",
    "bench_markdown",
    "closing_sentence",
    "demo_markdown",
    "landscape_of",
    "markdown_of",
    "peek",
    "peek_json",
    "peek_text",
    "record_of",
    "report_markdown",
    "search_lines",
    "search_sentence",
    "write_report",
]

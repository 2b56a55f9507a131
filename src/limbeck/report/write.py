"""Reports on disk: `report.md`, and the same page as one HTML file that opens without a network."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from limbeck.errors import DataError
from limbeck.files import write_text
from limbeck.report.cost_section import bench_section
from limbeck.report.delivered import delivered_section
from limbeck.report.markdown import report_markdown
from limbeck.report.parts import Record
from limbeck.report.places import landscape_of
from limbeck.report.search import search_markdown

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>limbeck report</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #ccc; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
code, pre {{ background: #f3f3f0; padding: .1rem .3rem; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
@page {{ size: A4; margin: 18mm 16mm; }}
@media print {{
body {{ font-size: 10pt; max-width: none; margin: 0; padding: 0; }}
table {{ display: table; font-size: 8.5pt; }}
th, td {{ padding: .15rem .4rem; }}
h1, h2, p:has(+ table) {{ break-after: avoid; }}
svg, tr, p:has(svg) {{ break-inside: avoid; }}
}}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_report(directory: Path, record: Record) -> Path:
    """Write both reports of a run or a search beside its record; returns the path of the Markdown.

    A search has figures too: files beside the Markdown, parts of the page.

    Raises:
        DataError: it is not the record of a whole run or search, or landscape.json beside that of a search is missing
            or damaged.
    """
    if "verdicts" not in record:
        raise DataError(
            f"the record in {directory} is that of one student",
            expected="the record of a whole run",
            do="name the directory of the run, the one with recipe.resolved.yaml",
        )
    text, figures = markdown_of(directory, record), _figures(directory, record)
    # Raw HTML stays text: class names and paths are the user's.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, figure in figures.items():
        image = re.compile(rf'<img src="{name}\.svg"[^>]*>')
        body = figure.join(image.split(body))
        write_text(directory / f"{name}.svg", figure)
    write_text(directory / "report.html", _PAGE.format(body=body))
    write_text(directory / "report.md", text)
    return directory / "report.md"


def markdown_of(directory: Path, record: Record) -> str:
    """The report on a run or a search as Markdown.

    Raises:
        DataError: what lies beside the record is missing or damaged.
    """
    if _is_search(record):
        return search_markdown(record, landscape_of(directory))
    return report_markdown(record, (delivered_section(directory), bench_section(directory, record)))


def _figures(directory: Path, record: Record) -> dict[str, str]:
    if not _is_search(record):
        return {}
    from limbeck.report.charts import charts  # Matplotlib takes half a second, and runs have no figures

    return charts(landscape_of(directory))


def _is_search(record: Record) -> bool:
    return record.get("kind") == "search"

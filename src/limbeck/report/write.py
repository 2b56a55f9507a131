"""Reports on disk: `report.md`, and the same page as one HTML file that opens without a network."""

from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from limbeck.errors import DataError
from limbeck.files import write_text
from limbeck.report.markdown import report_markdown

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
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_report(directory: Path, record: dict[str, Any]) -> Path:
    """Write both reports of a run beside its record; returns the path of the Markdown.

    Raises:
        DataError: it is not the record of a whole run.
    """
    if "verdicts" not in record:
        raise DataError(
            f"the record in {directory} is that of one student",
            expected="the record of a whole run",
            do="name the directory of the run, the one with recipe.resolved.yaml",
        )
    text = report_markdown(record)
    # Raw HTML stays text: class names and paths are the user's.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    write_text(directory / "report.html", _PAGE.format(body=body))
    write_text(directory / "report.md", text)
    return directory / "report.md"

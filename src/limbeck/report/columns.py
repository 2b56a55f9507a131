"""What a source has made of the columns of a table, in words."""

from typing import Any

Facts = dict[str, Any]


def columns_rows(data: Facts) -> list[tuple[str, ...]]:
    """A row of a table for each column: name, role, why, distinct values, missing cells, unknown in the test set."""
    unknown = data.get("unknown_in_test", {})
    return [
        (
            column["name"],
            column["role"],
            column["why"],
            f"{column['values']:,}",
            f"{column['missing']:,}",
            f"{unknown.get(column['name'], 0):,}",
        )
        for column in data["columns"]
    ]

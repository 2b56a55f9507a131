"""What a source has made of the columns of a table, in words."""

from typing import Any

Facts = dict[str, Any]


def columns_line(data: Facts) -> str | None:
    """The columns that are used and those that are not, in a line; None where the data are no table."""
    if "columns" not in data:
        return None
    used: dict[str, list[str]] = {}
    for column in data["columns"]:
        why = f" ({column['why']})" if column["role"] == "ignore" else ""
        used.setdefault(column["role"], []).append(column["name"] + why)
    roles = [
        f"{'ignored' if role == 'ignore' else role} {', '.join(used[role])}"
        for role in ("numeric", "categorical", "text", "ignore")
        if role in used
    ]
    label = data["label"]
    return f"columns: label {label['name']} ({label['why']}); " + "; ".join(roles)


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

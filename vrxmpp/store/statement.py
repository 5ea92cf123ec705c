"""SQL written with SQLAlchemy and run by the driver itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.expression import ClauseElement

Row = tuple[Any, ...]


class Statement:
    """One statement, compiled once for each kind of database.

    ``Connection.execute`` costs ten times what SQLite itself needs, and every log-in runs four statements. So values go
    in and come out as the driver has them: numbers, text, bytes, ``None``, and 0 or 1 for a boolean.
    """

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def rows(self, connection: Connection, **parameters: Any) -> list[Row]:
        """Run it and return all rows it gives."""
        rows: list[Row] = self._execute(connection, parameters).fetchall()
        return rows

    def row(self, connection: Connection, **parameters: Any) -> Row | None:
        """Run it and return the one row it gives, if any."""
        rows = self.rows(connection, **parameters)
        return rows[0] if rows else None

    def run(self, connection: Connection, **parameters: Any) -> int:
        """Run it and return how many rows it touched."""
        count: int = self._execute(connection, parameters).rowcount
        return count

    def run_each(self, connection: Connection, parameters: Sequence[dict[str, Any]]) -> None:
        """Run it once with each of ``parameters``."""
        sql, constants = self._compile(connection)
        connection.connection.cursor().executemany(sql, [constants | each for each in parameters])

    def _execute(self, connection: Connection, parameters: dict[str, Any]) -> Any:
        sql, constants = self._compile(connection)
        cursor = connection.connection.cursor()
        cursor.execute(sql, constants | parameters)
        return cursor

    def _compile(self, connection: Connection) -> tuple[str, dict[str, Any]]:
        """Return the SQL, with named parameters, and the values of those that never change."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            made = self._clause.compile(dialect=dialect)
            constants = {name: value for name, value in made.params.items() if value is not None}
            compiled = self._compiled[dialect.name] = str(made), constants
        return compiled

"""Tables whose rows are structs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from koco.events import line
from koco.store.engine.protocol import Connection
from koco.store.model import Page
from koco.store.sql import pages

R = TypeVar("R", bound=msgspec.Struct)

#: Names of columns that are reserved words of SQL.
_RESERVED = {"user"}


def column(name: str) -> str:
    """Return a column's name for SQL."""
    return f'"{name}"' if name in _RESERVED else name


def columns(names: Iterable[str], *, of: str = "") -> str:
    """Return columns, separated by commas. `of` is the prefix of each."""
    return ", ".join(f"{of}{column(name)}" for name in names)


def insertion(table: str, names: Sequence[str]) -> str:
    """Return the statement that inserts a row with these columns, each from a value of its name."""
    values = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({columns(names)}) VALUES ({values})"


def replacement(
    table: str, names: Sequence[str], key: Sequence[str], *, kept: Sequence[str] = ()
) -> str:
    """Return the statement that inserts a row, or replaces the one with the same key.

    The columns `kept` of a row that is replaced stay as they are.
    """
    changes = ", ".join(
        f"{column(name)} = excluded.{column(name)}" for name in names if name not in {*key, *kept}
    )
    conflict = f"ON CONFLICT ({columns(key)}) DO UPDATE SET {changes}"
    return f"{insertion(table, names)} {conflict}"


class Codec(NamedTuple):
    """How the values of a column are stored."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Table(Generic[R]):
    """A table with a column for each field of `row`. NULL stands for a field's default.

    The fields in `json` are stored as JSON, and so are `payloads`, which are values of users. Those
    in `codecs` have forms of their own. Rows are read from `source` and its `selection`, if these
    are not the table and its columns.
    """

    def __init__(
        self,
        name: str,
        row: type[R],
        *,
        key: Sequence[str] = (),
        json: Sequence[str] = (),
        payloads: Sequence[str] = (),
        codecs: Mapping[str, Codec] | None = None,
        selection: str = "",
        source: str = "",
    ) -> None:
        self.names = row.__struct_fields__
        self.columns = selection or columns(self.names)
        self._name = name
        self._row = row
        self._select = f"SELECT {self.columns} FROM {source or name}"
        self._insertion = insertion(name, self.names)
        self._replacement = replacement(name, self.names, key) if key else ""
        self._codecs = {**_codecs(row, json, payloads), **(codecs or {})}

    def select(self, db: Connection, clause: str = "", /, **values: Any) -> list[R]:
        """Return the rows of a query, from its `WHERE` on."""
        return [self.read(row) for row in db.execute(f"{self._select} {clause}", values)]

    def first(self, db: Connection, clause: str, /, **values: Any) -> R | None:
        """Return the first row of a query, from its `WHERE` on, or None if it has none."""
        row = db.execute(f"{self._select} {clause} LIMIT 1", values).fetchone()
        return self.read(row) if row is not None else None

    def page(
        self, db: Connection, limit: int, cursor: Callable[[R], object], clause: str, /, **more: Any
    ) -> Page[R]:
        """Return a page of a query, from its `WHERE` on. `cursor` returns an item's cursor."""
        values = {**more, "most": limit + 1}
        rows = db.iterate(f"{self._select} {clause} LIMIT :most", values)
        taken, has_more = pages.take(rows, limit)
        rows.close()
        items = [self.read(row) for row in taken]
        return Page(items, str(cursor(items[-1])) if has_more else None)

    def any(self, db: Connection, clause: str = "", /, **values: Any) -> bool:
        """Whether a query has rows, from its `WHERE` on."""
        row = db.execute(f"SELECT 1 FROM {self._name} {clause} LIMIT 1", values).fetchone()
        return row is not None

    def insert(self, db: Connection, row: R) -> None:
        """Insert a row."""
        db.execute(self._insertion, self.values(row))

    def put(self, db: Connection, row: R) -> None:
        """Insert a row, or replace the one with the same key."""
        db.execute(self._replacement, self.values(row))

    def update(
        self, db: Connection, clause: str, changes: Mapping[str, Any], /, **values: Any
    ) -> int:
        """Change columns of the rows that fit a `WHERE`; return their number."""
        new = self.encode(changes)
        sets = ", ".join(f"{column(name)} = :new_{name}" for name in new)
        values |= {f"new_{name}": value for name, value in new.items()}
        return db.execute(f"UPDATE {self._name} SET {sets} {clause}", values).rowcount

    def delete(self, db: Connection, clause: str, /, **values: Any) -> int:
        """Delete the rows that fit a `WHERE`; return their number."""
        return db.execute(f"DELETE FROM {self._name} {clause}", values).rowcount

    def values(self, row: R) -> dict[str, Any]:
        """Return a row's values by column, as they are stored."""
        return self.encode({name: getattr(row, name) for name in self.names})

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of some columns as they are stored."""
        encoded = dict(values)
        for name, codec in self._codecs.items():
            if encoded.get(name) is not None:
                encoded[name] = codec.encode(encoded[name])
        return encoded

    def read(self, row: Sequence[Any]) -> R:
        """Return the struct for the values of all columns."""
        fields = {
            name: value for name, value in zip(self.names, row, strict=True) if value is not None
        }
        for name, codec in self._codecs.items():
            if name in fields:
                fields[name] = codec.decode(fields[name])
        return self._row(**fields)


def to_json(value: Any) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(value).decode()


def payload_to_json(value: Any) -> str:
    """Return a user's value as JSON; see `koco.events.line`."""
    return line.encode_payload(value).decode()


def _codecs(
    row: type[msgspec.Struct], json: Sequence[str], payloads: Sequence[str]
) -> dict[str, Codec]:
    """Return the codecs of the columns that are not stored as they are."""
    codecs = {}
    for field in msgspec.structs.fields(row):
        kind = field.type
        if field.name in json:
            codecs[field.name] = Codec(to_json, msgspec.json.Decoder(kind).decode)
        elif field.name in payloads:
            codecs[field.name] = Codec(payload_to_json, msgspec.json.Decoder(kind).decode)
        elif kind is bool or (isinstance(kind, type) and issubclass(kind, Enum)):
            codecs[field.name] = Codec(lambda value: value, kind)
    return codecs

"""Shapes that several answers share. An answer is a struct, beside the route that returns it.

The OpenAPI document is made from these structs. Adding a member is compatible, changing one is not.
A member that can be absent has the type `… | UnsetType` and the default `UNSET`. All others are
always present, if only as null.
"""

from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType


def text(example: str, about: str | None = None) -> Meta:
    """Return the description of a text, with an example."""
    return Meta(examples=[example], description=about)


def enum(*values: str) -> Meta:
    """Return the description of a text that is one of some values."""
    return Meta(extra_json_schema={"enum": list(values)})


Fid = Annotated[str, text("wrq429s8exka3r9k", "the id of an execution")]
Time = Annotated[str, text("2026-01-31T12:00:00.123456Z", "RFC 3339, in UTC")]
Flow = Annotated[str, text("hello/greet", "a flow's full name: `service/flow`")]
Service = Annotated[str, text("hello")]
Number = Annotated[int, Meta(examples=[1], description="the number of a release")]
Person = Annotated[str, text("ada", "the name of a key or a user")]
Sha256 = Annotated[str, text("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")]
Object = Annotated[dict[str, Any], Meta(examples=[{"who": "Ada"}])]
Json = Annotated[Any, Meta(examples=["Hello, Ada"], description="any JSON value")]
#: A permission of a key or a user.
Scope = Annotated[str, enum("read", "launch", "deploy", "admin")]
Flows = Annotated[
    tuple[str, ...],
    Meta(examples=[["hymn/*"]], description="patterns of flows; [] allows all"),
]
Address = Annotated[str, text("192.0.2.7")]


class Shape(msgspec.Struct):
    """An answer, or a part of one."""

    @classmethod
    def of(cls, row: Any, **others: Any) -> Self:
        """Return an answer with the members that a row has under the same names, and `others`."""
        same = {name: getattr(row, name) for name in cls.__struct_fields__ if name not in others}
        return cls(**same, **others)


class Named(Shape):
    """The key or user that was changed."""

    name: Person


class Problem(Shape):
    """An error (RFC 9457). `code` is stable, `hint` says how to fix it."""

    type: Annotated[str, text("urn:koco:error:not_found")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, text("no execution is called 'x'")]
    code: Annotated[str, text("not_found")]
    hint: str | None
    request_id: Annotated[str, text("4b1c0ffee0ddba11")]
    errors: (
        Annotated[
            dict[str, list[str]], Meta(description="messages by input; `_global_` stands for all")
        ]
        | UnsetType
    ) = UNSET
    traceback: (
        Annotated[str, Meta(description="only for callers with the scope `deploy`")] | UnsetType
    ) = UNSET
    pointer: Annotated[str, Meta(description="the place in the body (RFC 6901)")] | UnsetType = (
        UNSET
    )


ReleaseStatus = Literal["starting", "live", "failed", "retired"]

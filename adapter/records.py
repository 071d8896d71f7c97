"""``record``: a dataclass that the type checker alone holds frozen.

At run time a frozen dataclass sets each field through ``object.__setattr__``, which was 10 of the 72 us
of a call (embedded broker and store, py-spy). So mypy refuses an assignment to a field of a record, and
Python carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """Make a dataclass with slots, equal and hashable by its fields. Nothing of the program may change it."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

"""``record``: a dataclass that nobody may change, at the price of one that anybody could.

At run time a frozen dataclass sets each field through ``object.__setattr__``, which was 10 of the 72 us
of a call (embedded broker and store, py-spy). So here the type checker alone holds people to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen: bool, slots: bool):
        """As ``dataclasses.dataclass``; by value equal and hashable."""
        assert frozen
        return dataclass(slots=slots, unsafe_hash=True)


__all__ = ["record"]

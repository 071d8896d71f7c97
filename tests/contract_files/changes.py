"""Whether a change of the contract breaks those who hold to the contract as it was.

``@asyncapi/diff`` (0.5.0) reads documents of version 3, but leaves changes of a payload "unclassified".
So the schemas are compared here, by what readers of this contract do: they ignore keys that they do not know.

| change | of what the adapter writes | of what a consumer writes |
|---|---|---|
| a key removed, or of another type | breaks | breaks |
| a key that was always there, and need not be any more | breaks | |
| a key that must be there, and need not be before | | breaks |
| a value that there was not before | breaks | |
| a value that is not taken any more | | breaks |

So does an address, an exchange or an operation that is there no more, or is another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter.message_fields import ADAPTER
from tests.contract_files.files import DOCUMENT
from tests.contract_files.schemas import WRITTEN_BY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOWER: Final = ("minimum", "minLength", "minItems")
_UPPER: Final = ("maximum", "maxLength", "maxItems")
_EXACT: Final = ("pattern", "not")
_WORDS: Final = frozenset(["title", "description", "summary", "examples", "$schema", "info"])


class Change(NamedTuple):
    """A change: where, what, and whether it breaks."""

    where: str
    what: str
    breaks: bool

    def __str__(self) -> str:
        return f"{'breaks' if self.breaks else 'harmless'}: {self.where}: {self.what}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Compare two contracts.

    Args:
        old, new: the document and the schemas, parsed, by their paths within the folder of the contract.
    """
    found = [*_channels(old.get(DOCUMENT, {}), new.get(DOCUMENT, {}))]
    schemas = [name for name in {**old, **new} if name.startswith("schemas/")]
    for name in schemas:
        if name not in new:
            found.append(Change(name, "is there no more", True))
        elif name not in old:
            found.append(Change(name, "is new", False))
        else:
            found += _schema(old[name], new[name], new[name][WRITTEN_BY] == ADAPTER, name)
    return found


def _schema(old: Mapping[str, Any], new: Mapping[str, Any], ours: bool, where: str) -> Iterator[Change]:
    """``ours``: the adapter writes it, others read it."""
    yield from _types(old, new, ours, where)
    yield from _required(old, new, ours, where)
    yield from _limits(old, new, ours, where)
    keys, more = old.get("properties", {}), new.get("properties", {})
    for name in {**keys, **more}:
        if name not in more:
            yield Change(f"{where}: {name}", "is there no more", True)
        elif name not in keys:
            if name not in new.get("required", []):
                yield Change(f"{where}: {name}", "is new", False)
        else:
            yield from _schema(keys[name], more[name], ours, f"{where}: {name}")
    yield from _schema_of_items(old, new, ours, where)
    yield from _alternatives(old, new, ours, where)


def _schema_of_items(
    old: Mapping[str, Any], new: Mapping[str, Any], ours: bool, where: str
) -> Iterator[Change]:
    if "items" in old and "items" in new:
        yield from _schema(old["items"], new["items"], ours, f"{where}: each")


def _types(old: Mapping[str, Any], new: Mapping[str, Any], ours: bool, where: str) -> Iterator[Change]:
    before, after = old.get("type"), new.get("type")
    if before != after:
        yield Change(where, f"is of the type {after or 'any'}, was {before or 'any'}", True)


def _required(old: Mapping[str, Any], new: Mapping[str, Any], ours: bool, where: str) -> Iterator[Change]:
    before, after = old.get("required", []), new.get("required", [])
    for name in after:
        if name not in before:
            yield Change(f"{where}: {name}", "is always there now" if ours else "must be there now", not ours)
    for name in before:
        if name not in after and name in new.get("properties", {}):
            yield Change(f"{where}: {name}", "need not be there any more", ours)


def _limits(old: Mapping[str, Any], new: Mapping[str, Any], ours: bool, where: str) -> Iterator[Change]:
    for keyword in (*_LOWER, *_UPPER, *_EXACT, "enum", "const"):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        what = f"{keyword} is {_shown(after)}, was {_shown(before)}"
        yield Change(where, what, _wider(keyword, before, after) if ours else _wider(keyword, after, before))


def _wider(keyword: str, before: Any, after: Any) -> bool:
    """Whether there are values by ``after`` that there are not by ``before``; also where nobody can tell."""
    if before is None or after is None:
        return after is None
    if keyword in _LOWER:
        return bool(after < before)
    if keyword in _UPPER:
        return bool(after > before)
    if keyword == "enum":
        return any(value not in before for value in after)
    return True


def _alternatives(old: Mapping[str, Any], new: Mapping[str, Any], ours: bool, where: str) -> Iterator[Change]:
    before = {each["title"]: each for each in old.get("oneOf", [])}
    after = {each["title"]: each for each in new.get("oneOf", [])}
    for title in {**before, **after}:
        if title not in after:
            yield Change(f"{where}: {title}", "is there no more", True)
        elif title not in before:
            yield Change(f"{where}: {title}", "is new", ours)
        else:
            yield from _schema(before[title], after[title], ours, f"{where}: {title}")


def _channels(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """What the document says beside the schemas: any other value of what was there breaks."""
    for part in ("channels", "operations"):
        yield from _values(old.get(part, {}), new.get(part, {}), part)
    yield from _values(_content_types(old), _content_types(new), "content type")


def _content_types(document: Mapping[str, Any]) -> dict[str, Any]:
    messages = document.get("components", {}).get("messages", {})
    return {name: message.get("contentType") for name, message in messages.items()}


def _values(old: Any, new: Any, where: str) -> Iterator[Change]:
    if isinstance(old, list) and isinstance(new, list):  # of references
        old, new = ({str(each): each for each in found} for found in (old, new))
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield Change(where, f"is {_shown(new)}, was {_shown(old)}", True)
        return
    for name in {**old, **new}:
        if name in _WORDS:
            continue
        if name not in new:
            yield Change(f"{where}: {name}", "is there no more", True)
        elif name not in old:
            yield Change(f"{where}: {name}", "is new", False)
        else:
            yield from _values(old[name], new[name], f"{where}: {name}")


def _shown(value: Any) -> str:
    return "not limited" if value is None else str(value)

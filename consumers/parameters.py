"""What a handler's parameters ask for, and what they get. Decided once, before the first request.

A parameter gets the request, if it is annotated with ``Request`` (the first one also without any
annotation); the event's data, if it is annotated with a dataclass, a TypedDict, a pydantic model, a ``dict``
or ``bytes``; what another service has decided, if that is marked ``DecidedBy``; a way to ask for more time,
if it is annotated with ``MoreTime``; and anything else from what the lifespans made, by its type.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
from collections import ChainMap
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin

from adapter.contract import Request
from consumers.decisions import Failed
from consumers.more_time import MoreTime, current

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

MAX_DETAIL: Final = 255
"""Characters that tell why a payload does not fit."""
_EMPTY: Final = inspect.Parameter.empty
_COLLECTED: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_KNOWN: Final[dict[str, Any]] = {
    each.__name__: each
    for each in (AsyncGenerator, AsyncIterator, AbstractAsyncContextManager, Mapping, MoreTime, Request)
}
"""What annotations may name, though the module imports it for the type checker alone."""
_HIDDEN: Final = frozenset(("value_error", "assertion_error", "union_tag_invalid"))
"""Kinds of pydantic's errors whose text may quote the data, which are about other people's calls."""


class SignatureError(ValueError):
    """A function's parameters or annotations cannot be used; the text says which, and what to write."""


class PayloadError(Failed, ValueError):
    """An event's data do not fit the type that a handler asks for; the text names the fields."""

    about = "its data do not fit: "


@dataclasses.dataclass(frozen=True, slots=True)
class DecidedBy:
    """Marks a parameter that gets what a former service of a chain decided.

    ::

        async def decide(data: Call, fraud: Annotated[Fraud, DecidedBy("fraud")]) -> Decision: ...

    The type is any that the event's data may be made into. A request without that service's decision gives
    the parameter's default, else None if its type allows that; else the call has failed.
    """

    service: str


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a handler. ``type``: what it asks for; ``None`` if nothing can be known of it.

    ``trouble``: why nothing can be known; ``keyword``: it is passed by its name; ``default``: what it is
    without a value, ``inspect.Parameter.empty`` if it needs one.
    """

    name: str
    type: Any
    trouble: str = ""
    keyword: bool = False
    default: Any = _EMPTY

    @property
    def optional(self) -> bool:
        """Whether it has a default."""
        return self.default is not _EMPTY

    @property
    def former(self) -> str | None:
        """The service whose decision it asks for; ``None`` if it asks for something else."""
        marks = get_args(self.type)[1:] if get_origin(self.type) is Annotated else ()
        return next((mark.service for mark in marks if isinstance(mark, DecidedBy)), None)


def signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature. Its annotations are text, or what they stand for."""
    try:
        return inspect.signature(function)
    except NameError:  # from Python 3.14 on they are evaluated here, and one is for the type checker alone
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(function, annotation_format=Format.STRING)
        raise


def evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """Return what an annotation of ``function`` stands for. Raises whatever its text raises."""
    if not isinstance(annotation, str):
        return annotation
    return eval(annotation, {}, ChainMap(_globals(function), _KNOWN))


def _globals(function: Any) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return getattr(inspect.unwrap(function), "__globals__", {})


def parameters(handler: Callable[..., Any]) -> list[Parameter]:
    """Return what a handler's parameters ask for. One whose signature nobody knows asks for the request."""
    try:
        named = [each for each in signature(handler).parameters.values() if each.kind not in _COLLECTED]
    except (TypeError, ValueError):  # something built in
        return [Parameter("request", Request)]
    if not named and any(each.kind in _COLLECTED for each in signature(handler).parameters.values()):
        return [Parameter("request", Request)]
    return [_parameter(each, handler, first=at == 0) for at, each in enumerate(named)]


def _parameter(found: inspect.Parameter, handler: Callable[..., Any], first: bool) -> Parameter:
    kind, trouble = found.annotation, ""
    try:
        kind = Any if kind is _EMPTY else evaluated(kind, handler)
    except Exception as exc:  # whatever its text does
        if str(kind).rpartition(".")[2] == Request.__name__:
            kind = Request  # of a module that is imported for the type checker alone
        else:
            kind, trouble = None, f"{type(exc).__name__}: {exc}"
    if first and kind in (Any, object):
        kind = Request
    keyword = found.kind is inspect.Parameter.KEYWORD_ONLY
    return Parameter(found.name, kind, trouble, keyword, found.default)


def is_async(handler: Callable[..., Any]) -> bool:
    """Return True if calling it gives a coroutine."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def is_payload(kind: Any) -> bool:
    """Return True if an event's data can be made into this type."""
    origin = get_origin(kind)
    if origin is Annotated:
        return is_payload(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return all(map(is_payload, get_args(kind)))
    kind = origin or kind
    return (
        kind in (dict, bytes, Mapping)
        or dataclasses.is_dataclass(kind)
        or hasattr(kind, "__required_keys__")  # a TypedDict, of typing or of typing_extensions
        or hasattr(kind, "__pydantic_validator__")
    )


class Call:
    """Calls a handler with what its parameters ask for.

    Args:
        handler: takes what ``parameters`` tell.
        name: of the handler, for people.
        made: what the lifespans made, by type; filled when they are opened.
    """

    def __init__(self, handler: Callable[..., Any], name: str, made: Mapping[Any, Any]) -> None:
        self.handler = handler
        self._made = made
        self.name = name
        self.parameters = parameters(handler)

    @property
    def may_ask_for_time(self) -> bool:
        """Whether it asks for ``MoreTime``."""
        return any(each.type is MoreTime for each in self.parameters)

    def bound(self, kinds: Collection[Any]) -> tuple[Callable[[Request], Any], str]:
        """Return what calls the handler with a request, and what is wrong with it, for people.

        The handler itself, if the request is all that it wants: a call costs nothing more then.

        Args:
            kinds: the types of what the lifespans make.
        """
        if [(each.type, each.keyword) for each in self.parameters] == [(Request, False)]:
            return self.handler, ""
        try:
            fillers = [(each, self._filler(each, kinds)) for each in self.parameters]
            given = (Request, *kinds)
            payloads = (
                is_payload(each.type)
                for each in self.parameters
                if each.type not in given and not each.former
            )
            if sum(payloads) > 1:
                raise SignatureError("two of its parameters are for the event's data: leave one")
        except SignatureError as exc:
            return _refusing(f"{self.name}: {exc}"), f"{self.name}: {exc}"
        return _calling(self.handler, [(each, fill) for each, fill in fillers if fill is not None]), ""

    def _filler(self, wanted: Parameter, kinds: Collection[Any]) -> Callable[[Request], Any] | None:
        kind = wanted.type
        if wanted.trouble:
            raise SignatureError(
                f"the annotation of its parameter {wanted.name!r} cannot be read ({wanted.trouble}): "
                f"define or import the type at the head of the module, outside of `if TYPE_CHECKING`"
            )
        if kind is Request:
            return _itself
        if kind is MoreTime:
            if not is_async(self.handler):
                raise SignatureError(
                    f"its parameter {wanted.name!r} asks for more time, which goes out only while it waits: "
                    f"make it an async def"
                )
            return current
        if wanted.former is not None:
            return _decided_by(wanted.former, wanted)
        found = _made_as(kind, kinds)
        if len(found) > 1:
            names = " and ".join(sorted(map(shown, found)))
            raise SignatureError(
                f"its parameter {wanted.name!r} ({shown(kind)}) could be {names}: annotate it "
                f"with one of them"
            )
        if found:
            return functools.partial(_made, self._made, found[0], self.name, wanted.name)
        if is_payload(kind):
            return _payload(kind)
        if wanted.optional:
            return None
        if kind is Any:
            raise SignatureError(
                f"its parameter {wanted.name!r} has no annotation: annotate it with Request, with the type "
                f"of the event's data, or with the type of what a lifespan yields"
            )
        raise SignatureError(
            f"nothing gives its parameter {wanted.name!r} ({shown(kind)}): let a @service.lifespan yield "
            f"one (-> AsyncIterator[{shown(kind)}]), or make the type a dataclass, TypedDict or pydantic "
            f"model if it is for the event's data"
        )


def shown(kind: Any) -> str:
    """Return a type's name, for people."""
    return kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _made_as(kind: Any, kinds: Collection[Any]) -> list[Any]:
    """Return what is of this type: the very one, or else all that are subclasses of it."""
    if kind in kinds:
        return [kind]
    if not isinstance(kind, type) or kind is object or get_args(kind):
        return []
    return [each for each in kinds if isinstance(each, type) and not get_args(each) and _is_a(each, kind)]


def _is_a(each: type, kind: type) -> bool:
    try:
        return issubclass(each, kind)
    except TypeError:  # a protocol that no class can be asked about
        return False


def _itself(request: Request) -> Request:
    return request


def _made(made: Mapping[Any, Any], kind: Any, name: str, parameter: str, _: Request) -> Any:
    try:
        return made[kind]
    except KeyError:
        raise RuntimeError(
            f"{name}: its parameter {parameter!r} has no value yet, since the lifespans are not "
            f"open: await service.open()"
        ) from None


def _payload(kind: Any) -> Callable[[Request], Any]:
    """Return what makes the event's data into this type. Raises SignatureError."""
    made = _maker(kind, "event's data")
    return lambda request: made(request.data, "data")


def _decided_by(service: str, wanted: Parameter) -> Callable[[Request], Any]:
    """Return what makes a former service's decision into what a parameter asks for. Raises SignatureError."""
    kind = get_args(wanted.type)[0]
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if not all(each is types.NoneType or is_payload(each) for each in kinds):
        raise SignatureError(
            f"its parameter {wanted.name!r} is for a decision: annotate it with a dataclass, TypedDict, "
            f"pydantic model or dict[str, Any]"
        )
    made = _maker(kind, "decision")

    def decided(request: Request) -> Any:
        found = request.decisions.get(service)
        if found is not None:
            return made(found, f"decision of {service}")
        if wanted.optional:
            return wanted.default
        try:
            return made(None, "")
        except PayloadError:
            raise PayloadError(f"there is no decision of {service}") from None

    return decided


def _maker(kind: Any, what: str) -> Callable[[Any, str], Any]:
    """Return what makes a value of a name into a type, and raises PayloadError. Raises SignatureError."""
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        validate = TypeAdapter(kind).validate_python
    except (PydanticUserError, NameError) as exc:
        told = str(exc).partition("\n\n")[0]
        raise SignatureError(f"no {what} can be made into {shown(kind)}: {told}") from exc

    def make(value: Any, name: str) -> Any:
        try:
            return validate(value)
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_input=False, include_context=False)
            told = "; ".join(f"{_place(each['loc'], name)}: {_problem(each)}" for each in errors)
        raise PayloadError(told if len(told) <= MAX_DETAIL else f"{told[: MAX_DETAIL - 3]}...")

    return make


def _place(location: tuple[int | str, ...], name: str) -> str:
    text = ".".join(map(str, location if name == "data" and location else (name, *location)))
    return "".join(each if each.isprintable() else "?" for each in text)


def _problem(error: Mapping[str, Any]) -> str:
    return "is refused" if error["type"] in _HIDDEN else str(error["msg"])


def _calling(
    handler: Callable[..., Any], fillers: list[tuple[Parameter, Callable[[Request], Any]]]
) -> Callable[[Request], Any]:
    places = [fill for each, fill in fillers if not each.keyword]
    keywords = {each.name: fill for each, fill in fillers if each.keyword}
    if not keywords:
        return lambda request: handler(*[fill(request) for fill in places])
    return lambda request: handler(
        *[fill(request) for fill in places], **{name: fill(request) for name, fill in keywords.items()}
    )


def _refusing(told: str) -> Callable[[Request], Any]:
    def refuse(_: Request) -> Any:
        raise SignatureError(told)

    return refuse

"""What the keys of a policy may not be together: each is right alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.errors import PolicyError
from adapter.relay.plan import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter.errors import PolicyPath
    from adapter.relay.plan import Plan, Service

_ALONE: Final = {
    Mode.ALL: "merges the decisions of several",
    Mode.CHAIN: "asks one after the other",
    Mode.QUORUM: "counts those that decide alike",
}


def agrees(plan: Plan, base: Plan | None, path: PolicyPath) -> None:
    """Check what a table says together with what it has of ``[default]``.

    Args:
        plan: of both, not resolved.
        base: of ``[default]``; None if that is the table.
        path: of the table.

    Raises:
        PolicyError: at the key that is wrong beside another.
    """

    def at(*names: str) -> PolicyPath:
        """The first of these keys that the table gives itself; else the first that ``[default]`` gives."""
        own = [(*path, name) for name in names if name in plan.own]
        above = [("default", name) for name in names if base is not None and name in base.own]
        return next(iter((*own, *above)), (*path, names[0]))

    _deadlines(plan, at("max_deadline", "deadline"))
    _mode(plan, at("mode", "services"), at("quorum", "mode", "services"))
    for first, second in _overlaps(plan):
        name = next(each for each in _names(plan, second) if each in _names(plan, first))
        where, other = (at(second), at(first)) if second in plan.own else (at(first), at(second))
        wrong = f'"{name}" is in {PolicyError.dotted(other)}, too: {_TWICE.get((first, second), _OFTEN)}'
        raise PolicyError(where, wrong, "leave it out of one of them")


_TWICE: Final = {
    ("services", "backup"): "it has been asked when a backup is",
    ("services", "observers"): "it gets the request anyway",
    ("services", "shadows"): "its reply would be compared with itself",
}
_OFTEN: Final = "it could get a request twice"
_LISTS: Final = ("services", "backup", "observers", "shadows")


def _deadlines(plan: Plan, at: PolicyPath) -> None:
    if plan.max_deadline is not None and plan.max_deadline < plan.deadline:
        most, usual = f"{plan.max_deadline:g} s", f"{plan.deadline:g} s"
        wrong = f"max_deadline, {most}, is below the deadline, {usual}: a service could only lose time"
        raise PolicyError(at, wrong, f"write max_deadline = {plan.deadline:g} or more beside that deadline")


def _mode(plan: Plan, mode: PolicyPath, quorum: PolicyPath) -> None:
    count, needs = len(plan.services), plan.mode is Mode.QUORUM
    if plan.mode is not Mode.FIRST and count < 2:
        named = f"only {plan.services[0]} is named" if count else "no services are named"
        wrong = f"{plan.mode} {_ALONE[plan.mode]}, and {named}"
        raise PolicyError(
            mode, wrong, 'name two or more, services = ["screening", "fraud"], or leave mode out'
        )
    if needs and not plan.quorum:
        do = f"write quorum = {count // 2 + 1}, for example"
        raise PolicyError(mode, f"quorum is not given: how many of the {count} services must agree", do)
    if needs and plan.quorum > count:
        wrong = f"{plan.quorum} of {count} services can never agree"
        raise PolicyError(quorum, wrong, f"write quorum = {count} at most, or name more services")
    if plan.quorum and not needs:
        do = 'write mode = "quorum", or leave quorum out'
        raise PolicyError(quorum, f"means nothing in mode {plan.mode}", do)


def _overlaps(plan: Plan) -> Iterator[tuple[str, str]]:
    for place, second in enumerate(_LISTS):
        for first in _LISTS[:place]:
            if not set(_names(plan, first)).isdisjoint(_names(plan, second)):
                yield first, second


def _names(plan: Plan, key: str) -> tuple[str, ...]:
    return {
        "services": plan.services,
        "backup": plan.backup_names,
        "observers": plan.observer_names,
        "shadows": tuple(name for name, _ in plan.shadow_shares),
    }[key]


def within_deadlines(known: Mapping[str, Service], plans: Iterable[Plan]) -> None:
    """Check that each service's ``within`` ends before some deadline does. Raises PolicyError."""
    longest: dict[str, float] = {}
    for plan in plans:
        for name in (*plan.services, *plan.backup_names):
            longest[name] = max(longest.get(name, 0.0), plan.longest)
    for name, service in known.items():
        most = longest.get(name)
        if service.within is not None and most is not None and service.within > most:
            wrong = f"{service.within:g} s is longer than any call has that asks it, {most:g} s"
            do = f"write less than {most:g}, or leave it out for all that is left"
            raise PolicyError(("services", name, "within"), wrong, do)


def batches_in_msgpack(known: Mapping[str, Service], plans: Iterable[Plan]) -> None:
    """Check that no service that gets batches gets a request in JSON. Raises PolicyError."""
    for name, service in known.items():
        as_json = [plan for plan in plans if name in plan.names and plan.in_json(service)]
        if service.batch > 1 and as_json:
            wrong = "puts requests in one message, which is in msgpack, and its requests are in JSON"
            do = f'write format = "msgpack" in [services.{name}], or leave batch out'
            raise PolicyError(("services", name, "batch"), wrong, do)

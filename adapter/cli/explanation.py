"""How ``evapi-adapter policy`` shows who is asked, and what becomes of a call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from adapter.cli.output import Column, Format, escaped, seconds, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter.admin.policy_asked import Recipient
    from adapter.admin.policy_explained import Asked, Explanation
    from adapter.cli.output import Output
    from adapter.relay.plan import Breaker, Caching, Plan, Retry, Service
    from adapter.relay.policy import Policy


def decision(value: Any) -> str:
    """A decision, or data, on one line."""
    return "" if value is None else escaped(json.dumps(value, ensure_ascii=False, default=_as_text))


def _as_text(value: Any) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")


def _breaker(value: Any) -> str:
    return "" if value is None else f"after {value['after']} silences, for {seconds(value['pause'])}"


def _yes(value: Any) -> str:
    return "yes" if value else ""


_LIMITS: Final = (
    Column("within", "WITHIN", seconds, right=True),
    Column("optional", "OPTIONAL", _yes),
    Column("format", "FORMAT"),
    Column("fields", "FIELDS"),
    Column("accepts", "ACCEPTS"),
    Column("breaker", "BREAKER", _breaker),
    Column("batch", "BATCH", right=True),
)
SERVICES: Final = (Column("service", "SERVICE", style="bold"), *_LIMITS)
_EXPLAINED: Final = (
    Column("event", "EVENT", style="bold"),
    Column("table", "TABLE"),
    Column("revision", "REVISION"),
    Column("shown_key", "ROUTING KEY"),
    Column("shown_data", "DATA"),
    Column("shown_cached", "CACHE KEY"),
    Column("shown_deadline", "DEADLINE"),
    Column("shown_format", "FORMAT"),
    Column("shown_admission", "ADMISSION"),
    Column("shown_services", "SERVICES"),
)
_RECIPIENTS: Final = (
    Column("turn", "TURN", right=True),
    Column("service", "SERVICE", lambda name: text(name) or "whoever is bound", style="bold"),
    Column("role", "AS"),
    Column("shown_share", "SHARE"),
    Column("shown_queue", "QUEUE"),
    *_LIMITS,
    Column("shown_data", "GETS"),
)
_LADDER: Final = (Column("step", "STEP", style="bold"), Column("how", "HOW"))
_OUTCOMES: Final = (
    Column("outcome", "OUTCOME", style="bold"),
    Column("shown", "DECISION"),
    Column("source", "BY"),
)


def filled(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns in which any of the rows has something."""
    return [column for column in columns if any(column.cell(row) for row in rows)]


def format_of(as_json: bool) -> str:
    """The name of a format."""
    return "json" if as_json else "msgpack"


def service(known: Service) -> dict[str, Any]:
    """What is known of a service."""
    return {
        "service": known.name,
        "within": known.within,
        "optional": known.optional,
        "format": None if known.as_json is None else format_of(known.as_json),
        "fields": None if known.fields is None else list(known.fields),
        "accepts": None if known.accepts is None else sorted(known.accepts),
        "breaker": None if known.breaker is None else _parts(known.breaker),
        "batch": known.batch if known.batch > 1 else None,
    }


def _parts(breaker: Breaker) -> dict[str, Any]:
    return {"after": breaker.after, "pause": breaker.pause}


def asking(plan: Plan) -> dict[str, Any]:
    """Whom a plan asks, and how."""
    return {
        "max_deadline": plan.max_deadline,
        "mode": plan.mode.value,
        "quorum": plan.quorum or None,
        "services": list(plan.services),
        "retry": None if plan.retry is None else {"on": _on(plan.retry), "times": plan.retry.times},
        "backup": list(plan.backup_names),
        "cache": None if plan.cache is None else {"key": list(plan.cache.key), "stale": plan.cache.stale},
        "observers": list(plan.observer_names),
        "shadows": [{"service": name, "share": share} for name, share in plan.shadow_shares],
    }


def shown(plan: Plan) -> dict[str, str]:
    """The same as a person reads it."""
    beside = list(plan.observer_names)
    beside += [
        f"{name} ({share:.4g} of the calls)" if share < 1 else name for name, share in plan.shadow_shares
    ]
    return {
        "shown_services": _mode(plan),
        "shown_ladder": "; ".join(_ladder(plan)),
        "shown_beside": ", ".join(beside),
    }


def _on(retry: Retry) -> list[str]:
    return [word for word, counts in (("failed", retry.failed), ("untaken", retry.untaken)) if counts]


def _mode(plan: Plan) -> str:
    names = ", ".join(plan.services) or "-"
    if len(plan.services) < 2:
        return names
    return f"{plan.quorum} of {names}" if plan.quorum else f"{plan.mode} of {names}"


def _ladder(plan: Plan) -> Iterable[str]:
    if plan.cache is not None:
        yield _caching(plan.cache)
    if plan.max_deadline is not None:
        yield f"up to {seconds(plan.max_deadline)}"
    if plan.retry is not None:
        yield f"retry {', '.join(_on(plan.retry))} x{plan.retry.times}"
    if plan.backup_names:
        yield f"backup {', '.join(plan.backup_names)}"


def _caching(cache: Caching) -> str:
    stale = f", {seconds(cache.stale)} stale" if cache.stale else ""
    return f"cache by {', '.join(map(escaped, cache.key))}{stale}"


def show(found: Explanation, policy: Policy, out: Output) -> None:
    """Print what happens to an event."""
    row = _explained(found, policy)
    if out.format is not Format.TABLE:
        out.one(row, ())
        return
    out.one(row | _shown(found, policy), _EXPLAINED)
    recipients = [{**each, **_shown_recipient(each)} for each in row["asked"]]
    out.rows(filled(_RECIPIENTS, recipients), recipients)
    out.rows(_LADDER, row["ladder"])
    out.rows(_OUTCOMES, [{**each, "shown": _decided(each)} for each in row["outcomes"]])


def _explained(found: Explanation, policy: Policy) -> dict[str, Any]:
    plan, asked = found.plan, found.asked
    return {
        "event": found.event,
        "table": found.table,
        "revision": policy.revision,
        "routing_key": _routing_key(found.event),
        "data": asked and _data(asked),
        "deadline": plan.deadline,
        "format": format_of(plan.as_json),
        "admission": found.admission,
        "limit": found.limit,
        **asking(plan),
        "asked": [_recipient(each) for each in found.recipients],
        "ladder": [{"step": rung.value, "how": how} for rung, how in found.ladder],
        "sources": dict(found.sources),
        "outcomes": [
            {
                "outcome": outcome.value,
                "decision": None if given.decision is None else json.loads(given.decision),
                "source": given.source,
            }
            for outcome, given in found.outcomes.items()
        ],
    }


def _routing_key(event: str) -> str:
    from adapter.contract import word

    return f"{word(event)}.<node>"


def _data(asked: Asked) -> dict[str, Any]:
    return {
        "as": "map" if asked.is_map else "bytes",
        "request_bytes": asked.size,
        "problem": asked.problem or None,
        "cache_key": None if asked.key is None else dict(asked.key),
    }


def _recipient(each: Recipient) -> dict[str, Any]:
    return {
        **service(each.service),
        "turn": each.turn,
        "role": each.role,
        "queue": each.service.queue or None,
        "format": format_of(each.as_json),
        "share": each.share,
        "in_share": each.is_in,
        "data": each.data,
        "request_bytes": each.size,
    }


def _shown(found: Explanation, policy: Policy) -> dict[str, str]:
    """The same as a person reads it."""
    plan, sources, asked = found.plan, found.sources, found.asked
    places = f"up to {found.limit} in flight of a node"
    if plan.emergency:
        places += f", {policy.in_flight} and {policy.emergency} more"
    shown = {
        "shown_deadline": f"{seconds(plan.deadline)} ({sources['deadline']})",
        "shown_format": f"{format_of(plan.as_json)} ({sources['format']})",
        "shown_admission": f"{found.admission} ({sources['emergency']}): {places}",
        "shown_services": "whoever is bound to it; the policy expects nobody",
    }
    if plan.max_deadline is not None:
        most = f"{seconds(plan.max_deadline)} ({sources['max_deadline']})"
        shown["shown_deadline"] += f"; a service may move it to {most}"
    if plan.services:
        shown["shown_services"] = f"{_mode(plan)} ({sources['services']})"
    else:
        shown["shown_key"] = _routing_key(found.event)
    if asked is not None:
        kind = "a map" if asked.is_map else "bytes: they are no JSON object"
        shown["shown_data"] = f"malformed: {asked.problem}" if asked.problem else kind
        if plan.cache is not None and asked.key is None:
            shown["shown_cached"] = f"none: the data lack one of {', '.join(map(escaped, plan.cache.key))}"
        elif plan.cache is not None:
            shown["shown_cached"] = decision(asked.key)
    return shown


def _shown_recipient(each: Mapping[str, Any]) -> dict[str, str]:
    share, gets = "", ""
    if each["share"] < 1:
        is_in = {True: "gets this call", False: "does not get this call", None: "by Call-ID"}
        share = f"{each['share']:.4g}: {is_in[each['in_share']]}"
    if each["request_bytes"] is not None and each["in_share"] is not False:
        gets = "all" if each["fields"] is None else decision(each["data"])
    return {"shown_queue": each["queue"] or "by its binding", "shown_share": share, "shown_data": gets}


def _decided(row: Mapping[str, Any]) -> str:
    if row["decision"] is None:
        return "the service's" if row["outcome"] == "decided" else "the operator's"
    return decision(row["decision"])

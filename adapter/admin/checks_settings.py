"""The settings and the policy, before any server is asked."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapter.admin.checks_finding import Finding, Group, counted
from adapter.errors import PolicyError, SettingsError
from adapter.relay import policy
from adapter.settings import PREFIX, Settings, examine, source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.relay.policy import Policy

SETTINGS: Final = Group("settings")
ALIKE: Final = 0.8
"""How like a setting's name a variable's must be to be taken for a slip of it."""
_ENDS: Final = "An adapter that starts with it ends at once, with exit code 2; one that runs goes on."
_ENDS_OR_KEEPS: Final = f"{_ENDS.removesuffix('.')} with the policy that it had."


@dataclass(frozen=True, slots=True)
class Site:
    """What there is to be looked at.

    ``settings`` with the default in place of each that is wrong, ``wrong`` being their names; None where
    none of them can be read. ``policy`` is the default where the file is wrong. ``services`` to look for
    beside those that are known.
    """

    settings: Settings | None
    policy: Policy
    wrong: frozenset[str] = frozenset()
    services: Sequence[str] = ()


def read(services: Sequence[str] = (), **flags: Any) -> tuple[Site, list[Finding]]:
    """The site by flags, environment and files, and what is to be said of these."""
    chosen, problems = examine(**flags)
    findings = [_wrong(problem) for problem in problems]
    wrong = frozenset(problem.variable.removeprefix(PREFIX).lower() for problem in problems)
    if chosen is None:
        chosen = _otherwise(wrong, flags)
    if chosen is None:
        return Site(None, policy.Policy(), wrong, services), findings
    if not problems:
        findings.append(SETTINGS.ok("settings", _given(chosen, flags)))
    findings += _misspelt()
    if chosen.amqp_url is not None and chosen.consumer:
        findings.append(_two_deciders())
    rules, finding = _policy(chosen)
    if rules is None:
        chosen = chosen.model_copy(update={"policy": None})
    return Site(chosen, rules or policy.Policy(), wrong, services), [*findings, finding]


def _wrong(problem: SettingsError) -> Finding:
    todo = f"correct {problem.variable}; evapi-adapter settings show lists what holds, and whence"
    return SETTINGS.error("settings", str(problem), _ENDS, todo, of=problem.variable)


def _otherwise(wrong: frozenset[str], flags: dict[str, Any]) -> Settings | None:
    """With the defaults in place of what is wrong, so that the rest can still be looked at."""
    rest = {name: value for name, value in flags.items() if value not in (None, "")}
    for name in wrong:
        rest.pop(name, None)
        if name in Settings.model_fields:
            rest[name] = Settings.model_fields[name].get_default(call_default_factory=True)
    try:
        return Settings(**rest)
    except (ValueError, SettingsError):  # a file that cannot be read, and whatever else it hides
        return None


def _given(chosen: Settings, flags: dict[str, Any]) -> str:
    names = [name for name in Settings.model_fields if source(name, **flags) != "default"]
    if not names:
        return "all of them are the defaults"
    by = Counter(source(name, **flags) for name in names)
    told = ", ".join(f"{number} by {where}" for where, number in sorted(by.items()))
    return f"{counted(len(names), 'setting')} given ({told}), the rest are defaults"


def _misspelt() -> Iterator[Finding]:
    """Variables that are nearly a setting: others may be a service's own, or Kubernetes'."""
    names = [*Settings.model_fields, *(f"{name}_file" for name in Settings.model_fields)]
    known = {name.upper() for name in names}
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if name == variable or name in known:
            continue
        meant = difflib.get_close_matches(name, known, 1, ALIKE)
        if meant:
            seen = f"{variable} is no setting; {PREFIX}{meant[0]} is"
            why = "A variable that is not known is ignored: the default holds, whatever you meant."
            yield SETTINGS.warning("variables", seen, why, f"{PREFIX}{meant[0]}=...", of=variable)


def _two_deciders() -> Finding:
    seen = "EVAPI_CONSUMER is given beside EVAPI_AMQP_URL"
    todo = "unset EVAPI_CONSUMER; python -m consumers MODULE:SERVICE"
    return SETTINGS.error("settings", seen, _ENDS, todo, of="EVAPI_CONSUMER")


def _policy(chosen: Settings) -> tuple[Policy | None, Finding]:
    if chosen.policy is None:
        rules = policy.Policy()
        told = f"no file: every event has {rules.default.deadline:g} s, then the fallback"
        return rules, SETTINGS.ok("policy", told)
    try:
        rules = policy.read(chosen.policy)
    except PolicyError as exc:
        seen = f"{exc.where}: {exc.problem}"
        return None, SETTINGS.error("policy", seen, _ENDS_OR_KEEPS, exc.do)
    named = ", ".join(sorted(rules.services)) or "none"
    events, longest = counted(len(rules.events), "event"), rules.longest_deadline
    told = f"{chosen.policy}: {events}, longest deadline {longest:g} s, services: {named}"
    told += f", revision {rules.revision}"
    return rules, SETTINGS.ok("policy", told)

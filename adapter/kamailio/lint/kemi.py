"""The rule about configurations whose requests are handled in another language (KEMI).

That script is not read. What must be native is: the event routes of evapi, and what they lead to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import EVENT
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import CONNECTED, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.script import Script

DEFINE: Final = "ADAPTER_KEMI"
"""With it the include leaves out what tm does not do under KEMI."""


def kemi(script: Script) -> Iterator[Finding]:
    """A script that is not read, with a native part that does not hold what it must."""
    engine = script.configuration.setting("", "cfgengine")
    if engine is None or script.native or script.configuration.module("evapi") is None:
        return
    told = f"Requests are handled by the script of cfgengine {engine.value}, which is not read here"
    callback = script.configuration.setting("evapi", "event_callback")
    if callback is not None:
        what = f"{told}, and event_callback ({callback.value}) hands it the frames of the adapter, too."
        why = "While it is set no native event_route of evapi runs: no answer is read there."
        yield finding("kemi-native-part", callback, what, why, "")
    missing = [name for name in (MESSAGE, CONNECTED) if script.route(EVENT, name) is None]
    if missing:
        what = f"{told}; event_route[{missing[0]}] is missing."
        why = "The native part must hold the event routes of evapi, t_continue and the route it goes on with."
        yield finding(
            "kemi-native-part", engine, what, why, 'include_file "evapi-adapter.cfg"   # it has them'
        )
    elif script.included and DEFINE not in script.configuration.defines and _arms(script):
        what = f"{told}; {DEFINE} is not defined."
        why = "Under KEMI tm runs no native failure route: where no answer comes the caller gets a 408."
        write = f"# above the include:\n#!define {DEFINE}"
        yield finding("kemi-native-part", engine, what, why, write)


def _arms(script: Script) -> bool:
    """Whether the include itself arms its failure route."""
    return any(
        script.ours(step.file) and step.argument(0) not in ("0", "")
        for step in script.calls_of("t_on_failure")
    )


RULES: Final = (kemi,)

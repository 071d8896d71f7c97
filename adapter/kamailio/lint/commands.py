"""The rules about commands: what ADAPTER_COMMANDS takes, and what it must not allow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import ROUTE
from adapter.kamailio.lint.findings import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.findings import Finding
    from adapter.kamailio.lint.script import Script

DIALOG: Final = "ADAPTER_DIALOG"
"""The route by which evapi-adapter-commands.cfg is known."""
BLOCKING: Final = ("tm.t_uac_wait_block", "tm.t_uac_wait")
"""RPC methods that wait, in EVAPI's only process."""
DANGEROUS: Final = ("cfg.set_now_int", "core.kill", "system.anything")
"""RPC methods that no list allows which was written one by one: it allows everything."""
NARROW: Final = '# above the include:\n#!define ADAPTER_RPC "^(core\\.version|tm\\.stats)$"'


def _taken(script: Script) -> bool:
    """Whether Kamailio takes commands."""
    return script.route(ROUTE, DIALOG) is not None


def rpc_allowed(script: Script) -> Iterator[Finding]:
    """A list of RPC methods that allows what blocks, or everything."""
    given = script.configuration.defines.get("ADAPTER_RPC")
    if given is None or not _taken(script) or script.ours(given.file):
        return
    try:
        allowed = re.compile(given.text.strip().strip('"'))
    except re.error:
        return  # whether Kamailio takes it, it says itself
    found = [method for method in (*BLOCKING, *DANGEROUS) if allowed.search(method)]
    if found:
        why = "EVAPI's only process carries it out: while it waits no answer is read, and calls get none."
        if found[0] in DANGEROUS:
            why = "Whoever may publish commands may then change and stop this Kamailio."
        yield finding("rpc-allowed", given, f"ADAPTER_RPC allows {found[0]}.", why, NARROW)


def bye_twice(script: Script) -> Iterator[Finding]:
    """dialog's own BYEs beside the include's."""
    setting = script.configuration.setting("dialog", "send_bye")
    if "ADAPTER_BYES" in script.configuration.defines and setting is not None and setting.number:
        what = "dialog sends BYE to a call whose time is over, and so does evapi-adapter-commands.cfg."
        why = "Each side gets it twice, and answers 481 to the second."
        yield finding("bye-twice", setting, what, why, 'modparam("dialog", "send_bye", 0)')


def not_found(script: Script) -> Iterator[Finding]:
    """Calls that go on without a dialog, where commands are to find them."""
    if not _taken(script) or not script.native:
        return
    own = [step for step in script.calls if not script.ours(step.file)]
    if any(
        step.name == "dlg_manage" or (step.name == "route" and step.argument(0) == DIALOG) for step in own
    ):
        return
    relays = {step for _, flow in script.resumes for step in flow.visits}
    for step in own:
        if step.name == "t_relay" and step in relays:
            what = "A call goes on here that commands do not find."
            why = "They find calls by Kamailio's dialogs: none is made for this one."
            yield finding("not-found", step, what, why, "route(ADAPTER_DIALOG);")
            return


RULES: Final = (rpc_allowed, bye_twice, not_found)

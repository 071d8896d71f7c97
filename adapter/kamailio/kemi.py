"""The routes of kemi.cfg in Python. Start from here, or take over what is marked (*).

``KSR`` is Kamailio itself. A native route that ends with exit ends itself alone: Python must return, too.
"""

from __future__ import annotations

import json
from typing import Any

import KSR  # type: ignore[import-not-found]  # Kamailio has it


def mod_init() -> Proxy:
    """Called once, before Kamailio forks."""
    return Proxy()


class Proxy:
    """One for each process of Kamailio."""

    def child_init(self, rank: int) -> int:
        """A process begins."""
        return 0

    # app_python3 of Kamailio 5.6 wants both: without them t_relay raises.
    def ksr_reply_route(self, msg: object) -> int:
        """A reply comes; tm knows whose it is."""
        return 1

    def ksr_onsend_route(self, msg: object) -> int:
        """A message goes out."""
        return 1

    def ksr_request_route(self, msg: object) -> int:
        """A request comes."""
        if KSR.maxfwd.process_maxfwd(10) < 0:
            return self.reply(483, "Too Many Hops")
        method = KSR.pv.get("$rm")
        if method == "CANCEL":
            if KSR.tm.t_check_trans() > 0:
                KSR.cfgutils.route_if_exists("ADAPTER_CANCEL")  # (*)
                KSR.tm.t_relay()
            return 1
        if KSR.pv.get("$tt"):
            return self.in_dialog(method)
        if method == "ACK":
            KSR.tm.t_check_trans()
            return 1
        if method == "OPTIONS":
            return self.reply(200, "OK")
        if method != "INVITE":
            return self.reply(405, "Method Not Allowed")
        return self.ask("invite_request", self.described())

    def in_dialog(self, method: str) -> int:
        """A request within a dialog."""
        if KSR.rr.loose_route() > 0:
            if KSR.tm.t_relay() < 0:
                KSR.sl.sl_reply_error()
        elif method == "ACK":
            if KSR.tm.t_check_trans() > 0:
                KSR.tm.t_relay()
        else:
            self.reply(404, "Not Here")
        return 1

    def reply(self, code: int, reason: str) -> int:
        """Answer without a transaction."""
        KSR.sl.sl_send_reply(code, reason)
        return 1

    def described(self) -> dict[str, Any]:
        """(*) What the consumers get to know. A value that is not UTF-8 is left out."""
        names = {
            "call_id": "$ci",
            "ruri": "$ru",
            "user": "$rU",
            "from": "$fu",
            "to": "$tu",
            "source_ip": "$si",
        }
        names["user_agent"] = "$ua"
        found = {}
        for key, name in names.items():
            try:
                found[key] = KSR.pv.get(name)
            except UnicodeDecodeError:
                continue
        return {key: value for key, value in found.items() if value is not None}

    def ask(self, event: str, data: dict[str, Any]) -> int:
        """(*) Ask, and leave: adapter_resume goes on."""
        KSR.pv.sets("$var(event)", event)
        KSR.pv.sets("$var(data)", json.dumps(data))
        KSR.tm.t_on_failure("adapter_silent")
        KSR.cfgutils.route_if_exists("ADAPTER_ASK")
        return 1

    def adapter_resume(self, msg: object) -> int:
        """(*) The answer. It runs in EVAPI's only process: nothing here may block."""
        KSR.tm.t_on_branch("adapter_branch")
        KSR.tm.t_on_failure("adapter_reroute")
        KSR.cfgutils.route_if_exists("ADAPTER_ROUTE")
        if KSR.pv.get("$var(adapter_allowed)") == 1:
            KSR.pv.sets("$du", KSR.pv.get("$var(gateway)"))
            KSR.cfgutils.route_if_exists("ADAPTER_RELAY")
        return 1

    def adapter_no_decision(self, msg: object) -> int:
        """(*) No adapter, or no answer in time."""
        KSR.tm.t_reply(503, "No Decision")
        return 1

    # (*) What tm calls: of the include's own, which Kamailio does not run under KEMI.
    def adapter_silent(self, msg: object) -> int:
        """Nobody answered the question in time."""
        KSR.cfgutils.route_if_exists("ADAPTER_ON_SILENCE")
        return 1

    def adapter_branch(self, msg: object) -> int:
        """A request to one gateway is made."""
        KSR.cfgutils.route_if_exists("ADAPTER_ON_BRANCH")
        return 1

    def adapter_reroute(self, msg: object) -> int:
        """A gateway has failed: the next one, if there is one and it should be tried."""
        KSR.tm.t_on_branch("adapter_branch")
        KSR.tm.t_on_failure("adapter_reroute")
        KSR.cfgutils.route_if_exists("ADAPTER_ON_FAILURE")
        if KSR.pv.get("$var(adapter_further)") == 1:
            KSR.tm.t_drop_replies_all()
            KSR.cfgutils.route_if_exists("ADAPTER_FURTHER")
        return 1

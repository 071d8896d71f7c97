"""Functions of Kamailio's by what they do to a request, and names of facts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapter.kamailio.statements import Step

ASYNC: Final = frozenset({"evapi_async_relay", "evapi_async_multicast", "evapi_async_unicast"})
SENDS: Final = frozenset({"evapi_relay", "evapi_multicast", "evapi_unicast"})
CONTINUES: Final = frozenset({"t_continue", "t_continue_skip_timer"})
RELAYS: Final = frozenset({"t_relay", "t_relay_to", "t_relay_to_udp", "t_relay_to_tcp", "t_forward_nonack"})
STATELESS: Final = frozenset(
    {
        "sl_send_reply",
        "sl_reply_error",
        "forward",
        "forward_udp",
        "forward_tcp",
        "forward_tls",
        "forward_sctp",
    }
)
"""Functions that know nothing of the transaction."""
REPLIES: Final = (
    RELAYS
    | STATELESS
    | {"t_reply", "send_reply", "t_reply_error", "t_send_reply", "t_load_contacts", "t_release"}
)
CHECKS: Final = ("t_precheck_trans", "t_check_trans", "t_newtran", "t_lookup_request")
"""Functions that find a retransmission."""
MESSAGE: Final = "evapi:message-received"
CONNECTED: Final = "evapi:connection-new"
CLOSED_LINK: Final = "evapi:connection-closed"

TRANSACTION: Final = "transaction"
"""The fact that there is a transaction, so that its ids can be read."""
CLOSED: Final = "gate closed"
"""The fact that the health gate was looked at and found closed."""
CALL_ID: Final = "names call_id"
"""The fact that the data have a call_id."""

_ANSWERS: Final = re.compile(r"reply|relay|forward|redirect|drop")


def answers(step: Step) -> bool:
    """Whether the caller may hear something by this, or the call goes on."""
    if step.name == "route":
        return step.argument(0).startswith("$")  # it may lead anywhere
    return step.kind == "call" and step.name not in SENDS | ASYNC and bool(_ANSWERS.search(step.name))

#!/bin/bash
# Kamailio 6.1.5 (sid; 5.6.3 and 6.0.1 alike), module dialog: for a call that ends after so many seconds
# $dlg_ctx(timeout_bye) counts only if it is set before dlg_manage(), and $dlg_ctx(timeout) not even then: the time
# must be given by dlg_set_timeout() behind it. A call that has it wrong is forgotten after the time, or not at all, and
# goes on. So ADAPTER_ROUTE does it in this order, and cannot limit a call for which dlg_manage() was called before.
# Seen in output:
#   $dlg_ctx(timeout) = 1; $dlg_ctx(timeout_bye) = 1; dlg_manage(): no BYE
#   $dlg_ctx(timeout_bye) = 1; dlg_manage(); dlg_set_timeout("1"): BYE
#   dlg_manage(); $dlg_ctx(timeout_bye) = 1; dlg_set_timeout("1"): no BYE
# Needs root's rights, mmdebstrap and python3; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid kamailio

# ended STATEMENTS: whether the callee gets a BYE within 4 s of its answer.
ended() {
  local port callee; port=$(free_port) callee=$(free_port)
  cat > "$FOLDER/k.cfg" <<CFG
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:$port
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "dialog.so"
request_route {
    if (\$tt != \$null) { if (loose_route()) t_relay(); exit; }
    record_route();
    $1;
    \$du = "sip:127.0.0.1:$callee";
    t_relay();
}
CFG
  inside kamailio -f "$FOLDER/k.cfg" -DD -E -m 32 -Y "$FOLDER" -P "$FOLDER/pid.$port" > "$FOLDER/log" 2>&1 &
  SERVER=$!
  python3 - "$port" "$callee" <<'PYTHON'
import re, socket, sys, time
server, port = int(sys.argv[1]), int(sys.argv[2])
caller, callee = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
caller.bind(("127.0.0.1", 0)), callee.bind(("127.0.0.1", port))
caller.settimeout(0.1), callee.settimeout(0.1)
me = caller.getsockname()[1]

def send(method, branch, tag="", routes=""):
    text = f"""{method} sip:b@127.0.0.1:{port} SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bK{branch}
Max-Forwards: 9
{routes}From: <sip:a@b.c>;tag=a
To: <sip:b@b.c>{tag}
Call-ID: call
CSeq: 1 {method}
Contact: <sip:a@127.0.0.1:{me}>
Content-Length: 0

"""
    caller.sendto(text.replace("\n", "\r\n").encode(), ("127.0.0.1", server))

def received(end):
    try:
        data, address = end.recvfrom(9999)
    except OSError:
        return "", None
    return data.decode(), address

answered, sent, until = False, 0.0, time.monotonic() + 60
while time.monotonic() < until:
    if not answered and time.monotonic() - sent > 0.5:
        send("INVITE", "invite")
        sent = time.monotonic()
    text, address = received(callee)
    if text.startswith("BYE"):
        sys.exit(print("BYE"))
    if text.startswith("INVITE"):
        kept = [line for line in text.split("\r\n") if re.match("Via|Record-Route|From|Call-ID|CSeq", line)]
        more = ["To: <sip:b@b.c>;tag=b", f"Contact: <sip:b@127.0.0.1:{port}>", "Content-Length: 0", "", ""]
        callee.sendto("\r\n".join(["SIP/2.0 200 OK", *kept, *more]).encode(), address)
    text, _ = received(caller)
    if text.startswith("SIP/2.0 200") and not answered:
        answered, until = True, time.monotonic() + 4
        send("ACK", "ack", ";tag=b", "".join(f"Route: {one}\n" for one in re.findall("Record-Route: (.*)\r", text)))
print("no BYE" if answered else "no call")
PYTHON
  stop
}

before='$dlg_ctx(timeout) = 1; $dlg_ctx(timeout_bye) = 1; dlg_manage()'
right='$dlg_ctx(timeout_bye) = 1; dlg_manage(); dlg_set_timeout("1")'
late='dlg_manage(); $dlg_ctx(timeout_bye) = 1; dlg_set_timeout("1")'
found="$(ended "$before"), $(ended "$right"), $(ended "$late")"
IFS=, read -r one two three <<< "$found"
printf '%s\n' "$before: $one" "$right:$two" "$late:$three"
[ "$found" = "no BYE, BYE, no BYE" ]

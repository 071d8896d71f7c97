#!/bin/bash
# Kamailio 6.1.5 (sid; 5.6.3 alike), modules tm and async: a caller who sends CANCEL while the script works on his
# INVITE, before t_relay(), gets 487 from tm, and the script's own "if (!t_relay()) t_reply(...)" is too late. If the
# transaction was suspended and resumed before, tm waits with its 487 for the end of the script: there t_relay() fails,
# since it sends no call on that is cancelled, and the script's reply is what the caller gets, such as 500 for 487
# (RFC 3261, 9.2). A script that resumes asks t_is_canceled() first, as evapi-adapter.cfg does.
# Seen in output:
#   not suspended: 487 Request canceled
#   resumed: 500 Relay Failed
#   resumed, t_relay() alone: 487 Transaction canceled (487/TM)
#   resumed, t_is_canceled() asked: 487 Request Terminated
# Needs root's rights, mmdebstrap and python3; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid kamailio

# final ON RELAY: the INVITE's final reply to a caller who hangs up while route[ON], which ON calls, has not relayed yet.
final() {
  local port; port=$(free_port)
  cat > "$FOLDER/k.cfg" <<CFG
children=2
async_workers=1
disable_tcp=yes
auto_aliases=no
max_while_loops=20000
listen=udp:127.0.0.1:$port
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "cfgutils.so"
loadmodule "async.so"
request_route {
    if (\$rm == "OPTIONS") { sl_send_reply("200", "OK"); exit; }
    if (\$rm == "CANCEL") { if (t_check_trans()) t_relay(); exit; }
    if (\$rm == "ACK") { t_check_trans(); exit; }
    $1
}
route[ON] {
    sl_send_reply("183", "Begun");
    while (!t_is_canceled()) usleep("1000");
    \$du = "sip:127.0.0.1:9";
    $2
}
CFG
  inside kamailio -f "$FOLDER/k.cfg" -DD -E -m 32 -Y "$FOLDER" -P "$FOLDER/pid.$port" > "$FOLDER/log" 2>&1 &
  SERVER=$!
  python3 - "$port" <<'PYTHON'
import socket, sys, time
port = int(sys.argv[1])
caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
caller.bind(("127.0.0.1", 0))
caller.settimeout(0.2)
me = caller.getsockname()[1]

def send(method, branch):
    text = f"""{method} sip:b@127.0.0.1:{port} SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bK{branch}
Max-Forwards: 9
From: <sip:a@b.c>;tag=a
To: <sip:b@b.c>
Call-ID: {branch}
CSeq: 1 {method}
Content-Length: 0

"""
    caller.sendto(text.replace("\n", "\r\n").encode(), ("127.0.0.1", port))

def replies():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            lines = caller.recv(9999).decode().split("\r\n")
        except OSError:
            yield "", ""
            continue
        yield lines[0][8:], next(line[6:] for line in lines if line.startswith("CSeq:"))

for status, method in replies():
    if status:
        break
    send("OPTIONS", f"ready{time.monotonic_ns()}")
send("INVITE", "call")
for status, method in replies():
    if status.startswith("183"):
        send("CANCEL", "call")
    elif method.endswith("INVITE") and status[0] != "1":
        sys.exit(print(status))
print("none")
PYTHON
  stop
}

resume='async_task_route("ON");'
idiom='if (!t_relay()) t_reply("500", "Relay Failed");'
asked='if (t_is_canceled()) t_reply("487", "Request Terminated"); else t_relay();'
found="not suspended: $(final 't_newtran(); route(ON);' "$idiom")
resumed: $(final "$resume" "$idiom")
resumed, t_relay() alone: $(final "$resume" 't_relay();')
resumed, t_is_canceled() asked: $(final "$resume" "$asked")"
echo "$found"
[ "$found" = "not suspended: 487 Request canceled
resumed: 500 Relay Failed
resumed, t_relay() alone: 487 Transaction canceled (487/TM)
resumed, t_is_canceled() asked: 487 Request Terminated" ]

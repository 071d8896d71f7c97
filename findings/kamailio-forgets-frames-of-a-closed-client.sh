#!/bin/bash
# Kamailio 6.1.5 (sid; 6.0.1 of trixie alike), EVAPI's default of one worker: what a client has written and a worker
# has not handled yet is forgotten when the client closes. The worker looks each 0.5 s (wait_idle), runs
# event_route[evapi:message-received], and $evapi(msg) is null there. With workers=0, and on 5.6, it is handled as it is read.
# Seen in output:
#   default worker, closed at once: <null>
#   default worker, closed after 1 s: hello
#   no workers, closed at once: hello
# Needs root's rights, mmdebstrap and python3; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid kamailio kamailio-extra-modules

# handled PARAMETER SECONDS: what the route finds of a client that closes so long after it has written.
handled() {
  local port; port=$(free_port)
  cat > "$FOLDER/k.cfg" <<CFG
children=1
disable_tcp=yes
listen=udp:127.0.0.1:$(free_port)
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "evapi.so"
modparam("evapi", "bind_addr", "127.0.0.1:$port")
$1
request_route { exit; }
event_route[evapi:message-received] { xlog("L_ALERT", "handled \$evapi(msg)\n"); }
CFG
  inside kamailio -f "$FOLDER/k.cfg" -DD -E -m 32 -Y "$FOLDER" -P "$FOLDER/pid.$port" > "$FOLDER/log" 2>&1 &
  SERVER=$!
  wait_for "$port"
  python3 - "$port" "$2" <<'PYTHON'
import socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(b"5:hello,")
time.sleep(float(sys.argv[2]))
client.close()
PYTHON
  for _ in $(seq 100); do grep -q handled "$FOLDER/log" && break; sleep 0.1; done
  stop
  sed -n 's/.*handled //p' "$FOLDER/log" | head -1
}

at_once=$(handled "" 0); later=$(handled "" 1); without=$(handled 'modparam("evapi", "workers", 0)' 0)
echo "default worker, closed at once: $at_once"
echo "default worker, closed after 1 s: $later"
echo "no workers, closed at once: $without"
[ "$at_once $later $without" = "<null> hello hello" ]

#!/bin/bash
# Kamailio 5.6.3 (Debian 12; no longer 6.0.1 and 6.1.5), RPC tm.t_uac_start: a request within a dialog, whose headers are given
# whole, goes out with two tags in From: the one that was given, and one that tm makes. (Of To, Call-ID and CSeq what was
# given stands as it is.) RFC 3261 allows one tag. Whoever takes the first finds the dialog; whoever takes the last does not.
# Seen in output:
#   From: <sip:a@b.c>;tag=mine;tag=(another)
#   To: <sip:d@b.c>;tag=theirs
# Needs root's rights, mmdebstrap and python3; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root bookworm kamailio
PORT=$(free_port)
cat > "$FOLDER/k.cfg" <<CFG
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:$PORT
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "jsonrpcs.so"
modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "$FOLDER/rpc")
request_route { exit; }
CFG
inside kamailio -f "$FOLDER/k.cfg" -DD -E -m 32 -Y "$FOLDER" -P "$FOLDER/pid" > "$FOLDER/log" 2>&1 &
SERVER=$!
for _ in $(seq 300); do [ -S "$FOLDER/rpc" ] && break; sleep 0.1; done
python3 - "$FOLDER/rpc" <<'PYTHON'
import json, re, socket, sys
phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
phone.bind(("127.0.0.1", 0))
rpc = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
rpc.bind(sys.argv[1] + ".answers")
phone.settimeout(20), rpc.settimeout(20)
headers = "From: <sip:a@b.c>;tag=mine\r\nTo: <sip:d@b.c>;tag=theirs\r\nCall-ID: call\r\nCSeq: 7 BYE\r\n"
params = ["BYE", f"sip:d@127.0.0.1:{phone.getsockname()[1]}", ".", ".", headers]
asked = {"jsonrpc": "2.0", "method": "tm.t_uac_start", "params": params, "id": 1}
rpc.sendto(json.dumps(asked).encode(), sys.argv[1])
assert "result" in json.loads(rpc.recv(9999))
request = phone.recv(9999).decode()
(sender,), (to,) = (re.findall(f"^({name}: .*)\r$", request, re.M) for name in ("From", "To"))
print(re.sub("(?<=mine;tag=).+", "(another)", sender))
print(to)
assert re.fullmatch(r"From: <sip:a@b.c>;tag=mine;tag=[^;]+", sender), sender
assert to == "To: <sip:d@b.c>;tag=theirs", to
PYTHON

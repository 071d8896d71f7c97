#!/bin/bash
# Kamailio 6.1.5 (sid; 5.6.3 and 6.0.1 alike), module jansson: jansson_get() of a member that is null succeeds and gives 0,
# as it does for false and for the number 0: a route that tests what it returns takes "code": null for a code. Only a
# member that is not there fails, and leaves the variable as it was. To tell them apart the text has to be looked at.
# Seen in output:
#   null: 0
#   false: 0
#   zero: 0
#   true: 1
#   none: not found, still before
# Needs root's rights and mmdebstrap; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid kamailio kamailio-extra-modules
cat > "$FOLDER/k.cfg" <<CFG
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:$(free_port)
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "jansson.so"
loadmodule "rtimer.so"
modparam("rtimer", "timer", "name=once;interval=1;mode=1;")
modparam("rtimer", "exec", "timer=once;route=LOOK")
request_route { exit; }
route[LOOK] {
    \$var(map) = "{\"null\":null,\"false\":false,\"zero\":0,\"true\":true}";
$(for name in null false zero true none; do
    echo "    \$var(x) = \"before\";"
    echo "    if (jansson_get(\"$name\", \"\$var(map)\", \"\$var(x)\")) xlog(\"L_ALERT\", \"seen $name: \$var(x)\\n\");"
    echo "    else xlog(\"L_ALERT\", \"seen $name: not found, still \$var(x)\\n\");"
  done)
}
CFG
inside kamailio -f "$FOLDER/k.cfg" -DD -E -m 32 -Y "$FOLDER" -P "$FOLDER/pid" > "$FOLDER/log" 2>&1 &
SERVER=$!
for _ in $(seq 300); do grep -q "seen none" "$FOLDER/log" && break; sleep 0.1; done
found=$(grep -o "seen .*" "$FOLDER/log" | head -5 | cut -d ' ' -f 2-)
echo "$found"
[ "$found" = "null: 0
false: 0
zero: 0
true: 1
none: not found, still before" ]

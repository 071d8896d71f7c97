#!/bin/bash
# libfaketime 0.9.10 (Debian 12) with FAKETIME_DONT_FAKE_MONOTONIC=1, which leaves the monotonic clock as it is, makes
# CPython's threads spin: its waits of 5 ms for the interpreter's lock, by that clock, do not last. Handing a value to
# a thread that waits for it took 629 to 7,164 us instead of 39 to 397. FAKETIME_FORCE_MONOTONIC_FIX=0 mends it
# (40 to 218 us), although that variable reads as if it were about something else. A program that logs in a thread
# looked as if it could not keep up, 100 times slower, and only in the tests with a wrong clock.
# Seen in output (Python 3.11.2; two cores, busy):
#   plain 39 us, faked 966 us, faked and FAKETIME_FORCE_MONOTONIC_FIX=0 40 us
# Needs Debian's faketime and python3. Exits 0 if it is as said, else non-zero.
set -euo pipefail
[ -e /usr/share/doc/libfaketime ] || apt-get install -y -qq --no-install-recommends libfaketime >/dev/null
library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1)
program=$(mktemp)
trap 'rm -f "$program"' EXIT
cat >"$program" <<'PYTHON'
import queue, threading, time
values = queue.SimpleQueue()
def take():
    while values.get() is not None:
        pass
threading.Thread(target=take, daemon=True).start()
began = time.perf_counter()
for number in range(3000):
    values.put(number)
    sum(range(3000))
print(round((time.perf_counter() - began) / 3000 * 1e6))
PYTHON
faked=(env LD_PRELOAD="$library" FAKETIME=+0 FAKETIME_DONT_FAKE_MONOTONIC=1)
plain=$(/usr/bin/python3 "$program")
spins=$("${faked[@]}" /usr/bin/python3 "$program")
mended=$("${faked[@]}" FAKETIME_FORCE_MONOTONIC_FIX=0 /usr/bin/python3 "$program")
echo "plain $plain us, faked $spins us, faked and FAKETIME_FORCE_MONOTONIC_FIX=0 $mended us"
[ "$spins" -gt $((3 * plain)) ] && [ "$spins" -gt $((3 * mended)) ]

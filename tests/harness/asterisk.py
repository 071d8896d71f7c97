"""A real Asterisk that takes calls on one port: of a root of Debian sid, since Debian 12 has none."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from tests.harness.kamailio import answers_options
from tests.harness.process import Process, free_port
from tests.matrix.roots import root
from tests.matrix.within import command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES = ("asterisk",)
SUITE = "sid"
LIFE = 600
"""Seconds after which it ends a call that nobody has ended."""
FILES: Mapping[str, str] = {
    "asterisk.conf": """\
[directories]
astetcdir => {folder}
astmoddir => /usr/lib/{architecture}/asterisk/modules
astvarlibdir => /var/lib/asterisk
astdbdir => {folder}
astkeydir => {folder}
astdatadir => /usr/share/asterisk
astagidir => /usr/share/asterisk/agi-bin
astspooldir => {folder}
astrundir => {folder}
astlogdir => {folder}
""",
    # All: chan_pjsip needs some dozen others. What has no file here does nothing.
    "modules.conf": "[modules]\nautoload=yes\n",
    "logger.conf": "[logfiles]\nconsole => notice,warning,error,verbose\n",
    "rtp.conf": "[general]\nrtpstart={rtp}\nrtpend={rtp_last}\n",
    "extensions.conf": """\
[calls]
exten => _X.,1,Answer()
 same => n,Echo()
 same => n,Hangup()
exten => 1,1,Answer()
 same => n,Wait(1)
 same => n,Hangup()
""",
    # Without an identify that names the caller's address Asterisk answers 401.
    "pjsip.conf": """\
[global]
type=global
debug=yes
[udp]
type=transport
protocol=udp
bind=127.0.0.1:{sip}
[proxy]
type=endpoint
context=calls
disallow=all
allow=ulaw,alaw
direct_media=no
[proxy]
type=identify
endpoint=proxy
match=127.0.0.1
""",
}
_RECEIVED = re.compile(
    r"^<--- Received SIP request \(\d+ bytes\)[^\n]*--->\n(.*?)(?=^<--- |\Z)", re.MULTILINE | re.DOTALL
)


class Asterisk:
    """Answers every number of two digits or more and keeps the call; number 1 it ends after a second."""

    def __init__(self, folder: Path) -> None:
        place = root(SUITE, PACKAGES)
        folder = folder / "asterisk"
        folder.mkdir()
        self.port = free_port(socket.SOCK_DGRAM)
        rtp = [free_port(socket.SOCK_DGRAM) for _ in range(20)]
        (modules,) = place.glob("usr/lib/*/asterisk/modules")
        words = {
            "folder": str(folder),
            "architecture": modules.parts[-3],
            "sip": str(self.port),
            "rtp": str(min(rtp)),
            "rtp_last": str(max(rtp)),
        }
        for name, text in FILES.items():
            (folder / name).write_text(text.format(**words))
        program = ["/usr/sbin/asterisk", "-f", "-n", "-vvv", "-C", str(folder / "asterisk.conf")]
        # With this machine's network: the proxy and the phone are there.
        self._process = Process("asterisk", command(place, program, inside=True, network=True), folder)

    def requests(self, method: str) -> list[str]:
        """The requests of a method that came, as text, in order."""
        text = self._process.log.read_text(errors="replace")
        return [found for found in _RECEIVED.findall(text) if found.startswith(method + " ")]

    def start(self) -> Asterisk:
        """Start it; returns once it answers."""
        self._process.start()
        self._process.wait_until(lambda: answers_options(self.port), "Asterisk to answer")
        return self

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def __enter__(self) -> Asterisk:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


if __name__ == "__main__":
    root(SUITE, PACKAGES)  # once, before tests whose time is bounded

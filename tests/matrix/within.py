"""Run a command among the programs of another Debian's root: ``python -m tests.matrix.within ROOT ...``.

The command runs in namespaces of its own, which end with it: mounts, processes, and a network that has
nothing but a loopback, so that no two of them can have a port in common. With ``--inside`` the whole
command is of the root. Else it is one of this machine, and only the servers it starts are the root's: a
folder of wrappers is first in PATH, and the harness starts RabbitMQ by ``RABBITMQ_ROOT``. This system's
/tmp, /proc and /dev and the project's folder have the same names in there. Root's rights are needed, for
chroot.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.matrix.roots import as_root

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT: Final = Path(__file__).parents[2]
WRAPPED: Final = (
    *("kamailio", "kamctl", "kamcmd", "sipp", "promtool", "prometheus", "openssl"),
    *("redis-server", "redis-cli", "erl_call"),
)
VALKEY: Final = {"redis-server": "valkey-server", "redis-cli": "valkey-cli"}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WRAPPER: Final = """\
#!/bin/sh
exec /usr/sbin/chroot {root} /usr/bin/env -C "$PWD" PATH={path} {program} "$@"
"""
UNSHARED: Final = "--unshared"
"""Said by ``command``: the namespaces are there, and what is mounted is nobody else's."""
UNSHARE: Final = ("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
REACHING_OUT: Final = tuple(
    map(Path, ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs", "/etc/pip.conf", "/etc/xdg/pip"))
)
"""What this machine has set for programs that use its network, and for pip."""
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1


def command(
    root: Path,
    words: Sequence[str],
    *,
    inside: bool = False,
    valkey: bool = False,
    network: bool = False,
    binds: Sequence[Path] = (),
) -> list[str]:
    """Return the command line that runs ``words`` among the programs of ``root``.

    Args:
        root: a root's folder.
        words: the command and its arguments.
        inside: run it in the root. Else it is a command of this machine that starts the root's servers.
        valkey: whoever starts ``redis-server`` gets Valkey's.
        network: it uses this machine's network, as pip does. Else it has none.
        binds: more folders of this machine that are to be seen in the root, by the same names.
    """
    made = [
        *as_root(),
        *UNSHARE,
        *([] if network else ["--net"]),
        sys.executable,
        "-m",
        "tests.matrix.within",
        UNSHARED,
        str(root),
    ]
    flags = {"--inside": inside, "--valkey": valkey, "--network": network}
    made += [flag for flag, given in flags.items() if given]
    for folder in binds:
        made += ["--bind", str(folder)]
    return [*made, "--", *words]


def raise_loopback() -> None:
    """Have 127.0.0.1 in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def _mount(root: Path, binds: Sequence[Path]) -> None:
    for folder in (Path("/tmp"), Path("/proc"), Path("/dev"), PROJECT, *binds):
        there = root / folder.relative_to("/")
        if folder.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.touch()
        subprocess.run(["mount", "--rbind", str(folder), str(there)], check=True)


def _without_dns(root: Path) -> None:
    """Have names looked up in /etc/hosts alone: else each waits for servers that cannot be reached."""
    with tempfile.NamedTemporaryFile("w", prefix="matrix-", delete=False) as file:
        file.write("hosts: files\npasswd: files\ngroup: files\n")
    Path(file.name).chmod(0o644)
    for there in (Path("/"), root):
        subprocess.run(["mount", "--bind", file.name, str(there / "etc/nsswitch.conf")], check=True)


def _wrap(root: Path, valkey: bool) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="matrix-"))
    for name in WRAPPED:
        program = VALKEY.get(name, name) if valkey else name
        if not any((root / place.lstrip("/") / program).exists() for place in PATH.split(":")):
            continue  # it has none: this machine's
        wrapper = folder / name
        wrapper.write_text(WRAPPER.format(root=root, path=PATH, program=program))
        wrapper.chmod(0o755)
    return folder


def main() -> None:
    """Set the namespaces up, then become the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.within", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--inside", action="store_true", help="the command itself is of the root")
    parser.add_argument("--valkey", action="store_true", help="Valkey in place of Redis")
    parser.add_argument("--network", action="store_true", help="with this machine's network")
    parser.add_argument("--bind", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument(UNSHARED, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    if not given.unshared:  # else it would all be mounted on this machine itself
        how = {"inside": given.inside, "valkey": given.valkey, "network": given.network}
        made = command(given.root, given.command, binds=given.bind, **how)
        os.execvp(made[0], made)
    if given.network:
        _mount(given.root, [*given.bind, *filter(Path.exists, REACHING_OUT)])
    else:
        raise_loopback()
        _mount(given.root, [*given.bind, Path("/etc/hosts")])
        _without_dns(given.root)
    words: list[str] = given.command
    if given.inside:
        words = [
            "/usr/sbin/chroot",
            str(given.root),
            "/usr/bin/env",
            "-C",
            str(PROJECT),
            f"PATH={PATH}",
            *words,
        ]
    else:
        os.environ["RABBITMQ_ROOT"] = str(given.root)
        os.environ["PATH"] = f"{_wrap(given.root, given.valkey)}:{os.environ['PATH']}"
    os.execvp(words[0], words)


if __name__ == "__main__":
    main()

"""Private Redis servers, alone, behind Sentinel or as a Cluster: own ports and folder, no data on disk."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Self

import redis

from tests.harness.process import HarnessError, Process, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.harness.certificates import Authority

MASTER = "main"
FAILOVER_TIMEOUT = 1000
"""Milliseconds; after twice as many a failover is tried again."""
SLOTS = 16_384
NAMES = ("localhost", "127.0.0.1")
"""What a certificate is for: Sentinel and Cluster tell clients addresses, not host names."""


class RedisServer:
    """One server. Keeps nothing over a stop: what ``start`` begins is empty.

    With an authority it takes TLS as well, at ``tls_url``, its certificate being for ``names``.
    ``env`` goes beside the environment of this process.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        name: str = "redis",
        authority: Authority | None = None,
        names: Sequence[str] = NAMES,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = ["redis-server", "--port", str(self.port), *_anyhow(folder)]
        nothing_kept = ["--save", "", "--appendonly", "no"]
        nothing_kept += ["--repl-diskless-load", "swapdb", "--repl-ping-replica-period", "1"]
        if authority is not None:
            self.tls_port = free_port()
            self.tls_url = f"rediss://localhost:{self.tls_port}/0?ssl_ca_certs={authority.certificate}"
            command += ["--tls-port", str(self.tls_port), *_tls(authority, names)]
        self._process = Process(name, [*command, *nothing_kept, *options], folder, env)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process.start()
        self._process.wait_until(lambda: _answers(self.port), "Redis to answer")

    def stop(self) -> None:
        """End it orderly, also when it is paused."""
        if self._process.running:
            self._process.resume()
        self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self._process.log

    def restart(self) -> None:
        """Crash and start again, empty, on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after ``pause``; what it was sent meanwhile it carries out now."""
        self._process.resume()

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process.running

    @property
    def ports(self) -> set[int]:
        """Where it listens: a Cluster or Sentinel that uses TLS knows it by the TLS port alone."""
        return {self.port, getattr(self, "tls_port", self.port)}

    def ask(self, *command: str | int | bytes) -> Any:
        """Run a command on it, over plain TCP."""
        return _ask(self.port, *command)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RedisSentinel:
    """A master named ``main``, its replica, and three sentinels that agree on a failover within about 2 s.

    With an authority, all of them talk TLS to each other and to clients.
    """

    def __init__(
        self,
        folder: Path,
        authority: Authority | None = None,
        names: Sequence[str] = NAMES,
        sentinel_names: Sequence[str] = NAMES,
    ) -> None:
        replication = [
            "--repl-diskless-sync-delay",
            "0",
            *(["--tls-replication", "yes"] if authority else []),
        ]
        self.servers = [
            RedisServer(folder, replication, f"redis{number}", authority, names) for number in range(2)
        ]
        self._tls = authority is not None
        self._ports = [free_port() for _ in range(3)]
        self._plain = [free_port() for _ in range(3)] if authority else self._ports
        self.sentinels = []
        for number, (port, plain) in enumerate(zip(self._ports, self._plain, strict=True)):
            command = ["redis-server", str(self._configuration(folder, number)), "--sentinel"]
            command += ["--port", str(plain), *_anyhow(folder)]
            if authority is not None:
                command += ["--tls-port", str(port), *_tls(authority, sentinel_names)]
                command += ["--tls-replication", "yes"]
            self.sentinels.append(Process(f"sentinel{number}", command, folder))
        hosts = ",".join(f"{'localhost' if authority else '127.0.0.1'}:{port}" for port in self._ports)
        self.url = f"redis+sentinel://{hosts}/{MASTER}/0"
        if authority is not None:
            self.url = f"rediss+sentinel://{hosts}/{MASTER}/0?ssl_ca_certs={authority.certificate}"

    def _configuration(self, folder: Path, number: int) -> Path:
        """Sentinel writes into its file what it learns."""
        port = self._port(self.servers[0])
        lines = [
            f"sentinel monitor {MASTER} 127.0.0.1 {port} 2",
            f"sentinel down-after-milliseconds {MASTER} 700",
            f"sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT}",
        ]
        found = folder / f"sentinel{number}.conf"
        found.write_text("\n".join(lines) + "\n")
        return found

    def start(self) -> None:
        """Start all and wait until the sentinels know each other and the replica."""
        for server in self.servers:
            server.start()
        self.servers[1].ask("REPLICAOF", "127.0.0.1", self._port(self.servers[0]))
        wait_until(lambda: _in_step(self.servers[1]), "the replica")
        for sentinel, port in zip(self.sentinels, self._plain, strict=True):
            sentinel.start()
            sentinel.wait_until(lambda: _answers(port), "Sentinel to answer")
            # As they come, these are for networks: some seconds each.
            _ask(port, "SENTINEL", "DEBUG", "publish-period", 100, "info-period", 1000, "ping-period", 300)
        self._wait_until_known()

    def _wait_until_known(self) -> None:
        wait_until(lambda: sum(_in_step(server) for server in self.servers) == 1, "the replica")
        for port in self._plain:
            wait_until(lambda: self._knows_all(port), "the sentinels to know all")

    def _knows_all(self, port: int) -> bool:
        state = _pairs(_ask(port, "SENTINEL", "MASTER", MASTER))
        found = [_pairs(each) for each in _ask(port, "SENTINEL", "REPLICAS", MASTER)]
        replicas = [(each["flags"], each["master-link-status"]) for each in found]
        known = (state["flags"], state["num-other-sentinels"], replicas)
        return known == ("master", "2", [("slave", "ok")])

    @property
    def master(self) -> RedisServer:
        """The master that the sentinels agree on."""
        return self._server(self.master_port())

    def master_port(self) -> int:
        """Its port."""
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def ask(self, *command: str | int | bytes) -> Any:
        """Run a command on the first sentinel that lives. Raises HarnessError where none does."""
        for sentinel, port in zip(self.sentinels, self._plain, strict=True):
            if sentinel.running:
                return _ask(port, *command)
        raise HarnessError("no sentinel lives")

    def kill_master(self) -> RedisServer:
        """End the master as a crash would; gives the server that it was."""
        found = self.master
        found.kill()
        return found

    @contextlib.contextmanager
    def planned_failover(self, timeout: int = 60_000) -> Iterator[RedisServer]:
        """Ask for another master, as operators do; gives the one there was.

        Sentinel looks once a second whether the replica is promoted. If that takes longer than the failover
        timeout, it gives up and does not try again, as the master is well.

        Args:
            timeout: milliseconds of the failover timeout until the end.
        """
        found = self.master
        self.ask("SENTINEL", "SET", MASTER, "failover-timeout", timeout)
        self.ask("SENTINEL", "FAILOVER", MASTER)
        yield found
        self.ask("SENTINEL", "SET", MASTER, "failover-timeout", FAILOVER_TIMEOUT)

    def wait_for_failover(self, old: RedisServer) -> None:
        """Return once every sentinel has another master than this one."""
        for port in self._plain:
            wait_until(
                lambda: int(_ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1]) not in old.ports,
                "the failover",
            )

    def revive(self) -> None:
        """Start what is dead, as operators do, and wait until the sentinels have made a replica of it."""
        for server in self.servers:
            if not server.running:
                server.start()
        self._wait_until_known()

    def _port(self, server: RedisServer) -> int:
        return server.tls_port if self._tls else server.port

    def _server(self, port: int) -> RedisServer:
        return next(server for server in self.servers if port in server.ports)

    def stop(self) -> None:
        """End all."""
        for sentinel in self.sentinels:
            sentinel.kill()
        for server in self.servers:
            server.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RedisCluster:
    """Three masters with a third of the slots each, and a replica of each, that takes over in about 2 s.

    ``servers``: the masters, then their replicas in the same order, as started. With an authority, all talk
    TLS to each other and to clients.
    """

    def __init__(
        self, folder: Path, authority: Authority | None = None, names: Sequence[str] = NAMES
    ) -> None:
        self._tls = authority is not None
        self._bus = [free_port() for _ in range(6)]
        self.servers = []
        for number, bus in enumerate(self._bus):
            options = ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
            options += ["--cluster-config-file", f"nodes-{bus}.conf", "--cluster-node-timeout", "1000"]
            options += ["--repl-diskless-sync-delay", "0"]
            if authority is not None:
                options += ["--tls-replication", "yes", "--tls-cluster", "yes"]
            self.servers.append(RedisServer(folder, options, f"cluster{number}", authority, names))
        hosts = ",".join(f"localhost:{self._port(server)}" for server in self.servers[:3])
        self.url = f"redis+cluster://{hosts}"
        if authority is not None:
            self.url = f"rediss+cluster://{hosts}?ssl_ca_certs={authority.certificate}"

    def start(self) -> None:
        """Start all, share the slots out, and wait until every server says that the Cluster is fine."""
        for server in self.servers:
            server.start()
        masters, replicas = self.servers[:3], self.servers[3:]
        for number, master in enumerate(masters):
            master.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            master.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, bus in zip(self.servers[1:], self._bus[1:], strict=True):
            masters[0].ask("CLUSTER", "MEET", "127.0.0.1", self._port(server), bus)
        self._until_all(lambda server: self._status(server)["cluster_known_nodes"] == "6")
        for master, replica in zip(masters, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID").decode())
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once every server says that the Cluster is fine, and three are replicas in step."""
        wait_until(lambda: sum(_in_step(server) for server in self.servers) == 3, "the Cluster's replicas")
        self._until_all(lambda server: self._status(server)["cluster_state"] == "ok")
        self._until_all(lambda server: b"fail" not in server.ask("CLUSTER", "NODES"))
        self._until_all(  # first slot, last slot, master, replica
            lambda server: all(len(served) == 4 for served in server.ask("CLUSTER", "SLOTS"))
        )

    def master_of(self, key: str) -> RedisServer:
        """Who serves a key now, by what the others say."""
        for server in self.servers:
            with contextlib.suppress(redis.ConnectionError):  # it is dead: another knows
                slot = server.ask("CLUSTER", "KEYSLOT", key)
                for first, last, master, *_ in server.ask("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(each for each in self.servers if master[1] in each.ports)
        raise HarnessError(f"nobody serves {key!r}")

    def replica_of(self, master: RedisServer) -> RedisServer:
        """A replica of this server."""
        return next(
            server
            for server in self.servers
            if (state := _info(server.ask("INFO", "replication")))["role"] == "slave"
            and int(state["master_port"]) in master.ports
        )

    def _until_all(self, condition: Callable[[RedisServer], bool]) -> None:
        for server in self.servers:
            wait_until(lambda: condition(server), f"the Cluster, by port {server.port}")

    def _status(self, server: RedisServer) -> dict[str, str]:
        return _info(server.ask("CLUSTER", "INFO"))

    def _port(self, server: RedisServer) -> int:
        return server.tls_port if self._tls else server.port

    def stop(self) -> None:
        """End all."""
        for server in self.servers:
            server.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _anyhow(folder: Path) -> list[str]:
    return ["--bind", "127.0.0.1", "--dir", str(folder), "--daemonize", "no"]


def _tls(authority: Authority, names: Sequence[str]) -> list[str]:
    identity = authority.issue(*names)
    files = ["--tls-cert-file", str(identity.certificate), "--tls-key-file", str(identity.key)]
    return [*files, "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no"]


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def _ask(port: int, *command: str | int | bytes) -> Any:
    """Run a command on a server. Replies as they come: RESP2, undecoded."""
    pool = redis.ConnectionPool(host="127.0.0.1", port=port, socket_timeout=5, protocol=2)
    connection = pool.make_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


def _pairs(found: Sequence[bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in zip(found[::2], found[1::2], strict=True)}


def _in_step(replica: RedisServer) -> bool:
    try:
        return _info(replica.ask("INFO", "replication")).get("master_link_status") == "up"
    except redis.ConnectionError:  # Sentinel closes everybody's connection where it makes one a replica
        return False


def _info(found: bytes) -> dict[str, str]:
    lines = found.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)

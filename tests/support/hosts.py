"""Simulated hosts on this machine: namespaces with their own address, name, processes and /tmp.

Each host is what a machine is to Ray: another network address, another host name with a hosts file
of its own, a process table that ends as a whole when the host is killed, a private /tmp and shared
memory. What hosts share is one folder, seen by all at `SHARED`, as a network folder would be. It
takes root and the programs of util-linux and iproute2; `missing` says what is not there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
from tiny_grid import SUPCLAP, environment, write_experiment
from waiting import PATIENCE, until

SHARED = Path("/srv")  # where each host sees the shared folder
INSIDE = ("-n", "-m", "-p", "-u", "-i")  # which namespaces a host has of its own
PORT = 6379  # of Ray's head
DEBIAN = "127.0.0.1 localhost\n127.0.1.1 {name}\n"  # hosts file as Debian's installer writes it
STORE = 80 * 2**20  # bytes of Ray's object store

# Runs as process 1 of a host. The network is plugged in from outside before it goes on.
BOOT = """
set -e
mount --make-rprivate /
mount --bind "$SCRATCH/shared" /srv
hostname "$NAME"
mount --bind "$SCRATCH/$NAME.hosts" /etc/hosts
mount -t tmpfs -o size=512m tmpfs /dev/shm
mount --bind "$SCRATCH/$NAME.tmp" /tmp
ip link set lo up
echo up
exec sleep infinity
"""


def missing() -> str:
    """Why this machine cannot simulate hosts; empty where it can."""
    if os.geteuid():
        return "simulated hosts need root"
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"simulated hosts need the program '{program}'"
    tried = subprocess.run(
        ["unshare", *INSIDE, "-f", "--mount-proc", "ip", "link", "add", "v0", "type", "veth"],
        capture_output=True,
    )
    return "" if tried.returncode == 0 else "this machine allows no network namespaces"


class Host:
    """One simulated machine, up from the start."""

    def __init__(self, net: Net, name: str, number: int, hosts: str) -> None:
        self.name = name
        self.address = f"10.77.0.{number}"
        self.net = net
        self.link = f"v{number}"  # the switch's end of its cable
        self._hosts, self._number = hosts, number
        self.up()

    def up(self) -> None:
        """Starts it, also anew after `kill`."""
        scratch = self.net.scratch
        (scratch / f"{self.name}.hosts").write_text(self._hosts.format(name=self.name))
        shutil.rmtree(scratch / f"{self.name}.tmp", ignore_errors=True)
        (scratch / f"{self.name}.tmp").mkdir()
        self.boot = subprocess.Popen(
            ["unshare", *INSIDE, "-f", "--mount-proc", "--kill-child", "sh", "-c", BOOT],
            env={**os.environ, "SCRATCH": str(scratch), "NAME": self.name},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.boot.stdout is not None
        assert self.boot.stdout.readline() == "up\n", f"host {self.name} does not start"
        (child,) = psutil.Process(self.boot.pid).children()
        self.root = child.pid  # process 1 of the host
        mine = ["nsenter", "-t", str(self.root), "-n"]
        self.net.ip("link", "add", self.link, "type", "veth", "peer", "eth0", "netns", self.root)
        self.net.ip("link", "set", self.link, "master", "br0", "up")
        run(*mine, "ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        run(*mine, "ip", "link", "set", "eth0", "up")

    def command(self, *arguments: str | Path) -> list[str]:
        """A command line that runs on this host."""
        return ["nsenter", "-t", str(self.root), *INSIDE, *map(str, arguments)]

    def start(
        self, *arguments: str | Path, out: IO[str] | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """A process on this host, its output in one pipe, or in a file: a pipe that nobody reads is
        full some time, and stops who writes."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE if out is None else out,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env={**self.net.environment, "HOME": "/tmp", **env},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def supclap(self, *arguments: str | Path, out: IO[str] | None = None) -> subprocess.Popen[str]:
        """`supclap` on this host."""
        return self.start(*SUPCLAP, *arguments, out=out)

    def send(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """Sends a signal to a process of `start`: what was started here is its child."""
        for child in psutil.Process(process.pid).children():
            child.send_signal(number)

    def join(self, head: Host | None = None, cpus: int = 1, **env: str) -> None:
        """Begins to start a Ray node here: the head, or one that joins it; see `joined`."""
        log = self.net.scratch / f"{self.name}.ray"
        where = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        if head is not None:
            where = [f"--address={head.address}:{PORT}"]
        line = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block"),
            *(f"--node-ip-address={self.address}", f"--num-cpus={cpus}"),
            f"--object-store-memory={STORE}",
        ]
        with log.open("w") as out:
            self.ray = subprocess.Popen(
                self.command(*line),
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**self.net.environment, "HOME": "/tmp", **env},
            )

    def joined(self) -> None:
        """Waits until its Ray node has begun."""
        log = self.net.scratch / f"{self.name}.ray"

        def begun() -> bool:
            crash = self._crash()
            assert not crash, crash
            return "Ray runtime started" in log.read_text()

        try:
            until(begun, self.ray, 0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from None

    def named(self, name: str, but: tuple[str, ...] = ()) -> list[psutil.Process]:
        """The processes whose command lines have a word, and none of the others."""
        found = []
        for process in self.processes()[1:]:
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if name in words and not any(word in words for word in but):
                    found.append(process)
        return found

    def end(self, name: str) -> None:
        """kill -9 of all processes of this name."""
        for process in self.named(name):
            with suppress(psutil.Error):
                process.kill()

    def rejoin(self, head: Host | None = None, cpus: int = 1) -> None:
        """Ends what is left of its Ray node, and starts it anew: Ray takes back none that it has
        called dead."""
        for name in ("ray.scripts", "raylet", "gcs_server", "ray::", "/ray/"):
            self.end(name)
        self.ray.kill()
        self.ray.wait()
        for log in self._crashes():
            log.unlink()
        self.join(head, cpus)
        self.joined()

    def _crashes(self) -> list[Path]:
        own = self.net.scratch / f"{self.name}.tmp"
        return list(own.glob("ray/session_2*/logs/raylet.err"))

    def _crash(self) -> str:
        """What its raylet has said that ended badly."""
        lines = [line for path in self._crashes() for line in path.read_text().splitlines()]
        return "\n".join(line for line in lines if " C " in line or "Check failed" in line)

    def processes(self) -> list[psutil.Process]:
        """All that runs on it, process 1 first."""
        root = psutil.Process(self.root)
        inside = os.readlink(f"/proc/{self.root}/ns/pid")
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                dead = process.status() == psutil.STATUS_ZOMBIE
                if os.readlink(f"/proc/{process.pid}/ns/pid") == inside and not dead:
                    found.append(process)
        return [root, *(process for process in found if process != root)]

    def kill(self) -> None:
        """kill -9 of all that runs on it, at once, as when the power goes."""
        os.kill(self.root, signal.SIGKILL)
        self.boot.wait(60)

    def cut(self) -> None:
        """Pulls its cable: it lives on, and nobody hears of it."""
        self.net.ip("link", "set", self.link, "down")

    def mend(self) -> None:
        """Plugs the cable in again."""
        self.net.ip("link", "set", self.link, "up")

    def pause(self) -> None:
        """Freezes all that runs on it, as a machine that sleeps."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Thaws it."""
        self._signal(signal.SIGCONT)
        self.ray.send_signal(signal.SIGCONT)  # nsenter, which stops with what it has started

    def _signal(self, number: int) -> None:
        for process in self.processes()[1:]:
            with suppress(psutil.Error):
                process.send_signal(number)

    def unmount(self) -> None:
        """Takes the shared folder away from this host."""
        run(*self.command("umount", "-l", SHARED))

    def mount(self) -> None:
        """Gives it back."""
        run("nsenter", "-t", str(self.root), "-m", "mount", "--bind",
            f"/proc/{os.getpid()}/root{self.net.shared}", SHARED)  # fmt: skip


class Net:
    """A switch with hosts, and the folder that they share: a disk of so many MB, if any."""

    def __init__(self, disk: int = 0) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="sc-net-", dir="/tmp"))
        self.shared = self.scratch / "shared"
        self.shared.mkdir()
        self._disk = disk
        if disk:
            run("mount", "-t", "tmpfs", "-o", f"size={disk}m", "tmpfs", self.shared)
        self.hosts: list[Host] = []
        self.environment = {
            **{k: v for k, v in environment().items() if not k.startswith("RAY_")},
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_raylet_start_wait_time_s": "180",  # of a machine that is busy with others
            "RAY_worker_niceness": "0",  # beside other work they would get nothing
            "OMP_NUM_THREADS": "1",
            "SUPCLAP_CACHE": "/tmp/cache",
        }
        self._switch = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        until(lambda: _namespace(self._switch.pid) != _namespace(os.getpid()), self._switch)
        self.ip("link", "add", "br0", "type", "bridge")
        self.ip("link", "set", "br0", "up")

    def ip(self, *arguments: object) -> None:
        run("nsenter", "-t", str(self._switch.pid), "-n", "ip", *map(str, arguments))

    def host(self, name: str, hosts: str = DEBIAN) -> Host:
        """A new host. ``hosts``: its hosts file; by default its name means a loopback address."""
        host = Host(self, name, len(self.hosts) + 1, hosts)
        self.hosts.append(host)
        return host

    def close(self) -> None:
        for host in self.hosts:
            with suppress(ProcessLookupError):
                host.kill()
        self._switch.kill()
        self._switch.wait()
        if self._disk:
            run("umount", "-l", self.shared)
        shutil.rmtree(self.scratch, ignore_errors=True)


@contextmanager
def hosts(
    *names: str,
    cpus: Mapping[str, int] | None = None,
    env: Mapping[str, str] | None = None,
    disk: int = 0,
) -> Iterator[list[Host]]:
    """A Ray cluster of simulated hosts; the first is the head.

    Args:
        cpus: by name, 1 by default.
        env: more of the environment that Ray's nodes are started in.
        disk: MB of the shared folder, which is a disk of its own then; 0 of one as large as any.
    """
    net = Net(disk)
    try:
        found = [net.host(name) for name in names]
        for host in found:  # one after another: Ray gives each agent 15 seconds to start
            head = None if host is found[0] else found[0]
            host.join(head, (cpus or {}).get(host.name, 1), **(env or {}))
            host.joined()
        yield found
    finally:
        net.close()


def nodes(head: Host) -> dict[str, bool]:
    """Whether each node of the head's cluster lives, by its address, as Ray has it."""
    code = (
        "import json, ray; ray.init(address='auto', logging_level='ERROR', log_to_driver=False); "
        "print(json.dumps({n['NodeManagerAddress']: n['Alive'] for n in ray.nodes()}))"
    )
    output, _ = head.start(sys.executable, "-c", code).communicate(timeout=PATIENCE)
    return dict(json.loads(output.splitlines()[-1]))


def experiment(head: Host, epochs: int = 2, seeds: int = 2, max_failures: int = 2) -> Path:
    """`tiny_grid.write_experiment` in the shared folder, as the hosts see it."""
    path = write_experiment(head.net.shared, epochs, seeds, max_failures)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(str(head.net.shared), str(SHARED)), encoding="utf-8")
    return path


def run(*arguments: object) -> None:
    done = subprocess.run([str(one) for one in arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")

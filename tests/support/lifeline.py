"""What every process started by a test needs: a port, a pause, and an end that is certain."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below the ports that systems give to outgoing connections, so one is still ours after a restart."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    # Not `random`: its seed is the same in every worker of a parallel run.
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def pause(pid: int) -> None:
    """Stop a child of ours where it stands (SIGSTOP), and return when it stands."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


def resume(pid: int) -> None:
    """Let a paused child go on (SIGCONT)."""
    os.kill(pid, signal.SIGCONT)


class Lifeline:
    """Kills a process group as soon as this process is gone, however it went.

    A small shell waits at a pipe that only we hold; the system closes it for us even after kill -9.
    """

    def __init__(self, group: int) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r line; kill -9 "-$0"', str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def let_go(self) -> None:
        """The group has ended, or is about to: leave it alone."""
        self._shell.kill()
        self._shell.communicate()

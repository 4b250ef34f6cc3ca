"""Free ports for programs that cannot choose one, and nginx."""

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import runs
from stand_ins.https import Server

NGINX = Path(sys.executable).with_name("nginx")

PORTS = range(10_000, 32_000)
"""Below the ports that Linux assigns to connections and to servers of tests that run in parallel."""


def free_ports(number: int) -> list[int]:
    """Different free ports of 127.0.0.1."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < number:
            listener, port = stack.enter_context(socket.socket()), random.choice(PORTS)
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                found.append(port)
        return found


@contextmanager
def silenced(server: Server) -> Iterator[None]:
    """Stop a server; its port refuses connections until the end of the block, since no other server gets it."""
    server.__exit__(None, None, None)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last connections are in TIME_WAIT
        taken.bind(("127.0.0.1", server.port))
        yield


@contextmanager
def nginx(folder: Path, servers: str, port: int) -> Iterator[None]:
    """Serve these servers, the first of them on `port`, until the end of the block; logs are in `folder`."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    kept = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log {folder}/access.log; {kept}{servers} }}\n"
    )
    command = [str(NGINX), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with subprocess.Popen(command) as process:
        try:
            assert runs.wait_for(lambda: _listens(port) or process.poll() is not None)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

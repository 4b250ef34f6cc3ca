"""Run the agent by its systemd unit, in a separate systemd.

    booted.py [--lxc] [--drop-in] [--secrets] AGENT --config FILE

is a `prefix` for inside.py: it boots systemd as process 1 of a new PID namespace, in the current network namespace,
and installs and starts the unit by the README's commands. The exit code is the agent's, or systemd's for an earlier
failure (systemd.exec(5)).

--lxc      with the drop-in that LXC containers generate for every service
--drop-in  with examples/systemd/lxc.conf and the commands in its comments
--secrets  with the unit's lines for secrets in separate files
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
NAME = "phpipam-scan-agent"
UNITS = Path("/etc/systemd/system")
SYSTEMD = Path("/lib/systemd/systemd")
AWAY = Path("/srv")
"""The folder for Python, which the unit shows to the agent, unlike /root and /tmp, where tests may have it."""

DROP_IN = """
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force

[Service]
StandardError=file:/run/lab/stderr
Environment=LD_LIBRARY_PATH={away}/python/lib PYTHONPATH={away}/src:{away}/packages
Environment=SSL_CERT_FILE={away}/ca.pem TZ=UTC
"""

LXC = """
[Service]
ProcSubset=all
ProtectProc=default
ProtectControlGroups=no
ProtectKernelTunables=no
NoNewPrivileges=no
LoadCredential=
"""
"""The drop-in of distrobuilder and of Proxmox's templates for unprivileged containers."""


def main() -> int:
    """Boot systemd in new namespaces and a new control group, and return the agent's exit code."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as ending:
        folder = Path(temporary)
        folder.chmod(0o755)
        config = Path(sys.argv[sys.argv.index("--config") + 1])
        (folder / "scan_agent.yaml").write_bytes(config.read_bytes())
        said = folder / "stderr"
        said.touch()
        said.chmod(0o666)  # systemd opens it as the service's user from 257 on

        # The mount namespace of `ip netns exec` has a /sys without control groups.
        groups = folder / "cgroup"
        groups.mkdir()
        mount("-t", "cgroup2", "cgroup2", groups)
        ending.callback(lambda: subprocess.run(["umount", groups], check=True))
        group = groups / f"scan-lab-{os.getpid()}"
        group.mkdir()
        ending.callback(remove, group)

        join = f'echo $$ >"{group}/cgroup.procs" && exec "$@"'
        flags = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child", "--mount-proc"]
        inside = [sys.executable, __file__, "--inside", str(folder), *sys.argv[1:]]
        with (folder / "systemd").open("w") as log:
            done = subprocess.run(
                ["sh", "-c", join, "sh", "unshare", *flags, *inside],
                stdout=log,
                stderr=log,
                timeout=120,
                check=False,
            )
        sys.stderr.write(
            said.read_text() or ((folder / "systemd").read_text() if done.returncode > 199 else "")
        )
        return done.returncode


def remove(group: Path) -> None:
    """Remove a control group and the groups that systemd made in it."""
    for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        path.rmdir()
    group.rmdir()


def boot(folder: Path, options: list[str]) -> None:
    """As process 1 in its own namespaces: prepare the unit's files and become systemd."""
    prepare(folder)
    configure(folder, options)
    install_unit(folder, options)
    install_agent(folder)
    # systemd mounts it itself outside of containers; it passes credentials through it.
    mount("--make-rshared", "/")
    arguments = [f"--unit={NAME}.service", "--log-target=console", "--log-level=info", "--show-status=no"]
    os.execve(SYSTEMD, [str(SYSTEMD), "--system", *arguments], {**os.environ, "container": "lab"})


def prepare(folder: Path) -> None:
    """Mount folders of this system's own, /etc as a copy without units."""
    mount("--make-rprivate", "/")
    etc = folder / "etc"
    etc.mkdir()
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", etc)
    subprocess.run(["cp", "-a", "/etc/.", etc], check=True)
    mount("--move", etc, "/etc")
    for folder_of_files in (UNITS, Path("/etc/phpipam")):
        folder_of_files.mkdir(parents=True, exist_ok=True)
    for path in ("/run", "/var/cache", "/var/lib", UNITS, "/etc/phpipam", "/usr/local/bin"):
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", path)
    Path("/run/lab").mkdir()
    mount("--bind", folder, "/run/lab")  # the service has a /tmp of its own, but not a /run
    mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")


def install_agent(folder: Path) -> None:
    """Put the agent where the README's pipx puts it, with these tests' Python and packages."""
    away = folder / "away"
    away.mkdir()
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", away)
    for name, target in (
        ("python", sys.base_prefix),
        ("packages", sysconfig.get_path("purelib")),
        ("src", ROOT / "src"),
    ):
        (away / name).mkdir()
        mount("--bind", target, away / name)
    (away / "ca.pem").write_bytes(Path(os.environ["SSL_CERT_FILE"]).read_bytes())
    mount("--move", away, AWAY)  # last, since the tests may be below it
    python = AWAY / "python" / "bin" / f"python{sysconfig.get_python_version()}"
    command = Path("/usr/local/bin", NAME)
    command.write_text(f'#!/bin/sh\nexec {python} -m phpipam_scan_agent "$@"\n')
    command.chmod(0o755)


def configure(folder: Path, options: list[str]) -> None:
    """Write the configuration, and with --secrets its secrets, to files that only root can read."""
    document = yaml.safe_load((folder / "scan_agent.yaml").read_text())
    (settings,) = document.values()
    files = {}
    if "--secrets" in options:
        for key in ("client_token", "scanagent_code", "auth_token"):
            files[key] = f"{settings.pop(key)}\n"
            settings[f"{key}_file"] = key
    files["scan_agent.yaml"] = yaml.safe_dump(document)
    for name, text in files.items():
        path = Path("/etc/phpipam", name)
        path.write_text(text)
        path.chmod(0o600)


def install_unit(folder: Path, options: list[str]) -> None:
    """Install the unit by the README's command, and the drop-ins."""
    (copy,) = set(re.findall(r"^cp examples/systemd/.*$", (ROOT / "README.md").read_text(), re.MULTILINE))
    subprocess.run(copy, shell=True, check=True, cwd=ROOT)
    service = UNITS / f"{NAME}.service"
    if "--secrets" in options:
        unit = service.read_text()
        for key in ("client_token", "scanagent_code", "auth_token"):
            assert f"#LoadCredential={key}:" in unit
            unit = unit.replace(f"#LoadCredential={key}:", f"LoadCredential={key}:")
        service.write_text(unit)
    if "--lxc" in options:
        generated = Path("/run/systemd/system/service.d/zzz-lxc-service.conf")
        generated.parent.mkdir(parents=True)
        generated.write_text(LXC)
    drop_ins = UNITS / f"{service.name}.d"
    drop_ins.mkdir()
    if "--drop-in" in options:
        text = (ROOT / "examples" / "systemd" / "lxc.conf").read_text()
        (drop_ins / "lxc.conf").write_text(text)
        for command in re.findall(r"^#   (.*)$", text, re.MULTILINE):
            subprocess.run(command, shell=True, check=True)
    (drop_ins / "lab.conf").write_text(DROP_IN.format(away=AWAY))
    (UNITS / "network-online.target").write_text("[Unit]\nDefaultDependencies=no\n")


def mount(*arguments: str | Path) -> None:
    """Run mount."""
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        boot(Path(sys.argv[2]), sys.argv[3:])
    sys.exit(main())

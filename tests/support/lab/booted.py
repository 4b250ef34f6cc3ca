"""Run the agent as its systemd unit has it, under a systemd of its own.

    booted.py AGENT --config FILE

is a `prefix` for inside.py: it boots systemd as process 1 of a new PID namespace, in the network namespace that
it is started in, has it start examples/systemd/phpipam-scan-agent.service, and ends as the agent did, or with
systemd's code for what failed before (systemd.exec(5)). The unit is changed in the paths of the program, its
Python and its configuration, which tests have elsewhere. The secrets are in files, as the unit wants it.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
NAME = "phpipam-scan-agent"
UNIT = ROOT / "examples" / "systemd" / f"{NAME}.service"
SYSTEMD = Path("/lib/systemd/systemd")
AWAY = Path("/srv")
"""Where the unit finds Python: unlike /root and /tmp, where tests may have it, the unit lets the agent see it."""

DROP_IN = """
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force

[Service]
StandardError=file:{folder}/stderr
Environment=LD_LIBRARY_PATH={away}/python/lib PYTHONPATH={away}/src:{away}/packages
Environment=SSL_CERT_FILE={away}/ca.pem TZ=UTC
"""


def main() -> int:
    """Boot systemd in namespaces and a control group of its own, and return the agent's exit code."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as ending:
        folder = Path(temporary)
        folder.chmod(0o755)
        configure(folder, Path(sys.argv[sys.argv.index("--config") + 1]))

        # `ip netns exec` gives a mount namespace of its own, with a /sys that has no control groups.
        groups = folder / "cgroup"
        groups.mkdir()
        mount("-t", "cgroup2", "cgroup2", groups)
        ending.callback(lambda: subprocess.run(["umount", groups], check=True))
        group = groups / f"scan-lab-{os.getpid()}"
        group.mkdir()
        ending.callback(remove, group)

        join = f'echo $$ >"{group}/cgroup.procs" && exec "$@"'
        flags = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child", "--mount-proc"]
        inside = [sys.executable, __file__, "--inside", str(folder)]
        with (folder / "systemd").open("w") as log:
            done = subprocess.run(
                ["sh", "-c", join, "sh", "unshare", *flags, *inside],
                stdout=log,
                stderr=log,
                timeout=120,
                check=False,
            )
        said = folder / "stderr"
        sys.stderr.write((said if said.exists() else folder / "systemd").read_text())
        return done.returncode


def remove(group: Path) -> None:
    """Remove a control group with those that systemd made in it."""
    for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        path.rmdir()
    group.rmdir()


def configure(folder: Path, config: Path) -> None:
    """Write the configuration and its secrets to files that root alone reads, as the unit's comments say."""
    document = yaml.safe_load(config.read_text())
    (settings,) = document.values()
    for key in ("client_token", "scanagent_code", "auth_token"):
        (folder / key).write_text(f"{settings.pop(key)}\n")
        settings[f"{key}_file"] = key
    (folder / "scan_agent.yaml").write_text(yaml.safe_dump(document))
    for path in folder.iterdir():
        path.chmod(0o600)


def boot(folder: Path) -> None:
    """As process 1 in its own namespaces: prepare what the unit needs and become systemd."""
    mount("--make-rprivate", "/")
    for path in ("/run", "/var/cache", "/var/lib", "/etc/systemd/system", AWAY):
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", path)
    mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    for name, target in (
        ("python", sys.base_prefix),
        ("packages", sysconfig.get_path("purelib")),
        ("src", ROOT / "src"),
    ):
        (AWAY / name).mkdir()
        mount("--bind", target, AWAY / name)
    (AWAY / "ca.pem").write_bytes(Path(os.environ["SSL_CERT_FILE"]).read_bytes())

    units = Path("/etc/systemd/system")
    python = AWAY / "python" / "bin" / f"python{sysconfig.get_python_version()}"
    unit = UNIT.read_text()
    for said, here in (
        (f"/usr/local/bin/{NAME}", f"{python} -m phpipam_scan_agent"),
        (":/etc/phpipam/", f":{folder}/"),
    ):
        assert said in unit
        unit = unit.replace(said, here)
    (units / UNIT.name).write_text(unit)
    (units / f"{UNIT.name}.d").mkdir()
    (units / f"{UNIT.name}.d" / "lab.conf").write_text(DROP_IN.format(folder=folder, away=AWAY))
    (units / "network-online.target").write_text("[Unit]\nDefaultDependencies=no\n")
    # As outside of containers, where systemd does it itself; it hands out credentials through it.
    mount("--make-rshared", "/")
    arguments = [f"--unit={UNIT.name}", "--log-target=console", "--log-level=info", "--show-status=no"]
    os.execve(SYSTEMD, [str(SYSTEMD), "--system", *arguments], {**os.environ, "container": "lab"})


def mount(*arguments: str | Path) -> None:
    """Run mount."""
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        boot(Path(sys.argv[2]))
    sys.exit(main())

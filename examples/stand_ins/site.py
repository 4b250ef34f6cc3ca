"""A site in one folder: both stand-ins over TLS, a configuration with their addresses, and the agent."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from .https import Certificates, Server
from .phpipam import PhpIpam
from .scan_server import ScanServer

COMMAND = str(Path(sys.executable).with_name("phpipam-scan-agent"))


class Site(ExitStack):
    """Serves until the end of the `with` block; the agent's files stay in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.certificates = Certificates()
        self.phpipam = PhpIpam()
        self.scan_server = ScanServer(token="server-token-8sYq1TbE")
        tls = self.certificates.tls()
        self.api = self.enter_context(Server(self.phpipam.answer, tls))
        self.server = self.enter_context(Server(self.scan_server.answer, tls))
        self.settings: dict[str, Any] = {
            "api_url": f"{self.api.url}:{self.api.port}",
            "client_name": self.phpipam.app,
            "client_token": self.phpipam.token,
            "scanagent_code": self.phpipam.agent["code"],
            "http_server": self.server.url,
            "http_port": self.server.port,
            "auth_token": self.scan_server.token,
        }
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.certificates.ca_pem)
        self.config_file = folder / "scan_agent.yaml"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "CACHE_DIRECTORY": str(folder / "cache"),
            "STATE_DIRECTORY": str(folder / "state"),
            "SSL_CERT_FILE": str(self.ca_file),
        }

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that no output may contain."""
        return tuple(self.settings[key] for key in ("client_token", "scanagent_code", "auth_token"))

    def write_config(self) -> Path:
        """Write the settings as the agent's configuration file."""
        document = {"nofusscomputing_phpipam_scan_agent": self.settings}
        new = self.config_file.with_suffix(".new")  # an agent that starts meanwhile reads a complete file
        new.write_text(yaml.safe_dump(document))
        new.chmod(0o600)
        return new.replace(self.config_file)

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs the agent of this site."""
        return [COMMAND, "--config", str(self.write_config()), *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the agent to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def forget(self) -> None:
        """Remove the agent's cache."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

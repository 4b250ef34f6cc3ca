"""Valid configurations, which tests change."""

from pathlib import Path

from phpipam_scan_agent.config import ROOT_KEY, Config

APP_CODE = "app-code-4711-of-the-tests"
AGENT_CODE = "agent-code-0815-of-the-tests"
SERVER_TOKEN = "server-token-1234-of-the-tests"

MANDATORY = {
    "api_url": "https://phpipam.example",
    "client_token": APP_CODE,
    "client_name": "agent1",
    "scanagent_code": AGENT_CODE,
}


def config(**changes: object) -> Config:
    """A checked configuration: the mandatory settings with these changes."""
    return Config.model_validate({**MANDATORY, **changes})


def text(**changes: str | None) -> str:
    """The file's text: the mandatory settings, and these as they are typed; None leaves a key out."""
    lines = {**MANDATORY, **changes}
    return f"{ROOT_KEY}:\n" + "".join(f"  {k}: {v}\n" for k, v in lines.items() if v is not None)


def write(folder: Path, content: str | bytes) -> Path:
    """A configuration file with this content."""
    path = folder / "scan_agent.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path

"""Run as `python -m scan_server [--config FILE]`."""

import argparse
import logging
import sys
from pathlib import Path

import uvicorn
from sqlalchemy import Engine

from . import config, database
from .app import make_app
from .limits import Loop, Protocol
from .log import JsonLines

DEFAULT_PATH = Path("/etc/phpipam/scan_server.yaml")


def main() -> int:
    """Serve until a signal ends it. Return 2 if the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="scan_server", description="Take scan agents' reports for phpIPAM.")
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH, help="default: %(default)s")
    try:
        settings = config.load(parser.parse_args().config)
        engine = database.connect(settings)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr])
    sys.setswitchinterval(0.001)  # short requests are answered while large reports are decoded
    make_server(settings, engine).run()
    return 0


def make_server(settings: config.Config, engine: Engine) -> uvicorn.Server:
    """Return the web server."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(settings, engine),
            host=settings.host,
            port=settings.http_port,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            loop=f"{Loop.__module__}:{Loop.__name__}",
            http=Protocol,
            log_config=None,
            access_log=False,  # log.access writes one
            server_header=False,
            timeout_graceful_shutdown=30,
        )
    )


if __name__ == "__main__":
    sys.exit(main())

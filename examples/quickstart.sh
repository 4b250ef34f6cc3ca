#!/usr/bin/env bash
# Run the agent on loopback, with stand-ins for phpIPAM and its database. Installs nmap and python3-venv with apt.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/prepare.sh

install ca-certificates iproute2 nmap python3-venv
virtual_environment .venv trustme -r examples/scan_server/requirements.txt
exec .venv/bin/python examples/quickstart.py

#!/usr/bin/env bash
# See the agent work, on loopback alone, with stand-ins for phpIPAM and the Scan Server. Installs nmap and python3-venv with apt.
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/prepare.sh

install ca-certificates iproute2 nmap python3-venv
virtual_environment .venv trustme -r examples/scan_server/requirements.txt
exec .venv/bin/python examples/quickstart.py

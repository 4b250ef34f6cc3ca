#!/usr/bin/env bash
# Install what the tests need and run them all; arguments go to pytest: ./tests/run.sh -k cache
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/prepare.sh

install nmap python3-venv shellcheck util-linux mariadb-server man-db groff-base zsh fish
virtual_environment .venv-tests --group test -r examples/scan_server/requirements.txt

export PATH="$PWD/.venv-tests/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports --no-cache
shellcheck --external-sources examples/*.sh tests/*.sh .ci/run
pytest "$@"

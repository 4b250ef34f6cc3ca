#!/usr/bin/env bash
# Install what the tests need and run them all; arguments go to pytest: ./tests/run.sh -k cache
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/prepare.sh

# unpack PACKAGE FILE: one program of a package that would start a service if it were installed.
unpack() {
    local program=.venv-tests/bin/${2##*/} folder
    [ ! -x "$program" ] || return 0
    folder=$(mktemp -d)
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$1")
    dpkg-deb --fsys-tarfile "$folder"/*.deb | tar -xO ".$2" >"$folder/program"
    chmod 755 "$folder/program"
    mv "$folder/program" "$program"
    rm -r "$folder"
}

install nmap python3-venv shellcheck util-linux mariadb-server gcc libc6-dev iproute2 procps ca-certificates \
    libcap2-bin systemd man-db groff-base logrotate
virtual_environment .venv-tests --group test -r examples/scan_server/requirements.txt
unpack nginx /usr/sbin/nginx
unpack prometheus /usr/bin/promtool

export PATH="$PWD/.venv-tests/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports --no-cache
shellcheck --external-sources examples/*.sh tests/*.sh .ci/run
pytest "$@"

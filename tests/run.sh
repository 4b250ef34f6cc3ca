#!/usr/bin/env bash
# Install the requirements of the tests and run all tests; arguments go to pytest: ./tests/run.sh -k cache
set -euo pipefail
cd "$(dirname "$0")/.."
. examples/prepare.sh

# unpack FILE PACKAGE...: one program, of the first of the packages that this release of Debian has. An installed package
# would start a service.
unpack() {
    local file=$1 program=.venv-tests/bin/${1##*/} folder package
    shift
    [ ! -x "$program" ] || return 0
    folder=$(mktemp -d)
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 && break
    done
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$package")
    dpkg-deb --fsys-tarfile "$folder"/*.deb | tar -xO ".$file" >"$folder/program"
    chmod 755 "$folder/program"
    mv "$folder/program" "$program"
    rm -r "$folder"
}

install nmap python3-venv shellcheck util-linux mariadb-server gcc libc6-dev iproute2 procps ca-certificates \
    libcap2-bin systemd man-db groff-base logrotate
virtual_environment .venv-tests --group test -r examples/scan_server/requirements.txt
unpack /usr/sbin/nginx nginx
unpack /usr/bin/promtool promtool prometheus

export PATH="$PWD/.venv-tests/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports --no-cache
shellcheck --external-sources examples/*.sh src/packaging/*.sh tests/*.sh .ci/run
# The tests of a file stay together: they share servers and networks. Further processes would only wait for each other.
pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

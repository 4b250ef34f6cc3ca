#!/usr/bin/env bash
# Run the README's two commands on a minimal Debian; further arguments go to pytest: sudo tests/fresh.sh trixie
#
# For maintainers. The system is made in a temporary folder, with a clone of the last commit, and removed at the end.
# Needs debootstrap, git and util-linux, and access to Debian's packages and to PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

# enter ROOT ARGUMENT...: in namespaces of its own, make ROOT a mount point that has the kernel's file systems, as the
# tests' own namespaces expect it, and run the two commands there.
enter() {
    local root=$1 file_system name environment=()
    shift
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    for file_system in sys dev; do
        mount --rbind "/$file_system" "$root/$file_system"
    done
    for name in PIP_CERT SSL_CERT_FILE http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || environment+=("$name=${!name}")
    done
    # A new root: after a mere chroot no process may make a user namespace.
    cd "$root"
    pivot_root . mnt
    umount --lazy mnt
    # shellcheck disable=SC2016 # expanded by the shell inside
    exec chroot . /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${environment[@]}" /bin/bash -euc '
        cd /srv/phpipam-scan-agent
        echo "== $(. /etc/os-release && echo "$PRETTY_NAME"): ./examples/quickstart.sh"
        ./examples/quickstart.sh
        echo "== ./tests/run.sh $*"
        exec ./tests/run.sh "$@"' bash "$@"
}

[ "${1:-}" != --inside ] || enter "${@:2}"

suite=${1:?usage: tests/fresh.sh SUITE [PYTEST-ARGUMENT...]}
shift
folder=$(mktemp -d)
trap 'rm -rf --one-file-system "$folder"' EXIT
chmod 755 "$folder"
root=$folder/$suite
echo "== debootstrap $suite"
debootstrap --variant=minbase "$suite" "$root" >"$folder/log" || { tail "$folder/log"; exit 1; }
git clone -q --no-hardlinks . "$root/srv/phpipam-scan-agent"

# Nameservers and trusted authorities of this machine, for networks that have their own.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mkdir -p "$root/etc/ssl/certs" "$root/usr/local/share/ca-certificates"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"

# With process 1 of this namespace, its other processes end and its mounts go.
unshare --mount --pid --fork --kill-child "$0" --inside "$root" "$@"

#!/usr/bin/env bash
# Build the files for an installation without PyPI: src/packaging/bundle.sh FOLDER [PYTHON-VERSION...]
#
#   FOLDER/phpipam-scan-agent-VERSION-ARCHITECTURE.pyz   the agent with its libraries, in one executable file
#   FOLDER/wheels/                                       the same as wheels, with a requirements.txt of their hashes
#   FOLDER/SHA256SUMS                                    checksums of all of it
#
# Both serve this machine's architecture, with glibc 2.17 or later, and the Python versions given (by default all that are
# supported). The same commit and version of Python give the same bytes: every library and build tool is pinned by version
# and hash. Needs uv.
set -euo pipefail
umask 022
folder=$(mkdir -p "${1:?usage: src/packaging/bundle.sh FOLDER [PYTHON-VERSION...]}" && cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- 3.10 3.11 3.12 3.13 3.14
cd "$(dirname "$0")/../.."
export SOURCE_DATE_EPOCH=315532800 # 1980, the earliest date that a zip file can have
platform=manylinux2014_$(uname -m)
wheels=$folder/wheels
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
rm -rf "$wheels" "$folder"/*.pyz "$folder/SHA256SUMS"

uv venv --quiet "$temporary/tools"
uv pip install --quiet --python "$temporary/tools" --require-hashes --requirement src/packaging/bundle-requirements.txt
pip=("$temporary/tools/bin/pip" --quiet --disable-pip-version-check)

# select_locked NAME...: the entries of the locked file with these names.
select_locked() {
    awk -v names=" $* " -F '==' '/==/ { wanted = index(names, " " $1 " ") } wanted' src/packaging/requirements.txt
}

# Wheels of this project, of libraries that PyPI has as source only, and of all others; compiled libraries have a wheel for
# each version of Python.
source_only=(python-nmap)
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$wheels" .
select_locked "${source_only[@]}" >"$temporary/source.txt"
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$wheels" --require-hashes --requirement "$temporary/source.txt"
mapfile -t names < <(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' src/packaging/requirements.txt | grep -vxF "${source_only[@]}")
platforms=()
markers='"implementation_name": "cpython", "os_name": "posix", "platform_python_implementation": "CPython",
    "platform_system": "Linux", "sys_platform": "linux"'
for version in "$@"; do
    select_locked "${names[@]}" >"$temporary/binary.txt"
    "${pip[@]}" download --no-deps --dest "$wheels" --require-hashes --requirement "$temporary/binary.txt" \
        --only-binary :all: --implementation cp --python-version "$version" --platform "$platform"
    # All tags, since for an abbreviated platform pex would download a pip if this Python is newer than 3.11.
    tags=$("$temporary/tools/bin/pip" debug --verbose --implementation cp --python-version "$version" \
        --platform "$platform" 2>/dev/null | sed -n '/^Compatible tags/,$ s/^  \(.*\)/"\1"/p' | paste -sd ,)
    environment="{$markers, \"python_version\": \"$version\", \"python_full_version\": \"$version.0\"}"
    platforms+=(--complete-platform "{\"marker_environment\": $environment, \"compatible_tags\": [$tags]}")
    mapfile -t names < <(find "$wheels" -name "*-cp3*.whl" -printf "%f\n" | sed "s/-.*//" | tr _ - | sort -u)
done

# pip accepts any of the hashes of a name, so that one list serves every version of Python.
(
    cd "$wheels"
    for wheel in *.whl; do
        IFS=- read -r name version _ <<<"$wheel"
        echo "${name//_/-}==$version $(sha256sum "$wheel" | cut -d ' ' -f 1)"
    done | awk '{ hashes[$1] = hashes[$1] " --hash=sha256:" $2 } END { for (name in hashes) print name hashes[name] }' | sort
) >"$temporary/requirements.txt"
mv "$temporary/requirements.txt" "$wheels/"

# Everything is in the wheels, so no index is asked. With --venv every run except the first is as fast as an installation;
# the tools can make that installation.
version=$(sed -n 's/^phpipam-scan-agent==\([^ ]*\) .*/\1/p' "$wheels/requirements.txt")
"$temporary/tools/bin/pex" --pex-root "$temporary/pex" --no-pypi --pre-resolved-dists "$wheels" "${platforms[@]}" \
    --no-pre-install-wheels --include-tools --venv prepend --python-shebang "/usr/bin/env python3" \
    --output-file "$folder/phpipam-scan-agent-$version-$(uname -m).pyz" --script phpipam-scan-agent phpipam-scan-agent
(cd "$folder" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum) >"$temporary/sums"
mv "$temporary/sums" "$folder/SHA256SUMS"

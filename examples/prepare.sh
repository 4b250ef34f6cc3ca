# shellcheck shell=bash
# Sourced by quickstart.sh and tests/run.sh: installs missing packages on Debian and Ubuntu.

# install PACKAGE...: install the Debian packages that are missing.
install() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "Installing ${missing[*]}"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# virtual_environment FOLDER PIP-ARGUMENT...: make a virtual environment with this project and pip's arguments, if there is
# none or the requirements have changed. PYTHON is the interpreter, by default python3.
virtual_environment() {
    local folder=$1 python=${PYTHON:-python3} made_for
    shift
    made_for="$("$python" --version) $* $(cksum pyproject.toml examples/scan_server/requirements.txt)"
    if [ "$(cat "$folder/made-for" 2>/dev/null)" != "$made_for" ]; then
        echo "Making $folder"
        rm -rf "$folder"
        "$python" -m venv "$folder"
        "$folder/bin/pip" install -q --disable-pip-version-check --upgrade pip
        "$folder/bin/pip" install -q "$@" --editable .
        echo "$made_for" >"$folder/made-for"
    fi
}

#!/usr/bin/env bash
# Pin the libraries of the bundle, and the tools that build it, to their newest versions: src/packaging/lock.sh
#
# Needs uv. One version of each serves every Python that is supported, so that all of them run the same code.
set -euo pipefail
cd "$(dirname "$0")"
export UV_CUSTOM_COMPILE_COMMAND=src/packaging/lock.sh
pin=(uv pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.10 --generate-hashes --no-annotate)
"${pin[@]}" ../../pyproject.toml --output-file requirements.txt
"${pin[@]}" --group ../../pyproject.toml:bundle --output-file bundle-requirements.txt

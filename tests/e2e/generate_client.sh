#!/usr/bin/env bash
# Generates the Python client from openapi.yaml: generate_client.sh OUTPUT_FOLDER VENV_BIN
#
# The package `persisting_client` comes to lie in OUTPUT_FOLDER. VENV_BIN is the `bin` of a virtual environment with
# openapi-python-client. What the generator leaves out of an operation is a failure, except for media types that it does
# not know and the client has another for, or reads as the bytes that they are (an export's).
set -euo pipefail

if [ "$#" -ne 2 ]; then
    echo "usage: $0 OUTPUT_FOLDER VENV_BIN" >&2
    exit 2
fi
document="$(cd "$(dirname "$0")/../.." && pwd)/openapi.yaml"
mkdir -p "$1"
output="$(cd "$1" && pwd)"
# The generator calls ruff by its name.
PATH="$(cd "$2" && pwd):$PATH"
export PATH

log="$output/generator.log"
if ! openapi-python-client generate --path "$document" --meta none --overwrite \
    --output-path "$output/persisting_client" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi

# Every line of the generator's must be one of these; it also prints, in braces, the part of the document that it means.
expected='^(Generating .*'
expected+='|Warning\(s\) encountered while generating\. .*'
expected+='|WARNING parsing POST /v1/topics/\{topic\}/records within records\.'
expected+='|Unsupported content type application/(x-ndjson|jsonl|vnd\.apache\.arrow\.stream)'
expected+='|WARNING parsing GET /openapi\.yaml within server\.'
expected+='|WARNING parsing GET /v1/topics/\{topic\}/export within records\.'
expected+='|Cannot parse response for status code .* \(Unsupported content_type application/x-ndjson, application/vnd.*\), .*'
expected+='|Cannot parse response for status code .* \(Unsupported content_type application/yaml\), .*'
expected+='|If you believe this was a mistake .*)$'
if grep -v -E '^([[:space:]{}].*)?$' "$log" | grep -v -E "$expected" >&2; then
    echo "the generator said the above; all that it said is in $log" >&2
    exit 1
fi

python - "$output" <<'PYTHON'
"""Imports every module of the client, with warnings as errors."""

import importlib
import pkgutil
import sys
import warnings

sys.path.insert(0, sys.argv[1])
warnings.simplefilter("error")
import persisting_client

for module in pkgutil.walk_packages(persisting_client.__path__, "persisting_client."):
    importlib.import_module(module.name)
PYTHON

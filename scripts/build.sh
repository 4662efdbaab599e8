#!/usr/bin/env bash
# Builds what a page loads: pkg/wasm/ (Rust) and pkg/dist/, www/dist/ (TypeScript).
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/build-wasm.sh
rm -rf pkg/models && mkdir -p pkg/models/pocket
cp models/pocket/*.json models/pocket/*.safetensors pkg/models/pocket/
node_modules/.bin/tsc --project pkg
node_modules/.bin/tsc --project www

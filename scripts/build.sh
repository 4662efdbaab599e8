#!/usr/bin/env bash
# Builds what a page loads: pkg/wasm/ (Rust) and pkg/dist/, www/dist/ (TypeScript).
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/build-wasm.sh
rm -rf pkg/models && mkdir -p pkg/models/pocket
cp models/pocket/*.json models/pocket/*.safetensors pkg/models/pocket/
# Spaces behind small ones, see pkg/src/pocket.ts.
for file in pkg/models/pocket/*.json; do
  missing_bytes=$((4096 - $(stat -c %s "$file")))
  [ $missing_bytes -le 0 ] || printf "%${missing_bytes}s" '' >>"$file"
done
node_modules/.bin/tsc --project pkg
node scripts/bundle-worker.mjs
node_modules/.bin/tsc --project www

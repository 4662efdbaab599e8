#!/usr/bin/env bash
# Builds what a page loads: pkg/wasm/ (Rust) and pkg/dist/, www/dist/ (TypeScript).
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/build-wasm.sh
node_modules/.bin/tsc --project pkg
node_modules/.bin/tsc --project www

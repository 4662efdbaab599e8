#!/usr/bin/env bash
# `npm run demo [-- --port N --model DIR]`: sets up what is missing, builds, serves the demo page and prints its address.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh demo
echo "demo: building (the first time takes a few minutes)"
bash scripts/build.sh
exec node scripts/serve.mjs "$@"

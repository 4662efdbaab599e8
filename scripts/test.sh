#!/usr/bin/env bash
# `npm test`: sets up what is missing and runs every check and test, stopping at the first that fails.
# The last line counts the tests: "N passed, N failed".
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
timings=()

# step NAME COMMAND...: runs the command under a heading; its output is kept for the count.
step() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" 2>&1 | tee "$logs/${#timings[@]}" || status=$?
  timings+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
  if [ $status != 0 ]; then
    echo "=== FAILED: $name (exit status $status)"
    finish
    exit 1
  fi
}

# Adds up what cargo test ("test result: ok. 5 passed; 0 failed; ...") and node --test ("ℹ pass 5") have counted.
finish() {
  echo "=== time"
  printf '%s\n' "${timings[@]}" "$(printf '%5d s  in all' $SECONDS)"
  sed 's/\x1b\[[0-9;]*m//g' "$logs"/* | awk '
    /^test result:/ { passed += $4; failed += $6; skipped += $8 }
    /^ℹ pass / { passed += $3 }
    /^ℹ (fail|cancelled) / { failed += $3 }
    /^ℹ (skipped|todo) / { skipped += $3 }
    END {
      printf "%d passed, %d failed", passed, failed
      if (skipped) printf ", %d skipped", skipped
      print ""
    }'
}

native_tests() {
  # Vulkan in software, so that every machine runs the same tests; set VK_ICD_FILENAMES to run them on another driver.
  VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-$(compgen -G '/usr/share/vulkan/icd.d/lvp_icd.*.json' | head -n1)} cargo test --quiet --workspace
}

wasm_clippy() {
  wasm_cargo clippy --quiet --lib --package mobilemoe-web --no-default-features -- -D warnings &&
    wasm_cargo clippy --quiet --lib --package mobilemoe-constrain -- -D warnings
}

browser_tests() {
  # One browser at a time: SwiftShader takes every core.
  node --test --test-reporter=spec --test-concurrency=1 tests/browser/*.test.mjs
}

step "setup" bash scripts/setup.sh test
choose_rust
step "format" cargo fmt --all --check
step "format, tools" cargo fmt --check --manifest-path tools/bindgen/Cargo.toml
step "clippy, native" cargo clippy --quiet --workspace --all-targets -- -D warnings
step "compile, native" cargo test --quiet --workspace --no-run
step "tests, native" native_tests
step "clippy, browser build" wasm_clippy
step "browser build and TypeScript" bash scripts/build.sh
step "tests, browser" browser_tests
finish

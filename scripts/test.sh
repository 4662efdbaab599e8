#!/usr/bin/env bash
# `npm test`: sets up what is missing and runs every check and test, stopping at the first that fails.
# The last line counts the tests: "N passed, N failed". What takes longer than that is in test-long.sh.
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
  slowest
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

# The ten slowest: test programs of cargo ("finished in 2.31s"), tests of node ("✔ name (2310.5ms)").
slowest() {
  echo "=== the slowest"
  sed 's/\x1b\[[0-9;]*m//g' "$logs"/* | awk '
    /^ *Running / { program = $0; sub(/^ *Running (unittests )?/, "", program); sub(/ \(.*/, "", program) }
    /^test result:.*finished in/ { seconds = $NF; sub("s$", "", seconds); printf "%8.1f s  %s\n", seconds, program }
    /^✔ .*\([0-9.]+ms\)$/ { ms = $NF; gsub(/[(ms)]/, "", ms); name = $0; sub(/^✔ /, "", name); sub(/ \([0-9.]+ms\)$/, "", name); printf "%8.1f s  %s\n", ms / 1000, name }
  ' | sort -rn | head -n 10
}

native_tests() {
  # Vulkan in software, so that every machine runs the same tests; set VK_ICD_FILENAMES to run them on another driver.
  export VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-$(compgen -G '/usr/share/vulkan/icd.d/lvp_icd.*.json' | head -n1)}
  # Mesa spends most of these tests' time on optimising kernels that run for milliseconds: less than half without.
  GALLIVM_PERF=${GALLIVM_PERF:-nopt} cargo test --workspace
}

wasm_clippy() {
  wasm_cargo clippy --quiet --lib --package mobilemoe-web --no-default-features -- -D warnings &&
    wasm_cargo clippy --quiet --lib --package mobilemoe-constrain -- -D warnings
}

browser_tests() {
  # One browser at a time: SwiftShader takes every core.
  node --test --test-reporter=spec --test-concurrency=1 tests/browser/*.test.mjs
}

runtime_tests() {
  node --test --test-reporter=spec --test-concurrency=1 tests/runtimes/*.test.mjs
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
step "tests, runtimes" runtime_tests
finish

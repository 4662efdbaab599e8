#!/usr/bin/env bash
# Builds the WASM modules into pkg/wasm/: compiled, then given their JavaScript glue. Does nothing when up to date.
# No wasm-opt: measured on the engine, -Os takes a minute and makes the brotli transfer 4% larger (raw 8% smaller).
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

out=pkg/wasm
# On a terminal cargo shows how far it is: the first build takes minutes.
quiet=$([ -t 2 ] || echo --quiet)

# module NAME ARGUMENTS...: the crate whose library is NAME, built with these arguments.
module() {
  local name=$1 compiled inputs
  shift
  wasm_cargo build $quiet --profile web --lib "$@"
  compiled=${CARGO_TARGET_DIR:-target}/$WASM_TARGET/web/$name.wasm
  inputs=$(cat "$compiled" "$BINDGEN" | sha256sum)
  if [ -f "$out/.$name" ] && [ "$(cat "$out/.$name")" = "$inputs" ]; then return; fi
  rm -f "$out/.$name" "$out/$name".* "$out/${name}_bg".*
  "$BINDGEN" "$compiled" $out
  echo "$inputs" >"$out/.$name"
  echo "${name}_bg.wasm: $(stat -c %s "$out/${name}_bg.wasm") bytes"
}

module mobilemoe_web --package mobilemoe-web --no-default-features
module mobilemoe_constrain --package mobilemoe-constrain

#!/usr/bin/env bash
# Builds the crate for the browser into pkg/wasm/: compiled, then given its JavaScript glue. Does nothing when up to
# date. No wasm-opt: measured on this crate, -Os takes a minute and makes the brotli transfer 4% larger (raw 8% smaller).
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

wasm_cargo build --quiet --profile web --lib --no-default-features
compiled=${CARGO_TARGET_DIR:-target}/$WASM_TARGET/web/mobilemoe_web.wasm

out=pkg/wasm
stamp=$out/.built-from
inputs=$(cat "$compiled" "$BINDGEN" | sha256sum)
if [ -f $stamp ] && [ "$(cat $stamp)" = "$inputs" ]; then exit 0; fi

rm -rf $out
"$BINDGEN" "$compiled" $out
echo "$inputs" >$stamp

node --input-type=module - $out/mobilemoe_web_bg.wasm <<'JS'
import { readFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';
const wasm = readFileSync(process.argv[2]);
const kB = (bytes) => `${(bytes.length / 1000).toFixed(1)} kB`;
console.log(`mobilemoe_web_bg.wasm: ${kB(wasm)} raw, ${kB(gzipSync(wasm, { level: 9 }))} gzip, ${kB(brotliCompressSync(wasm))} brotli`);
JS

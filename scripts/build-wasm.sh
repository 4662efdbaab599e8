#!/usr/bin/env bash
# Builds the crate for the browser into pkg/wasm/: compiled, given its JavaScript glue, shrunk. Does nothing when up to date.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

wasm_cargo build --quiet --profile web --lib --no-default-features
compiled=${CARGO_TARGET_DIR:-target}/$WASM_TARGET/web/mobilemoe_web.wasm

out=pkg/wasm
stamp=$out/.built-from
inputs=$(cat "$compiled" "$BINDGEN" package-lock.json scripts/build-wasm.sh | sha256sum)
if [ -f $stamp ] && [ "$(cat $stamp)" = "$inputs" ]; then exit 0; fi

rm -rf $out
"$BINDGEN" "$compiled" $out
# Features by name: with --all-features, browsers refuse what comes out.
node_modules/.bin/wasm-opt -Os $out/mobilemoe_web_bg.wasm -o $out/mobilemoe_web_bg.wasm \
  --enable-simd --enable-bulk-memory --enable-bulk-memory-opt --enable-nontrapping-float-to-int --enable-sign-ext \
  --enable-mutable-globals --enable-reference-types --enable-multivalue --enable-extended-const
echo "$inputs" >$stamp

node --input-type=module - $out/mobilemoe_web_bg.wasm <<'JS'
import { readFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';
const wasm = readFileSync(process.argv[2]);
const kB = (bytes) => `${(bytes.length / 1000).toFixed(1)} kB`;
console.log(`mobilemoe_web_bg.wasm: ${kB(wasm)} raw, ${kB(gzipSync(wasm, { level: 9 }))} gzip, ${kB(brotliCompressSync(wasm))} brotli`);
JS

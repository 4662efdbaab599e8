# Sourced by the other scripts: where the tools live, and which Rust builds what.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

# Tools are kept outside the checkout, by what they are made of: a fresh clone does not build them again.
CACHE=${MOBILEMOE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mobilemoe-web}
BINDGEN_VERSION=$(sed -n 's/^wasm-bindgen-cli-support = "=\(.*\)"$/\1/p' tools/bindgen/Cargo.toml)
BINDGEN_HOME=$CACHE/bindgen-$BINDGEN_VERSION-$(cat tools/bindgen/{Cargo.toml,Cargo.lock,src/main.rs} | sha256sum | head -c 8)
BINDGEN=$BINDGEN_HOME/bin/bindgen

MIN_RUST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
WASM_TARGET=wasm32-unknown-unknown
DEBIAN_RUST_SOURCE=/usr/lib/rustlib/src/rust/library/Cargo.toml

die() { echo "error: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

# is_recent RUSTC: is this compiler there and new enough?
is_recent() {
  local version
  version=$("$1" --version 2>/dev/null | cut -d' ' -f2) && [ -n "$version" ] || return 1
  [ "$(printf '%s\n' "$MIN_RUST" "$version" | sort -V | head -n1)" = "$MIN_RUST" ]
}

# Without a recent Rust on PATH, Debian's own (rustc-web, cargo-web: the compiler its browsers are built with) builds everything.
choose_rust() {
  if have cargo && is_recent rustc && [ "$(command -v rustc)" != /usr/bin/rustc ]; then
    RUST=own
  else
    RUST=debian
    PATH=/usr/bin:$PATH
  fi
  # With RUSTC or a wrapper set, cargo would not use the compiler that was just looked at.
  unset RUSTC RUSTDOC
}

# Can the compiler on PATH build this crate for the browser as it is?
has_wasm_target() {
  local libraries
  is_recent rustc || return 1
  libraries=$(rustc --print target-libdir --target "$WASM_TARGET" 2>/dev/null) && [ -d "$libraries" ]
}

# Debian ships no compiled standard library for wasm32-unknown-unknown, but its source: cargo builds that too.
has_debian_wasm() {
  is_recent /usr/bin/rustc && [ -x /usr/bin/cargo ] && [ -f "$DEBIAN_RUST_SOURCE" ] && have wasm-ld-19
}

# wasm_cargo SUBCOMMAND ARGUMENTS...: cargo for the browser target, by the compiler on PATH or else by Debian's.
wasm_cargo() {
  local subcommand=$1
  shift
  if has_wasm_target; then
    cargo "$subcommand" --target "$WASM_TARGET" "$@"
  else
    PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
      /usr/bin/cargo "$subcommand" --target "$WASM_TARGET" -Zbuild-std=std,panic_abort "$@"
  fi
}

choose_rust

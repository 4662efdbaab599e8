#!/usr/bin/env bash
# setup.sh demo|test: installs what is missing to build and serve the demo, or to run every test; silent if nothing is.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

purpose=${1:-}
[[ $purpose = demo || $purpose = test ]] || die "usage: scripts/setup.sh demo|test"

say() { echo "setup: $*"; }

packages=() # Debian's, to be installed
optional=() # likewise, but without them some tests are skipped, by name

# --- Rust: from rustup where it is in charge, else from Debian ---

beside_rustc() { [ -x "$(rustc --print sysroot)/bin/$1" ]; }

if [ $RUST = debian ]; then
  is_recent /usr/bin/rustc && [ -x /usr/bin/cargo ] || packages+=(rustc-web cargo-web)
  [ $purpose = demo ] || [ -x /usr/bin/cargo-fmt ] || packages+=(rustfmt-web)
  [ $purpose = demo ] || [ -x /usr/bin/cargo-clippy ] || packages+=(rust-web-clippy)
else
  if [ $purpose = test ] && ! { beside_rustc cargo-fmt && beside_rustc cargo-clippy; }; then
    have rustup || die "rustfmt or clippy is missing beside $(command -v rustc)"
    say "rustfmt and clippy"
    rustup component add rustfmt clippy
  fi
  if ! has_wasm_target && ! has_debian_wasm && have rustup; then
    say "the Rust target $WASM_TARGET"
    rustup target add "$WASM_TARGET" || say "rustup could not add it: Debian's compiler takes over for the browser build"
  fi
fi
if ! has_wasm_target; then
  has_debian_wasm || packages+=(rustc-web cargo-web rust-web-src lld-19)
  [ $purpose = demo ] || [ -x /usr/bin/cargo-clippy ] || packages+=(rust-web-clippy)
fi

# --- what else Debian's packages bring ---

have cc || packages+=(gcc libc6-dev)
if [ $purpose = test ]; then
  [ -n "${CHROMIUM:-}" ] || have chromium || packages+=(chromium)
  # A software Vulkan driver (lavapipe): the kernels' native tests need no GPU.
  compgen -G '/usr/share/vulkan/icd.d/lvp_icd.*.json' >/dev/null || packages+=(mesa-vulkan-drivers)
  [ -n "${FIREFOX:-}" ] || have firefox-esr || optional+=(firefox-esr)
fi

may_be_root() { [ "$(id -u)" = 0 ] || have sudo; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
apt_install() {
  say "Debian packages: $*"
  as_root apt-get -qq update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >/dev/null
}

if [ ${#packages[@]} -gt 0 ]; then
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  have apt-get || die "missing, to be installed by hand where there is no apt-get: ${packages[*]}"
  may_be_root || die "missing Debian packages: ${packages[*]}. Install them as root, or install sudo, and run this again"
  apt_install "${packages[@]}"
  choose_rust
  has_wasm_target || has_debian_wasm || die "no Rust here can build for $WASM_TARGET (rustc $(rustc --version 2>&1))"
fi
if [ ${#optional[@]} -gt 0 ]; then
  have apt-get && may_be_root && apt_install "${optional[@]}" || say "${optional[*]} cannot be installed: its tests will be skipped"
fi

# --- npm packages, and the one tool built here ---

have node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || die "Node 20 or newer is needed"
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  say "npm packages"
  npm ci --silent
fi

locked=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
[ "$locked" = "$BINDGEN_VERSION" ] ||
  die "Cargo.lock has wasm-bindgen $locked, tools/bindgen has $BINDGEN_VERSION: they must be equal"
if [ ! -x "$BINDGEN" ]; then
  say "wasm-bindgen $BINDGEN_VERSION (about a minute and a half, once)"
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  CARGO_TARGET_DIR=$build cargo install --quiet --locked --path tools/bindgen --root "$BINDGEN_HOME"
fi

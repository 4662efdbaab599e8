#!/usr/bin/env bash
# `npm run test:long`: what `npm test` leaves out because it takes long. Run it before a release, and
# after changes to kernels. `npm test` must have run here before: it sets up and builds what this needs.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

export MOBILEMOE_PARITY=full
export VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-$(compgen -G '/usr/share/vulkan/icd.d/lvp_icd.*.json' | head -n1)}

step() {
  echo "=== $1"
  shift
  "$@"
}

step "every form of every kernel" cargo test --lib -- kernels:: model::
step "every prompt, every way, in every form" cargo test --test parity -- --nocapture
step "what INT8 and f16 cost on held-out text" cargo test --test precision -- --include-ignored --nocapture
step "every prompt in Chromium" node --test tests/browser/parity.test.mjs
step "1,000 damages, 200 broken downloads, 20 quotas" env MOBILEMOE_STORE=full node --test tests/browser/store.test.mjs

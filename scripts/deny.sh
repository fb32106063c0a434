#!/usr/bin/env bash
# cargo-deny over deny.toml. Licences, bans and sources need nothing from outside; advisories need their database.
set -euo pipefail

version=0.20.2
cd "$(dirname "$0")/.."
tools=${CARGO_TARGET_DIR:-target}/tools
export PATH="$PATH:$PWD/target/tools/bin:${CARGO_HOME:-$HOME/.cargo}/bin"
[ -z "${CARGO_TARGET_DIR:-}" ] || PATH="$PATH:$CARGO_TARGET_DIR/tools/bin"

if ! command -v cargo-deny >/dev/null; then
    echo "cargo-deny: building $version once, into $tools (about two minutes)" >&2
    # Unoptimised: it runs for three seconds, and an optimised build would take longer than all it saves.
    cargo install --locked --quiet --debug cargo-deny --version "$version" --root "$tools" --target-dir "$tools/build"
    rm -rf "$tools/build"
fi

cargo deny --locked check bans licenses sources

export GIT_TERMINAL_PROMPT=0
if fetched=$(timeout 120 cargo deny --locked fetch db 2>&1); then
    cargo deny --locked check --disable-fetch advisories
else
    echo "advisories skipped: their database cannot be reached: $(grep -v '^$' <<<"$fetched" | tail -n 1)"
fi

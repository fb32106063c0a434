#!/usr/bin/env bash
# Prints where moto is, an S3 server that keeps versions, tags and access lists, for tests that need one, as a line that a shell can
# evaluate:
#   LIFEBOAT_TEST_MOTO='/.../moto'
# It is fetched once from PyPI (checked against the digests in tests/support/moto.txt) into target/; nothing is installed. Where it cannot be
# had, one line on standard error says why, and the exit status is 1.
set -euo pipefail

cd "$(dirname "$0")/.."
home=${CARGO_TARGET_DIR:-$PWD/target}/stores
mkdir -p "$home"
home=$(cd "$home" && pwd)
place=$home/moto-$(sha256sum tests/support/moto.txt | head -c 16)

if [ ! -d "$place" ]; then
    work=$(mktemp -d "$home/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    if ! python3 -m pip --quiet --disable-pip-version-check --no-input install --no-deps --only-binary=:all: --require-hashes \
        --target "$work/moto" --requirement tests/support/moto.txt >"$work/log" 2>&1 ||
        ! PYTHONPATH=$work/moto python3 -c 'import moto.server' >>"$work/log" 2>&1; then
        echo "lifeboat: no S3 server with versions (moto) for the tests: $(tail -n 1 "$work/log")" >&2
        exit 1
    fi
    # Another run may have been faster; its result is the same.
    mv -T "$work/moto" "$place" 2>/dev/null || [ -d "$place" ]
fi
printf "LIFEBOAT_TEST_MOTO='%s'\n" "${place//\'/\'\\\'\'}"

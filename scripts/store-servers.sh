#!/usr/bin/env bash
# Prints where servers of other stores than S3 are, for tests that need them, as lines that a shell can evaluate:
#   LIFEBOAT_TEST_SSHD='/.../bin/sshd'
# Each is a program. `sshd` and `rclone` (WebDAV) come from Debian (apt checks the signatures), the emulator of Google's store from
# PyPI (checked against the digests below), azurite, which is Azure's own, from npm (it and what it needs as they were on a day). They
# are fetched once and unpacked under target/; nothing is installed. What cannot be had is missing from the output and gets one line
# on standard error; the exit status is then 1.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/fetch.sh
. scripts/fetch.sh
fetch_into store-servers

# Writes the program `$1`, which runs the rest of the line; `$all` is the folder that everything was unpacked into.
program() {
    mkdir -p "$work/unpacked/bin"
    printf '#!/bin/sh\nall=${0%%/*}/..\n%s\n' "$2" >"$work/unpacked/bin/$1"
    chmod a+x "$work/unpacked/bin/$1"
}

# With every library that it needs beside those of every machine.
fetch_sshd() {
    begin
    extract_debian bookworm openssh-server libaudit1 libcap-ng0 libcap2 libcom-err2 libcrypt1 libgcrypt20 libgpg-error0 libgssapi-krb5-2 \
        libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 liblz4-1 liblzma5 libnsl2 libpam0g libpcre2-8-0 libselinux1 libssl3 \
        libsystemd0 libtirpc3 libwrap0 libzstd1 zlib1g || return 1
    program sshd 'all=$(cd "$all" && pwd)
for folder in "$all"/root/usr/lib/*-linux-gnu*; do libraries=$folder:$all/root/lib/${folder##*/}; done
LD_LIBRARY_PATH=$libraries exec "$all/root/usr/sbin/sshd" "$@"'
    # It has no option that does nothing.
    "$work/unpacked/bin/sshd" -? >"$work/log" 2>&1 || true
    grep -q OpenSSH "$work/log" || { tail -n 1 "$work/log"; return 1; }
    keep "$work/unpacked" "$1"
}

fetch_rclone() {
    begin
    extract_debian bookworm rclone || return 1
    program rclone 'exec "$all/root/usr/bin/rclone" "$@"'
    "$work/unpacked/bin/rclone" version >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
    keep "$work/unpacked" "$1"
}

# Azure's own emulator.
fetch_azurite() {
    command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are not installed"; return 1; }
    begin
    # What it depends on is not pinned by it; the day is.
    npm install --prefix "$work/unpacked" --before=2026-10-01 --ignore-scripts --no-audit --no-fund --loglevel=error \
        azurite@3.35.0 >"$work/log" 2>&1 || { grep -m 1 'ERR!\|error' "$work/log" || tail -n 1 "$work/log"; return 1; }
    program azurite-blob 'exec node "$all/node_modules/azurite/dist/src/blob/main.js" "$@"'
    "$work/unpacked/bin/azurite-blob" --version >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
    keep "$work/unpacked" "$1"
}

fetch_google() {
    local python
    python3 -m pip --version >/dev/null 2>&1 || { echo "pip is not installed"; return 1; }
    begin
    cat >"$work/requirements.txt" <<'PACKAGES'
gcp-storage-emulator==2026.7.19 --hash=sha256:b60145057fdfa7751259f68758c3a1df919f4bf6fad21dd2fa2559b3f6273241
google-crc32c==1.8.0 \
    --hash=sha256:6f35aaffc8ccd81ba3162443fabb920e65b1f20ab1952a31b13173a67811467d \
    --hash=sha256:864abafe7d6e2c4c66395c1eb0fe12dc891879769b52a3d56499612ca93b6092 \
    --hash=sha256:19b40d637a54cb71e0829179f6cb41835f0fbd9e8eb60552152a8b52c36cbe15 \
    --hash=sha256:17446feb05abddc187e5441a45971b8394ea4c1b6efd88ab0af393fd9e0a156a \
    --hash=sha256:14f87e04d613dfa218d6135e81b78272c3b904e2a7053b841481b38a7d901411 \
    --hash=sha256:cb5c869c2923d56cb0c8e6bcdd73c009c36ae39b652dbe46a05eb4ef0ad01454 \
    --hash=sha256:3b9776774b24ba76831609ffbabce8cdf6fa2bd5e9df37b594221c7e333a81fa \
    --hash=sha256:89c17d53d75562edfff86679244830599ee0a48efc216200691de8b02ab6b2b8
PACKAGES
    python3 -m pip --quiet --disable-pip-version-check --no-input install --no-deps --only-binary=:all: --require-hashes \
        --no-compile --target "$work/unpacked/lib" --requirement "$work/requirements.txt" >"$work/log" 2>&1 ||
        { tail -n 1 "$work/log"; return 1; }
    # One of them is built for this very Python.
    python=$(python3 -c 'import sys; print(sys.executable)')
    program gcp-storage-emulator "PYTHONPATH=\$all/lib PYTHONDONTWRITEBYTECODE=1 exec '$python' -m gcp_storage_emulator \"\$@\""
    "$work/unpacked/bin/gcp-storage-emulator" --help >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
    keep "$work/unpacked" "$1"
}

status=0
# Prints the line of `$1` (`SSHD`), which is the program `$2` of the folder `$3`, which `$4` fetches unless it is there.
tell() {
    local name=$1 program=$2 place=$home/$3 why open=$home/$3
    if [ ! -d "$place" ] && ! why=$("$4" "$place"); then
        echo "lifeboat: no $program for the tests: ${why:-it could not be fetched}" >&2
        status=1
        return
    fi
    # Only `sshd` is run by the account of servers: as root it wants more of a machine.
    if [ "$program" = sshd ] && ! open=$(reachable "$place" stores); then
        echo "lifeboat: no $program for the tests: $open" >&2
        status=1
        return
    fi
    printf "LIFEBOAT_TEST_%s='%s'\n" "$name" "${open//\'/\'\\\'\'}/bin/$program"
}

tell SSHD sshd sshd fetch_sshd
tell RCLONE rclone rclone fetch_rclone
tell AZURITE azurite-blob azurite fetch_azurite
tell GOOGLE gcp-storage-emulator google fetch_google
exit $status

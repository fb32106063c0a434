# shellcheck shell=bash
# What the scripts share that fetch programs for the tests: a folder for one download, and a place where what was unpacked stays.
# Sourced, with `home` set to the folder that holds both.

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
# platform `$2`, whatever Python is here. What cannot be had is told on standard output.
download_wheels() {
    python3 -m pip --version >/dev/null 2>&1 || { echo "pip is not installed"; return 1; }
    python3 -m pip --quiet --disable-pip-version-check --no-input download --no-deps --only-binary=:all: --require-hashes \
        --python-version "$1" --implementation cp --abi "cp${1/./}" --platform "$2" \
        --dest "$work" --requirement "$work/requirements.txt" >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
}

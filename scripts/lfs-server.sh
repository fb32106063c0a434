#!/usr/bin/env bash
# Prints where a server of large objects for git-lfs is, for tests that need one, as a line that a shell can evaluate:
#   LIFEBOAT_TEST_LFS_SERVER='/.../giftless'
# The folder holds Python packages: giftless, which speaks the batch API and keeps objects in a folder, and what it imports. They are
# fetched once, checked against the digests below and unpacked under target/; nothing is installed. Where they cannot be had, one line
# on standard error says why, and the exit status is 1.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/fetch.sh
. scripts/fetch.sh
fetch_into lfs

fetch() {
    begin
    cat >"$work/requirements.txt" <<'REQ'
blinker==1.9.0 --hash=sha256:ba0efaa9080b619ff2f3459d1d500c57bddea4a6b424b60a91141db6fd2f08bc
click==8.5.1 --hash=sha256:8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37
figcan==0.0.4 --hash=sha256:c41169803f9885b614fba674a564c7085495c8ed38fff55949362d9f08f48a9f
flask==3.1.3 --hash=sha256:f4bcbefc124291925f1a26446da31a5178f9483862233b23c0c96a20701f670c
flask-classful==0.16.0 --hash=sha256:4a2f9020588caf62ee0662e98b02503a99b2422ed29e9832c85f143f652e6ed1
flask-marshmallow==1.5.0 --hash=sha256:99951c77e5654111ed733811c6dc9310bfb4c3688c78a9e76f80b5ae0b2279a6
giftless==0.6.2 --hash=sha256:e649e01d6286aae2a45680c78c0ade412bbc51a3bea5363dcd96af80124f25ab
itsdangerous==2.2.0 --hash=sha256:c6242fc49e35958c8b15141343aa660db5fc54d4f13a1db01a3f5891b98700ef
jinja2==3.1.6 --hash=sha256:85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67
markupsafe==3.0.4 --hash=sha256:6da83a088f8ef93b2d483a8232a4dbf4d69d3d8496b568a03c56becac43e1808
marshmallow==4.4.0 --hash=sha256:03a882ff2eabb9a4e24b433c2949f359ef4d172a12fdc14cde10375fd55328b4
packaging==26.3 --hash=sha256:d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c
pyjwt==2.15.1 --hash=sha256:42d59d631f7768a1028a64c7ff581a9bf7519804daf91fc5b6c56e30eec5e193
python-dateutil==4.0.0 --hash=sha256:a5e246f79eb80475e691bf93862cead98decd8a498cf53ba0516fcdc0f50dc1c
python-dotenv==1.2.4 --hash=sha256:42269a8a5b3fd54ffa6f3d84b18abed50064717576b4ecf03dc4a55d8aa04fdc
pyyaml==6.0.3 --hash=sha256:b8bb0864c5a28024fac8a632c443c87c5aa6f215c0b126c449ae1a150412f31d
typing-extensions==4.16.0 --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
webargs==8.7.1 --hash=sha256:a184aed9d2509e6e14ab99ee3e9dc3a614c7070affe94cd4dfdb0d002e0a6e5f
werkzeug==3.1.9 --hash=sha256:6392e50c78460ba618e5b21f08a71f59c99ce99cdc6cf6e3dd7e6ccca8754fab
REQ
    download_wheels 3.11 manylinux2014_x86_64 || return 1
    for wheel in "$work"/*.whl; do
        # What two of them hold in a compiled form, they also hold as Python: any release of it runs them.
        python3 -m zipfile -e "$wheel" "$work/unpacked" || return 1
    done
    PYTHONPATH=$work/unpacked python3 -c 'import giftless.app, giftless.auth.jwt' >"$work/log" 2>&1 || { tail -n 1 "$work/log"; return 1; }
    keep "$work/unpacked" "$1"
}

place=$home/giftless-0.6.2
if [ ! -d "$place" ] && ! why=$(fetch "$place"); then
    echo "lifeboat: no server of large objects for the tests: ${why:-it could not be fetched}" >&2
    exit 1
fi
printf "LIFEBOAT_TEST_LFS_SERVER='%s'\n" "${place//\'/\'\\\'\'}"

#!/bin/sh
# koco's main job, from nothing to a result: run it with `make demo`.
# Everything lives in a temporary directory, with a Ray of its own, and is gone afterwards.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# Short: Ray puts sockets in there, whose paths may have 107 characters.
work=$(mktemp -d /tmp/koco-demo.XXXXXX)
export KOCO_HOME="$work/home" RAY_TMPDIR="$work" RAY_AUTH_TOKEN_PATH="$work/token"
unset KOCO_CONTEXT KOCO_URL KOCO_KEY RAY_ADDRESS
PATH="$root/.venv/bin:$PATH"

finish() {
    koco down || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

cd "$work"
step koco up
step koco init hello --template hello
step cd hello
step koco deploy
step koco run greet -i who=Ada -f
step koco ps -a
step koco result latest
echo

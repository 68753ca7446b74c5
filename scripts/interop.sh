#!/bin/sh
# What others wrote, for the tests that hold ours against it: the reference libraries of Standard Webhooks, the CloudEvents
# SDKs and clients of Server-Sent Events, for Python and JavaScript, each in a pinned version.
#
#   scripts/interop.sh install   both, into target/interop, once
#   scripts/interop.sh python    installs what is for Python and prints its interpreter
#   scripts/interop.sh node      installs what is for JavaScript and prints the folder of its modules
#
# Without python3 or node it says so: `install` goes on without it, the others fail with code 3. With
# HUB_INTEROP_REQUIRED=1 `install` fails, too.
set -eu

SOURCE="$(cd "$(dirname "$0")/.." && pwd)/tests/interop"
mkdir -p "${CARGO_TARGET_DIR:-target}/interop"
HOME_DIRECTORY="$(cd "${CARGO_TARGET_DIR:-target}/interop" && pwd)"
# How many seconds to wait for another run that installs the same.
LOCK_LIMIT=300
MISSING=3

say() { printf 'interop: %s\n' "$*" >&2; }

# Tests that run beside each other may ask at the same moment.
lock() {
    waited=0
    until mkdir "$HOME_DIRECTORY/lock" 2>/dev/null; do
        waited=$((waited + 1))
        if [ "$waited" -gt "$LOCK_LIMIT" ]; then
            say "another run has been installing for $LOCK_LIMIT s; if there is none, remove $HOME_DIRECTORY/lock"
            exit 1
        fi
        sleep 1
    done
    trap 'rmdir "$HOME_DIRECTORY/lock"' EXIT
    trap 'exit 130' INT TERM
}

unlock() {
    rmdir "$HOME_DIRECTORY/lock"
    trap - EXIT INT TERM
}

python() {
    wanted="$SOURCE/python/requirements.txt"
    home="$HOME_DIRECTORY/python"
    if ! cmp -s "$wanted" "$home/installed.txt"; then
        if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            say "there is no python3 of version 3.10 or newer with venv"
            return $MISSING
        fi
        lock
        if ! cmp -s "$wanted" "$home/installed.txt"; then
            say "installs the Python libraries into $home"
            python3 -m venv --clear "$home"
            "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >&2
            cp "$wanted" "$home/installed.txt"
        fi
        unlock
    fi
    echo "$home/bin/python"
}

node() {
    wanted="$SOURCE/node/package-lock.json"
    home="$HOME_DIRECTORY/node"
    if ! cmp -s "$wanted" "$home/installed.json"; then
        if ! command -v npm >/dev/null 2>&1 || ! command node -e 'process.exit(Number(process.versions.node.split(".")[0] < 20))'; then
            say "there is no node of version 20 or newer with npm"
            return $MISSING
        fi
        lock
        if ! cmp -s "$wanted" "$home/installed.json"; then
            say "installs the JavaScript libraries into $home"
            mkdir -p "$home"
            cp "$SOURCE/node/package.json" "$wanted" "$home/"
            (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
            cp "$wanted" "$home/installed.json"
        fi
        unlock
    fi
    echo "$home/node_modules"
}

# With `set -e` nothing inside would end a function that is part of a condition, so each runs in a shell of its own.
one() {
    code=0
    "$0" "$1" >/dev/null || code=$?
    if [ "$code" = $MISSING ] && [ -z "${HUB_INTEROP_REQUIRED:-}" ]; then
        say "the tests with $1 are skipped"
    elif [ "$code" != 0 ]; then
        exit "$code"
    fi
}

case "${1:-}" in
    install) one python && one node ;;
    python) python ;;
    node) node ;;
    *) sed -n '2,10p' "$0" && exit 2 ;;
esac

#!/bin/sh
# Holds the AsyncAPI document and the published schemas of event types against what others wrote: the official JSON Schema of
# AsyncAPI, and a validator of JSON Schema.
#
#   scripts/asyncapi.sh install                  into target/interop/asyncapi, once
#   scripts/asyncapi.sh check DOCUMENT FOLDER    the document, and the folder of the published schemas
#
# Without node it says so and does nothing; with HUB_INTEROP_REQUIRED=1 it fails.
set -eu

# Its packages, each in a pinned version.
SOURCE="$(cd "$(dirname "$0")/.." && pwd)/tests/interop/asyncapi"
HOME_DIRECTORY="${CARGO_TARGET_DIR:-target}/interop/asyncapi"
# How many seconds a check may take.
LIMIT=60

say() { printf 'asyncapi: %s\n' "$*" >&2; }

if ! command -v npm >/dev/null 2>&1 || ! node -e 'process.exit(Number(process.versions.node.split(".")[0] < 20))'; then
    say "skipped: there is no node of version 20 or newer with npm"
    [ -z "${HUB_INTEROP_REQUIRED:-}" ] && exit 0 || exit 1
fi

# Into a folder of its own first, so that runs beside each other never see half of it.
install() {
    if cmp -s "$SOURCE/package-lock.json" "$HOME_DIRECTORY/package-lock.json"; then return; fi
    mkdir -p "$(dirname "$HOME_DIRECTORY")"
    work=$(mktemp -d "$HOME_DIRECTORY.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "installs the schema of AsyncAPI and a validator into $HOME_DIRECTORY"
    cp "$SOURCE/package.json" "$SOURCE/package-lock.json" "$work/"
    (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    rm -rf "$HOME_DIRECTORY"
    mv -T "$work" "$HOME_DIRECTORY" 2>/dev/null || cmp -s "$SOURCE/package-lock.json" "$HOME_DIRECTORY/package-lock.json"
}

check() {
    # A module looks for others beside itself.
    cp "$SOURCE/check.js" "$HOME_DIRECTORY/check.js"
    timeout "$LIMIT" node "$HOME_DIRECTORY/check.js" "$1" "$2"
}

case "${1:-}" in
    install) install ;;
    check) install && check "$2" "$3" ;;
    *) sed -n '2,8p' "$0" && exit 2 ;;
esac

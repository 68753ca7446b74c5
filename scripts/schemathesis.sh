#!/bin/sh
# Runs schemathesis, which makes requests up from the API's own document and looks whether the answers are what the document says.
#
#   scripts/schemathesis.sh install             into target/schemathesis, once
#   scripts/schemathesis.sh run URL TENANT_ID   the key of an administrator is in HUB_KEY
#
# Without python3 it says so and does nothing.
set -eu

# Its version, and those of all that it needs.
PINNED="$(dirname "$0")/schemathesis.txt"
HOME_DIRECTORY="${CARGO_TARGET_DIR:-target}/schemathesis"
# So many made-up requests for each operation, beside those with the examples of the document.
EXAMPLES_MAX="${HUB_SCHEMATHESIS_EXAMPLES:-2}"
# It takes some 60 s, and on a machine that runs other tests beside it no more than this.
LIMIT=240

say() { printf 'schemathesis: %s\n' "$*"; }

if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
    say "skipped: there is no python3 of version 3.10 or newer with venv"
    exit 0
fi

install() {
    if cmp -s "$PINNED" "$HOME_DIRECTORY/installed.txt"; then return; fi
    say "installs $(grep '^schemathesis==' "$PINNED") into $HOME_DIRECTORY"
    python3 -m venv --clear "$HOME_DIRECTORY"
    "$HOME_DIRECTORY/bin/pip" install --quiet --disable-pip-version-check --requirement "$PINNED"
    cp "$PINNED" "$HOME_DIRECTORY/installed.txt"
}

run() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # A tenant that is there, so that commands come as far as their own rules.
    printf '[parameters]\n"path.tenant_id" = "%s"\n' "$2" >"$work/schemathesis.toml"
    # One worker: with several threads some versions of Python 3.11 fail while they compile (SystemError, AST constructor).
    # A stream has no end that a client could wait for, and an archived tenant would leave the others nothing to do.
    program=$(cd "$HOME_DIRECTORY" && pwd)/bin/schemathesis
    # It leaves files where it runs.
    cd "$work"
    timeout "$LIMIT" "$program" --config-file "$work/schemathesis.toml" run "$1/openapi.json" \
        --header "Authorization: Bearer $HUB_KEY" \
        --exclude-path-regex '/events/stream$' --exclude-operation-id archiveTenant \
        --phases examples,fuzzing --max-examples "$EXAMPLES_MAX" --seed 1 --workers 1 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
        --continue-on-failure --request-timeout 40 --no-shrink --generation-database none --no-color
}

case "${1:-}" in
    install) install ;;
    run) install && run "$2" "$3" ;;
    *) sed -n '2,6p' "$0" && exit 2 ;;
esac

#!/bin/sh
# Installs what hub starts and cargo needs, when it is missing: PostgreSQL, nats-server and a C compiler.
#
# Everything comes from the packages of the system. hub starts servers of its own, so the ones that the packages would
# start are kept from starting, now and at boot, and no database cluster is made. Runs at once when nothing is missing.
set -eu

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

has_postgres() {
    if [ -n "${HUB_POSTGRES_BIN:-}" ]; then [ -x "$HUB_POSTGRES_BIN/postgres" ]; return; fi
    for directory in /usr/lib/postgresql/*/bin /usr/local/lib/postgresql/*/bin /opt/postgresql/*/bin; do
        if [ -x "$directory/postgres" ] && [ -x "$directory/initdb" ]; then return 0; fi
    done
    have postgres && have initdb
}

has_nats() {
    if [ -n "${HUB_NATS_SERVER:-}" ]; then [ -x "$HUB_NATS_SERVER" ]; return; fi
    # /usr/sbin is not in the PATH of everybody.
    have nats-server || [ -x /usr/sbin/nats-server ] || [ -x /usr/local/sbin/nats-server ]
}

missing() {
    has_postgres || echo postgres
    has_nats || echo nats
    have cc || echo compiler
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else fail "this needs root, and there is no sudo: run as root: $*"
    fi
}

# Debian and its kin. Two files keep the packages from starting anything; both are taken away again.
POLICY=/usr/sbin/policy-rc.d
CLUSTER=/etc/postgresql-common/createcluster.d/service-hub.conf
OUR_POLICY=no

undo() {
    if [ "$OUR_POLICY" = yes ]; then as_root rm -f "$POLICY"; fi
    as_root rm -f "$CLUSTER"
}

with_apt() {
    packages=
    for what in $1; do
        case $what in
            postgres) packages="$packages postgresql" ;;
            nats) packages="$packages nats-server" ;;
            compiler) packages="$packages gcc libc6-dev" ;;
        esac
    done
    say "apt-get installs:$packages (their services are not started: hub runs servers of its own)"
    trap undo EXIT
    trap 'exit 130' INT TERM
    as_root mkdir -p "${CLUSTER%/*}"
    echo 'create_main_cluster = false' | as_root tee "$CLUSTER" >/dev/null
    if [ ! -e "$POLICY" ]; then
        OUR_POLICY=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
    as_root apt-get update -qq || say "apt-get update failed; going on with the package lists that are there"
    # shellcheck disable=SC2086 # The list is meant to be split.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages ||
        fail "apt-get could not install$packages: see its message above"
    case $packages in
        *nats-server*)
            if have systemctl; then as_root systemctl disable --quiet nats-server.service 2>/dev/null || true; fi ;;
    esac
}

with_dnf() {
    for what in $1; do
        case $what in
            postgres) say "dnf installs postgresql-server"; as_root dnf install -y -q postgresql-server ;;
            compiler) say "dnf installs gcc"; as_root dnf install -y -q gcc ;;
            nats) by_hand nats ;;
        esac
    done
}

with_brew() {
    for what in $1; do
        case $what in
            postgres)
                say "brew installs postgresql@17"
                brew install --quiet postgresql@17
                say "set HUB_POSTGRES_BIN=$(brew --prefix)/opt/postgresql@17/bin" ;;
            nats) say "brew installs nats-server"; brew install --quiet nats-server ;;
            compiler) fail "there is no C compiler: run xcode-select --install" ;;
        esac
    done
}

by_hand() {
    case $1 in
        postgres) fail "PostgreSQL is missing: install the server, version 13 or newer, or set HUB_POSTGRES_BIN to the directory of postgres and initdb" ;;
        nats) fail "nats-server is missing and is no package of this system: take it from https://github.com/nats-io/nats-server/releases and put it into the PATH, or set HUB_NATS_SERVER" ;;
        compiler) fail "there is no C compiler (cc), which some libraries need" ;;
    esac
}

have cargo || fail "Rust is missing: https://rustup.rs tells how to install it (the system's own is usually too old)"

wanted=$(missing | tr '\n' ' ')
if [ -z "$wanted" ]; then exit 0; fi

for what in $wanted; do
    case $what in
        postgres) say "PostgreSQL is missing; it keeps the events" ;;
        nats) say "nats-server is missing; it carries the events to those who follow them" ;;
        compiler) say "a C compiler is missing; some libraries are built with it" ;;
    esac
done

if have apt-get; then with_apt "$wanted"
elif have dnf; then with_dnf "$wanted"
elif have brew; then with_brew "$wanted"
else for what in $wanted; do by_hand "$what"; done
fi

for what in $(missing); do by_hand "$what"; done
say "done"

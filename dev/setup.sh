#!/bin/sh
# Installs what building or testing Undertone needs and this machine does not have. Says what and why; does nothing
# when all is there. Argument: build | test.
set -eu

need="${1:-build}"
missing=""

want() { # package, reason, test command
    package=$1 reason=$2
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        missing="$missing $package"
        echo "setup: $package is missing ($reason)"
    fi
}

# A system's own package of it may be too old.
node_is_new() {
    node --eval 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: Rust is missing. Install it from https://rustup.rs and come back." >&2
    exit 1
fi

want make "the front door of this project" command -v make
want cmake "builds libopus, the sound codec" command -v cmake
want pkg-config "finds the ALSA library" command -v pkg-config
want g++ "compiles libopus, SQLite and the cryptography" command -v c++
if [ "$need" = test ]; then
    want python3 "runs the independent auditor of the key directory" command -v python3
    want python3-venv "keeps the auditor's two packages apart from the system's" python3 -c "import venv, ensurepip"
    want nodejs "runs the independent member of MLS groups" node_is_new
    want npm "gets that member's packages, which are kept below target" command -v npm
    want softhsm2 "stands in for hardware tokens in tests" command -v softhsm2-util
fi
if command -v pkg-config >/dev/null 2>&1; then
    want libasound2-dev "microphones and loudspeakers on Linux" pkg-config --exists alsa
else
    missing="$missing libasound2-dev"
fi

if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        sudo=""
        if [ "$(id -u)" -ne 0 ]; then
            if ! command -v sudo >/dev/null 2>&1; then
                echo "setup: as root, run: apt-get install -y$missing" >&2
                exit 1
            fi
            sudo="sudo"
            echo "setup: sudo is needed to install$missing with apt-get; it may ask for your password"
        fi
        # shellcheck disable=SC2086
        $sudo apt-get update -qq </dev/null
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing </dev/null
        echo "setup: installed$missing"
    else
        echo "setup: this system has no apt-get. Install the equivalents of:$missing" >&2
        echo "setup: Fedora: dnf install cmake pkgconf gcc-c++ alsa-lib-devel; Arch: pacman -S cmake pkgconf gcc alsa-lib;" >&2
        echo "setup: macOS: xcode-select --install && brew install cmake pkg-config (no ALSA is needed there)" >&2
        exit 1
    fi
fi

if [ "$need" = test ]; then
    if ! node_is_new 2>/dev/null; then
        echo "setup: Node.js 18 or later is needed, and this system has none. Install it from https://nodejs.org and come back." >&2
        exit 1
    fi
    if ! rustup target list --installed 2>/dev/null | grep -q '^wasm32-unknown-unknown$'; then
        echo "setup: adding the wasm32-unknown-unknown target (the pure crates are checked for browsers)"
        rustup target add wasm32-unknown-unknown
    fi
    for component in clippy rustfmt; do
        if ! rustup component list --installed | grep -q "^$component"; then
            echo "setup: adding $component (the tests check form and lints)"
            rustup component add "$component"
        fi
    done
fi

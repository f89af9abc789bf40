#!/bin/sh
# Installs the programs that the tests judge us by, where they are missing (Debian, as root). They are other
# people's verifiers, tokens and clients; the gateway itself needs none of them.
set -eu

missing=
need() { # need PROGRAM_OR_FILE PACKAGE...
    probe=$1
    shift
    command -v "$probe" >/dev/null 2>&1 || [ -e "$probe" ] || missing="$missing $*"
}
need cc gcc
need curl curl
need openssl openssl
for postgres in /usr/lib/postgresql/*/bin/postgres; do need "$postgres" postgresql; done
need pdftotext poppler-utils
need pdfsig poppler-utils
need /usr/share/poppler/cMap/Adobe-GB1 poppler-data
need certutil libnss3-tools
need qpdf qpdf
need certutil libnss3-tools
need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
need jq jq
need sqlite3 sqlite3
need strace strace
need softhsm2-util softhsm2
need pkcs11-tool opensc
for softokn in /usr/lib/*/libsoftokn3.so; do need "$softokn" libnss3; done
need chromium chromium
need chromedriver chromium-driver
need javac default-jdk-headless
need /usr/share/java/bcprov.jar libbcprov-java
need /usr/share/java/bcpkix.jar libbcpkix-java
need /usr/share/java/bcutil.jar libbcutil-java
python3 -c 'import cryptography' 2>/dev/null || missing="$missing python3 python3-cryptography"

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "the tests need these Debian packages, which only root can install:$missing" >&2
        exit 1
    fi
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -y -qq --no-install-recommends $missing
fi

# Python's own, in an environment apart; made anew when the list changes.
here=$(dirname "$0")
venv=$here/../target/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "installing: what tests/requirements.txt names"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

#!/bin/sh
# Calls the gateway with a signed request, by curl and OpenSSL 3.
#
#   signed-request.sh APP KEY.pem METHOD URL [BODY-FILE]
#
# KEY.pem is the private key (SM2 or P-256) whose public half the gateway has as a credential of APP:
#   openssl genpkey -algorithm SM2 -out KEY.pem
#   openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem
#   openssl pkey -in KEY.pem -pubout -out public.pem
set -eu
app=$1 key=$2 method=$3 url=$4 body=${5:-/dev/null}

target=/${url#*://*/}
path=${target%%\?*}
query=
case $target in *\?*) query=${target#*\?} ;; esac
# The parts of the query in the order of their octets.
query=$(printf '%s' "$query" | tr '&' '\n' | LC_ALL=C sort | paste -sd '&' -)

timestamp=$(date +%s)
nonce=$(openssl rand -hex 16)
digest=$(openssl dgst -sm3 -r "$body" | cut -d ' ' -f 1)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '%s\n%s\n%s\n%s\n%s\n%s\n%s' "$method" "$path" "$query" "$app" "$timestamp" "$nonce" "$digest" >"$folder/text"

if openssl pkey -in "$key" -noout -text | grep -q 'ASN1 OID: SM2'; then
    openssl pkeyutl -sign -rawin -digest sm3 -pkeyopt distid:1234567812345678 -inkey "$key" \
        -in "$folder/text" -out "$folder/signature"
else
    openssl pkeyutl -sign -rawin -digest sha256 -inkey "$key" -in "$folder/text" -out "$folder/signature"
fi

set -- -sS --fail-with-body -X "$method" \
    -H "x-app-id: $app" -H "x-timestamp: $timestamp" -H "x-nonce: $nonce" \
    -H "x-signature: $(openssl base64 -A -in "$folder/signature")"
if [ "$body" != /dev/null ]; then
    set -- "$@" -H 'content-type: application/json' --data-binary "@$body"
fi
# --path-as-is: what is signed is what is sent.
curl --path-as-is "$@" "$url"

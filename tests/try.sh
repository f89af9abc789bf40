#!/bin/sh
# Walks the main job of a running sandbox gateway with curl and openssl, one line for each result; ends with 1 if
# one is not as it should be.
#
#   DATA  the gateway's data folder (default: data)
#   BASE  where it listens (default: what DATA/listening.json says)
set -eu

DATA=${DATA:-data}
[ -r "$DATA/sandbox.json" ] || { echo "no sandbox in $DATA: start one with 'make run'" >&2; exit 1; }
DATA=$(cd "$DATA" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# member NAME: the first string of that name in the JSON on standard input; \n in it stays as two letters.
member() {
    tr -d '\n' | sed 's/"'"$1"'" *: *"/\
&/g' | sed -n 's/^"'"$1"'" *: *"\([^"]*\)".*/\1/p' | head -n 1
}

# objects: the JSON objects without inner objects on standard input, one a line.
objects() {
    tr -d '\n' | tr '{}' '\n\n'
}

if [ -z "${BASE:-}" ]; then
    [ -r "$DATA/listening.json" ] || { echo "no gateway runs on $DATA: start it with 'make run'" >&2; exit 1; }
    BASE=http://$(member http <"$DATA/listening.json")
fi
key=$(objects <"$DATA/sandbox.json" | grep '"api_key"' | head -n 1 | member api_key)
ca=$(member ca_file <"$DATA/sandbox.json")
case $ca in /*) ;; *) ca=$DATA/$ca ;; esac

failed=0
# report OK WHAT: prints a line; OK is what a test command ended with.
report() {
    if [ "$1" -eq 0 ]; then echo "ok      $2"; else echo "FAILED  $2"; failed=1; fi
}

get() {
    curl -sS --max-time 30 -H "x-api-key: $key" "$BASE$1"
}

# post PATH: the JSON on standard input, sent there.
post() {
    curl -sS --max-time 30 -H "x-api-key: $key" -H 'content-type: application/json' --data-binary @- "$BASE$1"
}

b64() {
    openssl base64 -A -in "$1"
}

# sample KIND: the file of the first sample license of that kind.
sample() {
    file=$(objects <"$DATA/sandbox.json" | grep '"kind" *: *"'"$1"'"' | head -n 1 | member file)
    case $file in /*) ;; *) file=$DATA/$file ;; esac
    echo "$file"
}

# license KIND VERDICT: has the sample judged.
license() {
    file=$(sample "$1")
    if grep -q 'BEGIN CERTIFICATE' "$file"; then
        openssl x509 -in "$file" -outform DER -out license.der
    else
        cp "$file" license.der
    fi
    printf '{"license":"%s"}' "$(b64 license.der)" | post /v1/licenses:verify >answer
    verdict=$(member verdict <answer)
    codes=$(objects <answer | member code)
    ok=0; [ "$verdict" = "$2" ] || ok=1
    report $ok "a license that is $1 is judged ${verdict:-not at all}${codes:+ ($codes)}"
}

echo "gateway $BASE"
curl -sS --max-time 10 -o answer "$BASE/readyz" || { echo "nothing answers at $BASE" >&2; exit 1; }

license good valid
license revoked invalid
license tampered invalid

cp "$(sample good)" document

# An SM2 signature over a file: openssl's opinion, then the gateway's, then with one bit flipped.
printf '{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"%s"}}' "$(b64 document)" |
    post /v1/signatures >signed
member signature <signed | openssl base64 -d -A >signature
printf '%b' "$(get /v1/keys/demo-sm2 | member public_key)" >public.pem
ok=0
openssl dgst -sm3 -verify public.pem -sigopt distid:1234567812345678 -signature signature document >openssl 2>&1 || ok=1
report $ok "demo-sm2 signs a file on device $(member device <signed), openssl says: $(head -n 1 openssl)"

verification() {
    printf '{"algorithm":"sm2-sm3","input":{"data":"%s"},"signature":"%s","public_key":"%s"}' \
        "$(b64 document)" "$(b64 signature)" "$(get /v1/keys/demo-sm2 | member public_key)" | post /v1/verifications
}
verdict=$(verification | member verdict)
ok=0; [ "$verdict" = valid ] || ok=1
report $ok "the gateway judges that signature ${verdict:-not at all}"

size=$(($(wc -c <signature)))
last=$(tail -c 1 signature | od -An -tu1)
head -c $((size - 1)) signature >flipped
printf '%b' "\\0$(printf '%o' $((last ^ 1)))" >>flipped
mv flipped signature
verdict=$(verification | member verdict)
ok=0; [ "$verdict" = invalid ] || ok=1
report $ok "with one bit flipped it is judged ${verdict:-not at all}"

# A detached P-256 CMS, which openssl checks up to the sandbox's root.
printf '{"key":"demo-p256","algorithm":"ecdsa-p256-sha256","format":"cms","detached":true,"input":{"data":"%s"}}' \
    "$(b64 document)" | post /v1/signatures | member signature | openssl base64 -d -A >cms.der
ok=0
openssl cms -verify -binary -inform DER -in cms.der -content document -CAfile "$ca" -out /dev/null 2>openssl || ok=1
report $ok "demo-p256 signs it as CMS, openssl says: $(head -n 1 openssl)"

# A timestamp, which openssl asks for and checks, and one with SM2, which the gateway checks.
openssl ts -query -data document -sha256 -cert -out request.tsq 2>/dev/null
curl -sS --max-time 30 -H "x-api-key: $key" -H 'content-type: application/timestamp-query' --data-binary @request.tsq \
    -o response.tsr "$BASE/tsa"
ok=0
openssl ts -verify -in response.tsr -queryfile request.tsq -CAfile "$ca" >openssl 2>&1 || ok=1
report $ok "the file gets a timestamp, openssl says: $(grep '^Verification' openssl || tail -n 1 openssl)"
printf '{"input":{"data":"%s"}}' "$(b64 document)" | post /v1/timestamps >stamped
verdict=$(printf '{"token":"%s","input":{"data":"%s"}}' "$(member token <stamped)" "$(b64 document)" |
    post /v1/timestamps:verify | member verdict)
ok=0; [ "$verdict" = valid ] || ok=1
report $ok "an SM2 timestamp of $(member gen_time <stamped) is judged ${verdict:-not at all}"

uscc=$(objects <"$DATA/sandbox.json" | grep '"kind" *: *"good"' | head -n 1 | member uscc)
name=$(get "/v1/licenses/$uscc/face" | member name)
ok=0; [ -n "$name" ] || ok=1
report $ok "the license of $uscc shows the name ${name:-of nobody}"

exit $failed

"""Calls the gateway with a signed request.

    python3 signed_request.py APP KEY.pem METHOD URL [BODY-FILE]
    python3 signed_request.py APP SECRET-FILE METHOD URL [BODY-FILE] --hmac sm3

KEY.pem is a P-256 private key (package `cryptography`). SECRET-FILE holds the secret of a credential of the kind
hmac-sm3 or hmac-sha256 as it was shown (standard library only).
"""

import argparse
import base64
import hashlib
import hmac
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def canonical(method, target, app, timestamp, nonce, body):
    """The text that is signed; `target` is path and query as they are sent."""
    path, _, query = target.partition("?")
    query = "&".join(sorted(query.split("&"), key=str.encode))
    digest = hashlib.new("sm3", body).hexdigest()
    return "\n".join([method, path, query, app, timestamp, nonce, digest]).encode()


def sign_p256(key_file, text):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    with open(key_file, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    return key.sign(text, ec.ECDSA(hashes.SHA256()))


def sign_hmac(secret_file, text, digest):
    with open(secret_file) as file:
        secret = base64.b64decode(file.read())
    return hmac.new(secret, text, digest).digest()


def main():
    arguments = argparse.ArgumentParser()
    for name in ["app", "key", "method", "url"]:
        arguments.add_argument(name)
    arguments.add_argument("body", nargs="?")
    arguments.add_argument("--hmac", choices=["sm3", "sha256"])
    given = arguments.parse_args()
    body = open(given.body, "rb").read() if given.body else b""

    parts = urllib.parse.urlsplit(given.url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    text = canonical(given.method, target, given.app, timestamp, nonce, body)
    if given.hmac:
        signature = sign_hmac(given.key, text, given.hmac)
    else:
        signature = sign_p256(given.key, text)

    headers = {
        "x-app-id": given.app,
        "x-timestamp": timestamp,
        "x-nonce": nonce,
        "x-signature": base64.b64encode(signature).decode(),
    }
    if given.body:
        headers["content-type"] = "application/json"
    request = urllib.request.Request(given.url, body or None, headers, method=given.method)
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as refused:
        print(refused.read().decode())
        sys.exit(1)


main()

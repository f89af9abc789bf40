#!/usr/bin/env python3
"""Verifies an item of a signed list: list_verify.py PROOF ISSUER_PEM [CONTENT]. Written from docs/list-format.md; OpenSSL does the signature."""
import base64, hashlib, json, pathlib, subprocess, sys, tempfile

def read(der):  # tag, the whole element, what is in it
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    length = int.from_bytes(der[2:start], "big") if der[1] & 0x80 else der[1]
    return der[0], der[:start + length], der[start:start + length]

def inside(element):
    found, rest = [], element[2]
    while rest:
        found, rest = found + [read(rest)], rest[len(read(rest)[1]):]
    return found

def root_of(proof, node):
    index, size, path = proof["index"], proof["size"], base64.b64decode(proof["path"], validate=True)
    assert 0 <= index < size and len(path) % 32 == 0, "no such place, or the path is cut"
    item = json.dumps(proof["item"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    last, root = size - 1, node(b"\0" + item.encode())
    for at in range(0, len(path), 32):
        assert last > 0, "the path is too long"
        if index & 1 or index == last:
            root = node(b"\1" + path[at:at + 32] + root)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            root = node(b"\1" + root + path[at:at + 32])
        index, last = index >> 1, last >> 1
    assert last == 0, "the path is too short"
    return root.hex()

def check_signature(cms, digest, name, anchor, folder):
    signed = inside(inside(inside(read(cms))[1])[0])
    signer = inside(inside(signed[-1])[0])
    sid = [member[1] for member in inside(signer[1])]  # issuer and serial number
    own = next(c[1] for c in inside(signed[3]) if [inside(inside(c)[0])[n][1] for n in (3, 1)] == sid)
    attributes = next(member for member in signer if member[0] == 0xA0)
    said = {inside(one)[0][2].hex(): inside(inside(one)[1])[0][2] for one in inside(attributes)}
    assert said["2a864886f70d010904"] == digest, "the head is not what was signed"
    files = {"own": own, "attributes": b"\x31" + attributes[1][1:], "signature": next(m[2] for m in signer if m[0] == 4)}
    for file, octets in files.items():
        (folder / file).write_bytes(octets)
    openssl = lambda command: subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    sigopt, vfyopt = ["-%s distid:1234567812345678" % option if name == "sm3" else "" for option in ("sigopt", "vfyopt")]
    openssl("x509 -inform DER -in own -pubkey -out own.pem")  # the public key, then the certificate
    openssl(f"dgst -{name} {sigopt} -verify own.pem -signature signature attributes")
    openssl(f"verify {vfyopt} -partial_chain -CAfile {anchor} own.pem")

proof = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))
assert (proof["format"], proof["hash"] in ("sm3", "sha256")) == ("license-gateway list proof 1", True), "another format"
digest = lambda octets: hashlib.new(proof["hash"], octets).digest()
assert root_of(proof, digest) == proof["root"], "item and path do not lead to the root"
contents = [digest(pathlib.Path(content).read_bytes()) for content in sys.argv[3:]]
assert all(one == base64.b64decode(proof["item"]["digest"]) for one in contents), "other content"
head = f"license-gateway list 1\n{proof['hash']}\n{proof['size']}\n{proof['root']}\n".encode()
with tempfile.TemporaryDirectory() as folder:
    check_signature(base64.b64decode(proof["signature"]), digest(head), proof["hash"], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(folder))
print("valid:", proof["item"]["id"], "at", proof["index"], "of", proof["size"])

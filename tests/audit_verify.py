#!/usr/bin/env python3
"""Verifies an export of the audit log: audit_verify.py EXPORT. Written from docs/audit-format.md and nothing else."""
import base64, hashlib, json, sys

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A, B = P - 3, 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
     0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0)

def sm3(*parts):
    return hashlib.new("sm3", b"".join(parts)).digest()

def add(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0] and (p[1] + q[1]) % P == 0:
        return None
    slope = ((3 * p[0] * p[0] + A) * pow(2 * p[1], -1, P) if p == q else (q[1] - p[1]) * pow(q[0] - p[0], -1, P)) % P
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P

def multiply(k, point):
    total = None
    while k:
        total, point, k = add(total, point) if k & 1 else total, add(point, point), k >> 1
    return total

def der_integers(der):
    middle = 4 + der[3]
    assert (der[0], der[1], der[2], der[middle]) == (0x30, len(der) - 2, 2, 2), "no DER signature"
    return int.from_bytes(der[4:middle], "big"), int.from_bytes(der[middle + 2:], "big")

def sm2_verify(spki, message, signature):
    point = int.from_bytes(spki[-64:-32], "big"), int.from_bytes(spki[-32:], "big")
    octets = b"".join(n.to_bytes(32, "big") for n in (A, B, *G, *point))
    e = int.from_bytes(sm3(sm3(b"\x00\x80", b"1234567812345678", octets), message), "big")
    r, s = der_integers(signature)
    point = add(multiply(s, G), multiply((r + s) % N, point))
    return 0 < r < N and 0 < s < N and (r + s) % N and (e + point[0]) % N == r

def root_from_inclusion(leaf, index, size, path):
    last, root = size - 1, leaf
    for sibling in path:
        assert last > 0, "the proof is too long"
        if index & 1 or index == last:
            root = sm3(b"\1", sibling, root)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            root = sm3(b"\1", root, sibling)
        index, last = index >> 1, last >> 1
    assert last == 0, "the proof is too short"
    return root

def check_note(note, origin, spki):
    text, signatures = note.replace("\n\n", "\n\0", 1).split("\0")
    name, size, root = text.split("\n")[:3]
    assert name == origin, "another log's checkpoint"
    key_id = sm3(origin.encode(), b"\n\xff", b"sm2-sm3", spki)[:4]
    for line in signatures.splitlines():
        dash, who, signed = line.split(" ")
        signed = base64.b64decode(signed)
        if (dash, who, signed[:4]) == ("\u2014", origin, key_id) and sm2_verify(spki, text.encode(), signed[4:]):
            return int(size), base64.b64decode(root)
    raise AssertionError("the checkpoint has no good signature by its signer")

def main():
    head, signers, checkpoints, subtrees, count, end = {}, {}, {}, [], 0, None
    for line in open(sys.argv[1], encoding="utf-8", newline="\n"):
        line = json.loads(line)
        end = line.get("entries")
        if line["type"] == "log":
            assert not head and (line["format"], line["version"]) == ("license-gateway-audit", 1), "not an export"
            head = line
        elif line["type"] == "signer":
            signers[line["number"]] = base64.b64decode("".join(line["public_key"].strip().split("\n")[1:-1]))
        elif line["type"] == "checkpoint":
            checkpoints.update([check_note(line["note"], head["origin"], signers[line["signer"]])])
        elif line["type"] == "entry":
            index, leaf = line["index"], sm3(b"\0", line["entry"].encode())
            assert index == head["from"] + count < head["size"], f"entry {head['from'] + count} is missing"
            if "proof" in line or head["from"] or head["until"] != head["size"]:
                root = root_from_inclusion(leaf, index, head["size"], map(base64.b64decode, line["proof"]))
                assert root == checkpoints[head["size"]], f"entry {index} is not in the tree"
            count, height = count + 1, 0
            while subtrees and subtrees[-1][0] == height:  # of a whole log the tree is computed anew
                leaf, height = sm3(b"\1", subtrees.pop()[1], leaf), height + 1
            subtrees.append((height, leaf))
    assert end == count == head["until"] - head["from"] and head["size"] in checkpoints, "the export is cut off"
    if head["from"] == 0 and count == head["size"]:
        root = subtrees.pop()[1]
        while subtrees:
            root = sm3(b"\1", subtrees.pop()[1], root)
        assert root == checkpoints[count], "the entries are not those of the checkpoint"
    print(f"{count} entries of {head['origin']}: proved under keys of SM3", *(sm3(key).hex() for key in signers.values()))
try:
    main()
except (AssertionError, KeyError, ValueError, IndexError, TypeError) as wrong:
    sys.exit(f"BROKEN: {wrong}")

"""Speaks HTTP/2 as no client should: one shape of mistreatment, then what the server did about it, in one JSON line.

usage: http2.py HOST:PORT CA_FILE SHAPE
"""

import json
import socket
import ssl
import struct
import sys

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A field without indexing, new name (RFC 7541 6.2.2), lengths below 127 or one continuation octet more."""

    def text(octets):
        if len(octets) < 127:
            return bytes([len(octets)]) + octets
        rest, out = len(octets) - 127, [127]
        while rest >= 128:
            out.append(rest % 128 + 128)
            rest //= 128
        return bytes(out + [rest]) + octets

    return b"\x00" + text(name) + text(value)


def request(path, *more):
    fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
    return b"".join(literal(name, value) for name, value in fields + list(more))


def rapid_reset():
    block = request(b"/livez")
    for stream in range(1, 100_000, 2):
        yield frame(HEADERS, END_STREAM | END_HEADERS, stream, block) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def continuation_flood():
    yield frame(HEADERS, END_STREAM, 1, request(b"/livez"))
    part = b"".join(literal(b"x-%d" % number, b"y" * 64) for number in range(100))
    for _ in range(20_000):
        yield frame(CONTINUATION, 0, 1, part)


def empty_continuations():
    yield frame(HEADERS, END_STREAM, 1, request(b"/livez"))
    for _ in range(500_000):
        yield frame(CONTINUATION, 0, 1)


def huge_field():
    block = request(b"/livez", (b"x-huge", b"z" * 200_000))
    yield frame(HEADERS, END_STREAM, 1, block[:16_000])
    for at in range(16_000, len(block), 16_000):
        last = at + 16_000 >= len(block)
        yield frame(CONTINUATION, END_HEADERS if last else 0, 1, block[at : at + 16_000])


def ping_flood():
    for _ in range(200_000):
        yield frame(PING, 0, 0, b"12345678")


def settings_flood():
    for _ in range(100_000):
        yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535))


def unread():
    """Asks for much and takes nothing: no window on any stream."""
    for stream in range(1, 200, 2):
        yield frame(HEADERS, END_STREAM | END_HEADERS, stream, request(b"/openapi.json"))


def silent_head():
    yield frame(HEADERS, END_STREAM, 1, request(b"/livez"))


def empty_data():
    yield frame(HEADERS, END_HEADERS, 1, request(b"/livez"))
    for _ in range(200_000):
        yield frame(DATA, 0, 1)


def no_such_frame():
    yield frame(HEADERS, END_STREAM | END_HEADERS, 2, request(b"/livez"))


def main():
    address, ca_file, shape = sys.argv[1:]
    host, port = address.split(":")
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    connection = context.wrap_socket(socket.create_connection((host, int(port)), 60), server_hostname=host)
    window = 0 if shape == "unread" else 65_535
    sent, seen, closed = 0, bytearray(), False
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)))
    shapes = {name: value for name, value in globals().items() if callable(value)}
    try:
        pending = bytearray()
        for octets in shapes[shape]():
            pending += octets
            sent += 1
            if len(pending) > 60_000:
                connection.sendall(pending)
                pending.clear()
        connection.sendall(pending)
    except OSError:
        closed = True
    try:
        connection.settimeout(60)
        while octets := connection.recv(65_536):
            seen += octets
            if shape in ("ping_flood", "settings_flood", "empty_data") and len(seen) > 1_000:
                break
        else:
            closed = True
    except socket.timeout:
        pass
    except OSError:
        closed = True
    kinds, at = [], 0
    while at + 9 <= len(seen):
        length = int.from_bytes(seen[at : at + 3], "big")
        kinds.append(seen[at + 3])
        at += 9 + length
    goaway = GOAWAY in kinds
    print(json.dumps({"frames_sent": sent, "goaway": goaway, "closed": closed, "resets": kinds.count(RST_STREAM)}))


main()

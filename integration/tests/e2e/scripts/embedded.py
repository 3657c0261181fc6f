# An engine's own resolver: on port 53 of its address, and on the ports where it really listens.
#   usage: embedded.py NAME          prints one JSON object
import json, socket, struct, sys

NAME = b"".join(bytes([len(label)]) + label.encode() for label in sys.argv[1].split("."))
QUESTION = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + NAME + b"\0\0\x01\0\x01"


def ports(table):
    for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
        address, port = line.split()[1].split(":")
        if address == "0B00007F":
            yield int(port, 16)


def ask(kind, port):
    try:
        with socket.socket(socket.AF_INET, kind) as client:
            client.settimeout(3)
            client.connect(("127.0.0.11", port))
            if kind == socket.SOCK_DGRAM:
                client.send(QUESTION)
                answer = client.recv(4096)
            else:
                client.sendall(struct.pack(">H", len(QUESTION)) + QUESTION)
                answer = client.makefile("rb").read(14)[2:]
        return f"code {answer[3] & 15}, {answer[7]} answers"
    except OSError as error:
        return type(error).__name__


found = [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)]
print(json.dumps({
    "resolv.conf": open("/etc/resolv.conf").read(),
    "port 53": {table: ask(kind, 53) for table, kind in found},
    "own ports": {f"{table} {port}": ask(kind, port) for table, kind in found for port in ports(table)},
}))

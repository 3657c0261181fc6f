# What DNS tunnels send: data in labels, in the case of letters, in ids and options, under every domain given.
#   usage: tunnel.py SERVER COUNT DOMAIN…      prints one JSON object
# iodine: one letter for the command, base32 or base128 in labels of 57, types NULL, PRIVATE, TXT, SRV, MX, CNAME, A.
# dnscat2: packets in hexadecimal in labels of 60, types TXT, CNAME, MX, A, AAAA.
import base64, collections, json, random, socket, struct, sys

server, count, domains = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
chance = random.Random(1)
IODINE = [10, 65399, 16, 33, 15, 5, 1]
DNSCAT = [16, 5, 15, 1, 28]


def labels(data, size):
    return b"".join(bytes([len(part)]) + part for part in (data[i:i + size] for i in range(0, len(data), size)))


def iodine():
    secret = b"secret" + chance.randbytes(60)
    if chance.random() < 0.5:
        data = base64.b32encode(secret).rstrip(b"=").lower()
    else:
        data = bytes(188 + byte % 66 for byte in secret)
    return labels(chance.choice(b"vlzsoyrnp0123456789abcdef").to_bytes(1, "big") + data, 57), chance.choice(IODINE)


def dnscat():
    secret = b"secret" + chance.randbytes(54)
    prefix = b"\x06dnscat" if chance.random() < 0.3 else b""
    return prefix + labels(secret.hex().encode(), 60), chance.choice(DNSCAT)


def question(tool, domain):
    name, kind = tool()
    for label in domain.split("."):
        # The case of letters carries bits too.
        label = "".join(chance.choice([c.upper(), c]) for c in label).encode()
        name += bytes([len(label)]) + label
    option = b"secret" + chance.randbytes(16)
    edns = b"\0" + struct.pack(">HHIHHH", 41, 4096, 0, 4 + len(option), 65001, len(option)) + option
    header = struct.pack(">HHHHHH", chance.getrandbits(16), 0x0100, 1, 0, 0, 1)
    return header + name + b"\0" + struct.pack(">HH", kind, 1) + edns


def records(answer):
    """The types of the answer section's records; the question is skipped by its labels."""
    at = 12
    while answer[at]:
        at += 1 + answer[at]
    at += 5
    for _ in range(struct.unpack(">H", answer[6:8])[0]):
        at += 2 if answer[at] >= 192 else 1
        kind, _, _, length = struct.unpack(">HHIH", answer[at:at + 10])
        at += 10 + length
        yield kind


udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(5)
udp.connect((server, 53))
tcp = socket.create_connection((server, 53), 5)
stream = tcp.makefile("rb")
codes, data, silent = collections.Counter(), collections.Counter(), 0
for number in range(count):
    asked = question(chance.choice([iodine, dnscat]), domains[number % len(domains)])
    try:
        if number % 10:
            udp.send(asked)
            answer = udp.recv(4096)
        else:
            tcp.sendall(struct.pack(">H", len(asked)) + asked)
            answer = stream.read(struct.unpack(">H", stream.read(2))[0])
    except (OSError, struct.error):
        silent += 1
        continue
    codes[answer[3] & 15] += 1
    data.update(records(answer))
print(json.dumps({"codes": codes, "data": data, "silent": silent}))

#!/bin/sh
# What a forward costs beside a port that docker publishes: a connection with one byte each way, and a download.
#   usage: DOCKER_HOST=… forward.sh IMAGE ROUNDS RINGFENCE      (IMAGE: on the engine, with python3)
# Both take turns, so that other work on the machine meets both alike. Prints medians and quartiles.
set -eu
image=$1 rounds=$2 ringfence=$3
place=$(mktemp -d)
container=
run=
cleanup() {
    [ -z "$container" ] || docker rm --force "$container" >/dev/null
    [ -z "$run" ] || { kill "$run"; wait "$run" || true; }
    rm -rf "$place"
}
trap cleanup EXIT
: >"$place/out"

cat >"$place/server.py" <<'PY'
import socket, threading
def serve(connection):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = int(connection.recv(16).decode())
        block = bytes(65536)
        while count > 0:
            connection.sendall(block[:count])
            count -= len(block)
server = socket.create_server(('0.0.0.0', 8000), backlog=512)
print('up', flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
PY
cat >"$place/client.py" <<'PY'
import socket, statistics, sys, time
def ask(port, count):
    began = time.perf_counter()
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(b'%d' % count)
        left = count
        while left > 0:
            left -= len(connection.recv(1 << 20)) or sys.exit('the connection ended early')
    return time.perf_counter() - began
ports, rounds = {'docker': int(sys.argv[1]), 'ringfence': int(sys.argv[2])}, int(sys.argv[3])
size = 128 << 20
for who, port in ports.items():
    ask(port, 1), ask(port, 1 << 20)
for what, figure in [('one byte, ms', lambda port: statistics.median(ask(port, 1) * 1e3 for _ in range(50))),
                     ('download, MiB/s', lambda port: size / ask(port, size) / (1 << 20))]:
    found = {who: [] for who in ports}
    for _ in range(rounds):
        for who, port in ports.items():
            found[who].append(figure(port))
    for who, figures in found.items():
        low, middle, high = statistics.quantiles(figures, n=4)
        print(f'{what:<16} {who:<10} {middle:8.2f} ({low:.2f}–{high:.2f})')
PY

container=$(docker run --detach --publish 127.0.0.1::8000 "$image" python3 -c "$(cat "$place/server.py")")
published=$(docker port "$container" 8000 | head -n 1 | sed 's/.*://')
XDG_STATE_HOME="$place/state" "$ringfence" run --publish 0:8000 "$image" python3 -c "$(cat "$place/server.py")" \
    >"$place/out" 2>"$place/said" &
run=$!
until grep -q '^up' "$place/out"; do
    kill -0 "$run" 2>/dev/null || { cat "$place/said" >&2; run=; exit 1; }
    sleep 0.1
done
forwarded=$(sed -n 's/^ringfence: localhost:\([0-9]*\) leads to port 8000 .*/\1/p' "$place/said")
python3 "$place/client.py" "$published" "$forwarded" "$rounds"

#!/bin/sh
# What the fenced socket costs beside the engine's own: an exec in one container by both sockets, and a whole `run --rm`.
#   usage: DOCKER_HOST=unix://… serve.sh IMAGE ROUNDS RINGFENCE      (IMAGE: on the engine, with `true`)
# Both take turns, so that other work on the machine meets both alike. Prints medians and quartiles. The engine's own
# container has no network (`--network none`), where the other one has a fence.
set -eu
image=$1 rounds=$2 ringfence=$3
place=$(mktemp -d)
serve=
container=
cleanup() {
    [ -z "$container" ] || docker -H "unix://$place/s/docker.sock" rm --force "$container" >/dev/null
    [ -z "$serve" ] || { kill -INT "$serve"; wait "$serve" || true; }
    rm -rf "$place"
}
trap cleanup EXIT
mkdir -m 700 "$place/s"
printf 'version: 1\n' >"$place/policy.yml"
XDG_STATE_HOME="$place/state" "$ringfence" serve --accept-known-holes --policy "$place/policy.yml" \
    --socket "$place/s/docker.sock" 2>"$place/serve.log" &
serve=$!
tries=0
until [ -S "$place/s/docker.sock" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$place/serve.log" >&2; exit 1; }
    sleep 0.1
done
container=$(docker -H "unix://$place/s/docker.sock" run --detach "$image" sleep 3600)

cat >"$place/measure.py" <<'PY'
import statistics, subprocess, sys, time
engine, fenced, container, image, rounds = *sys.argv[1:5], int(sys.argv[5])
def took(*words):
    began = time.perf_counter()
    subprocess.run(['docker', '-H', *words], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1e3
asked = {
    'exec, ms': {'engine': (engine, 'exec', container, 'true'), 'serve': (fenced, 'exec', container, 'true')},
    'run --rm, ms': {'engine': (engine, 'run', '--rm', '--network', 'none', image, 'true'),
                     'serve': (fenced, 'run', '--rm', image, 'true')},
}
for what, ways in asked.items():
    found = {who: [] for who in ways}
    for words in ways.values():
        took(*words)
    for _ in range(rounds):
        for who, words in ways.items():
            found[who].append(took(*words))
    for who, figures in found.items():
        low, middle, high = statistics.quantiles(figures, n=4)
        print(f'{what:<14} {who:<8} {middle:8.1f} ({low:.1f}–{high:.1f})')
    ratio = statistics.median(a / b for a, b in zip(found['serve'], found['engine']))
    print(f'{what:<14} {"times":<8} {ratio:8.2f}')
PY
python3 "$place/measure.py" "$DOCKER_HOST" "unix://$place/s/docker.sock" "$container" "$image" "$rounds"

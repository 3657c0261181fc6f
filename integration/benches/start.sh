#!/bin/sh
# What a start costs: two builds of ringfence in turn, `true` in a small project, on one engine.
#   usage: DOCKER_HOST=… start.sh IMAGE PAIRS OLD NEW      (OLD, NEW: executables; IMAGE: on the engine, with `true`)
# They take turns, so that other work on the machine meets both alike. Prints the median and the quartiles of each step, in ms.
set -eu
image=$1 pairs=$2 old=$3 new=$4
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/project"
git -C "$place/project" init --quiet
echo one >"$place/project/file"
printf 'version: 1\nnetwork:\n  allow: [a.example]\n' >"$place/policy.yml"

one() {
    mkdir -p "$place/$1"
    began=$(date +%s%N)
    XDG_STATE_HOME="$place/$1" "$2" run --timings --policy "$place/policy.yml" --project "$place/project" "$image" true \
        >/dev/null 2>"$place/said" || { cat "$place/said" >&2; exit 1; }
    ended=$(date +%s%N)
    sed -n 's/^ringfence: *//; s/^ *\([0-9.]*\) ms  \(.*\)/\1 \2/p' "$place/said" | sed "s/^/$1 /" >>"$place/$3"
    echo "$1 $(((ended - began) / 1000000)) the whole run" >>"$place/$3"
}

one old "$old" first
one new "$new" first
for _ in $(seq "$pairs"); do
    one old "$old" all
    one new "$new" all
done
sort -k3 -k1,1r -k2,2n "$place/all" | awk '
    function flush() { if (n) printf "%-4s %8.0f %8.0f %8.0f  %s (%d)\n", who, v[int((n + 3) / 4)], v[int((n + 1) / 2)], v[int((3 * n + 3) / 4)], what, n; n = 0 }
    BEGIN { printf "%-4s %8s %8s %8s  step (runs)\n", "", "quarter", "median", "quarter" }
    { rest = $0; sub(/^[^ ]+ [^ ]+ /, "", rest); if ($1 != who || rest != what) flush(); who = $1; what = rest; v[++n] = $2 }
    END { flush() }'

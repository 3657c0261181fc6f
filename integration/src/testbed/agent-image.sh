#!/bin/sh
# Builds the testbed's agent image as a tar of a root file system: Debian with real clients, and one real
# coding agent's CLI as published to its registry (Codex, Apache-2.0), pinned.
#   usage: agent-image.sh WORK_DIRECTORY OUT.tar     (root; debootstrap and npm installed)
# The tar is kept under a name that carries a hash of this file: change a line, and the image is built anew.
set -eu
work=$1 out=$2
root=$work/root

rm -rf "$work"
mkdir -p "$work"
debootstrap --variant=minbase \
    --include=bind9-dnsutils,ca-certificates,curl,git,git-lfs,iproute2,iputils-ping,netcat-openbsd,nodejs,openssh-client,procps,python3,python3-gitlab,python3-websocket \
    bookworm "$root" >"$work/debootstrap.log" 2>&1 || { tail -5 "$work/debootstrap.log" >&2; exit 1; }

npm install --silent --no-audit --no-fund --no-update-notifier --prefix "$root/opt/codex" @openai/codex@0.169.0 >&2
ln -s /opt/codex/node_modules/.bin/codex "$root/usr/local/bin/codex"

# What no test needs.
find "$root/opt/codex" \( -name codex-code-mode-host -o -name voice \) -prune -exec rm -rf {} +
rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/usr/share/doc" "$root/usr/share/locale" \
    "$root/usr/share/man" "$root"/dev/*
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial" "$root/workspace"
ln -s python3 "$root/usr/bin/python"

tar -C "$root" -cf "$out.part" .
mv "$out.part" "$out"
rm -rf "$work"

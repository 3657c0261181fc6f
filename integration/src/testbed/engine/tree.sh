#!/bin/sh
# Builds a Debian tree that an engine of the matrix runs in.
#   usage: tree.sh SUITE PACKAGE,PACKAGE… TREE      (root; debootstrap installed)
# The tree is kept under a name that carries a hash of this file and of the packages: change a line, and it is built anew.
set -eu
suite=$1 packages=$2 tree=$3

rm -rf "$tree.part"
mkdir -p "${tree%/*}"
debootstrap --variant=minbase --include="$packages" "$suite" "$tree.part" >"$tree.log" 2>&1 || {
    tail -n 5 "$tree.log" >&2
    exit 1
}
rm -rf "$tree.part/var/cache/apt" "$tree.part/var/lib/apt/lists" "$tree.part/usr/share/doc" \
    "$tree.part/usr/share/locale" "$tree.part/usr/share/man"
mv "$tree.part" "$tree"

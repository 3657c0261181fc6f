#!/bin/sh
# Runs a program inside a Debian tree, in a mount namespace that must be its own already.
#   usage: enter.sh TREE SCRATCH SHARED:SHARED… PROGRAM [ARGUMENT…]
#
#  tree (read only) ─┐
#  tmpfs on SCRATCH ─┴─ overlay ─▶ /     with proc, dev, sys and the cgroups of this machine, and the SHARED directories in
#                                        their places
#
# The network namespace is the caller's: /sys is mounted anew to show it. Nothing is written to the tree, so any number of
# engines may run in one.
set -eu
tree=$1 scratch=$2 shared=$3
shift 3

mkdir -p "$scratch"
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
root=$scratch/root

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/lock" "$root/.outside"
old_ifs=$IFS IFS=:
for directory in $shared; do
    mkdir -p "$root$directory"
    mount --rbind "$directory" "$root$directory"
done
IFS=$old_ifs

cd "$root"
pivot_root . .outside
umount -l /.outside
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec "$@"

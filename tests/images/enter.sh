#!/bin/sh
# What a container's runtime does for a program, in namespaces that `unshare` has made:
#   enter.sh ROOT UID:GID SHM [SOURCE:TARGET]... -- PROGRAM [ARGUMENT]...
# The root is read-only, and so are the folders that are mounted in it. SHM is a size for /dev/shm,
# or a folder that several containers share as theirs.
set -eu
root=$1 user=$2 shm=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
for name in null zero random urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/shm"
case $shm in
/*) mount --bind "$shm" "$root/dev/shm" ;;
*) mount -t tmpfs -o "mode=1777,size=$shm" tmpfs "$root/dev/shm" ;;
esac
mount -t tmpfs -o mode=1777,size=256m tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    mount --bind "${1%%:*}" "$root${1#*:}"
    mount -o remount,bind,ro "$root${1#*:}"
    shift
done
shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"

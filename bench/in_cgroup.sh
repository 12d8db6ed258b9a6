#!/bin/sh
# Runs a program in a memory cgroup, where what the kernel keeps for it is counted, and with a /proc
# that nobody has read before: who looks a file up there first is charged for remembering it.
#
# Usage: in_cgroup.sh CGROUP PROGRAM [ARGUMENT ...]
set -e
if [ -z "$WITH_OWN_MOUNTS" ]; then
	WITH_OWN_MOUNTS=yes exec unshare --mount "$0" "$@"
fi
unset WITH_OWN_MOUNTS
mount -t proc proc /proc
echo $$ > "$1/cgroup.procs"
shift
exec "$@"

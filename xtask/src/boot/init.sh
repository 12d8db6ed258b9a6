#!/bin/busybox sh
# What runs in a booted kernel, as its first process: `cargo xtask boot` packs it together with
# the static binaries, and judges what it writes to the second serial port. Each part of that
# stands between `#begin NAME` and `#end NAME STATUS`.

/bin/busybox mkdir -p /dev /proc /sys /run /disk
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
ip link set lo up
stty -F /dev/ttyS1 raw 2>/dev/null
exec </dev/null >/dev/ttyS1 2>&1

part() {
    name=$1
    shift
    echo "#begin $name"
    "$@"
    echo "#end $name $?"
}

# Bytes written to memory are not counted: the files of the loads go to a disk.
prepare_disk() {
    mke2fs /dev/nvme0n1 >/run/mke2fs 2>&1 && mount -t ext4 /dev/nvme0n1 /disk
}

# Waits until a file has a line, as long as twenty seconds.
wait_for() {
    tries=0
    until grep -q "$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { echo "no \`$2\` in $1"; return 1; }
        sleep 0.1
    done
}

# Runs a load under watchers at every tier at once, from before its start to after its end.
watch() {
    mkfifo /run/begin
    mpp-load "$@" --directory /disk </run/begin >/run/truth &
    load=$!
    exec 3>/run/begin
    wait_for /run/truth '"ready"' || return
    for tier in A B C; do
        mpp show -p $load -i 0.2 -c 1000 --tier $tier -m io_counters.write_bytes,memory.rss \
            --format jsonl >/run/shown-$tier 2>/run/words-$tier &
        wait_for /run/shown-$tier time || { cat /run/words-$tier; return 1; }
    done
    echo begin >&3
    wait_for /run/truth '"total"' || return
    sleep 1
    killall -INT mpp 2>/dev/null
    sleep 1
    tail -n 1 /run/truth
    for tier in A B C; do
        sed -n '1p;$p' /run/shown-$tier
        cat /run/words-$tier
    done
    exec 3>&-
    wait
    rm -rf /run/begin /run/truth /run/shown-* /run/words-* /disk/mpp-load-*
}

part kernel uname -r
part disk prepare_disk
part doctor mpp doctor
part doctor-as-nobody su nobody -s /bin/sh -c 'mpp doctor'
part short-lived watch short-lived --seconds 2
part threads watch threads --seconds 2
part autoreap watch autoreap --seconds 2
part double-fork watch double-fork --seconds 2
echo '#over'
sync
poweroff -f

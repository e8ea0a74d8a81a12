#!/usr/bin/env bash
# Makes "machines" out of namespaces, so that a cluster of several nodes can run on one host and leave it untouched.
#
#   hack/node.sh create CLUSTER NODE NUMBER [PREFIX]   a node with the address 10.200.0.NUMBER
#   hack/node.sh client CLUSTER NAME NUMBER            a bare host on the same network: a network namespace alone
#   hack/node.sh exec CLUSTER NODE COMMAND...          run a command there
#   hack/node.sh address NUMBER | dir CLUSTER NODE | cgroup CLUSTER NODE
#   hack/node.sh delete CLUSTER                        everything of that cluster
#
# CLUSTER is any short id of your own: it is part of every name. A node has a network, mount and UTS namespace of its
# own; its /etc and /var are overlays, its /run is empty, and its data folders are real ones below /tmp/keelson-CLUSTER.
# All nodes hang on one bridge in a namespace of its own, which routes nowhere else.
set -euo pipefail

verb=${1:?usage: hack/node.sh create|client|exec|address|dir|cgroup|delete ...}
shift

subnet=10.200.0
# Where cgroup hierarchies are mounted: one for each controller, or the one for all, or both.
controllers() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/self/mounts; }
base() { echo "/tmp/keelson-$1"; }
group() { echo "keelson-$1-$2"; }

switch() { # CLUSTER: the namespace that connects the nodes
    local ns=keelson-$1-net
    if [ ! -e "/run/netns/$ns" ]; then
        ip netns add "$ns"
        ip -n "$ns" link set lo up
        ip -n "$ns" link add br0 type bridge
        ip -n "$ns" address add $subnet.1/24 dev br0
        ip -n "$ns" link set br0 up
    fi
    echo "$ns"
}

attach() { # CLUSTER NETNS NUMBER: a link from NETNS to the switch
    local ns
    ns=$(switch "$1")
    ip -n "$ns" link add "n$3" type veth peer name eth0 netns "$2"
    ip -n "$ns" link set "n$3" master br0 up
    ip -n "$2" link set lo up
    ip -n "$2" address add "$subnet.$3/24" dev eth0
    ip -n "$2" link set eth0 up
    # A node without a default route can't reach Service addresses.
    ip -n "$2" route add default via $subnet.1
}

make_cgroups() { # CLUSTER NODE
    local controller path f
    for controller in $(controllers); do
        path=$controller/$(group "$1" "$2")
        mkdir -p "$path"
        for f in cpuset.cpus cpuset.mems; do
            [ ! -e "$path/$f" ] || cat "$controller/$f" >"$path/$f"
        done
    done
}

# Runs inside the new mount namespace: FOLDER is the node's own, PREFIX what it sees as /opt/keelson.
setup_mounts() { # FOLDER PREFIX NAME
    local folder=$1 name=$3 d
    mount --make-rprivate /
    cp -L /etc/resolv.conf "$folder/resolv.conf" 2>/dev/null || echo "nameserver $subnet.1" >"$folder/resolv.conf"
    if [ -n "$2" ]; then
        # Before /opt is overlaid: the prefix may lie there.
        mkdir -p "$folder/prefix"
        mount --bind "$2" "$folder/prefix"
    fi
    for d in etc var opt; do
        mkdir -p "$folder/upper/$d" "$folder/work/$d"
        mount -t overlay overlay -o "lowerdir=/$d,upperdir=$folder/upper/$d,workdir=$folder/work/$d" "/$d"
    done
    # A cluster that the machine itself runs is none of the node's.
    rm -rf /etc/kubernetes /etc/keelson /etc/cni/net.d /opt/keelson
    mount -t tmpfs -o mode=0755 tmpfs /run
    mkdir -p /run/netns
    for d in var/lib/kubelet var/lib/etcd var/lib/cni var/lib/keelson var/log; do
        mkdir -p "/$d" "$folder/data/$d"
        mount --bind "$folder/data/$d" "/$d"
    done
    rm -f /etc/resolv.conf && cp "$folder/resolv.conf" /etc/resolv.conf
    # A folder that all nodes of the cluster see, as a network file system would give them.
    mkdir -p "$folder/../shared"
    mount --bind "$folder/../shared" /srv
    if [ -n "$2" ]; then
        mkdir -p /opt/keelson
        mount --bind "$folder/prefix" /opt/keelson
    fi
    hostname "$name"
    grep -q " $name\$" /etc/hosts || printf '127.0.0.1 %s\n' "$name" >>/etc/hosts
    # Volumes with mount propagation need shared mounts, as machines with an init system have them.
    mount --make-rshared /
}

case $verb in
create)
    cluster=$1 node=$2 number=$3 prefix=${4:-}
    folder=$(base "$cluster")/$node
    mkdir -p "$folder"
    ns=keelson-$cluster-$node
    ip netns add "$ns"
    attach "$cluster" "$ns" "$number"
    make_cgroups "$cluster" "$node"
    rm -f "$folder/ready"
    # The holder keeps the namespaces alive; it is the node's only process of ours.
    nsenter --net="/run/netns/$ns" setsid unshare --mount --uts "$0" hold "$folder" "$prefix" "$node" \
        >"$folder/holder.log" 2>&1 </dev/null &
    for _ in $(seq 100); do
        [ ! -e "$folder/ready" ] || exit 0
        sleep 0.05
    done
    echo "hack/node.sh: $node did not come up:" >&2
    cat "$folder/holder.log" >&2
    exit 1
    ;;
hold)
    setup_mounts "$1" "$2" "$3"
    echo $$ >"$1/pid"
    touch "$1/ready"
    exec sleep infinity
    ;;
client)
    ns=keelson-$1-$2
    ip netns add "$ns"
    attach "$1" "$ns" "$3"
    ;;
exec)
    cluster=$1 node=$2
    shift 2
    pid_file=$(base "$cluster")/$node/pid
    if [ -e "$pid_file" ]; then
        exec nsenter -t "$(cat "$pid_file")" --mount --net --uts -- "$@"
    fi
    exec nsenter --net="/run/netns/keelson-$cluster-$node" -- "$@"
    ;;
address) echo "$subnet.$1" ;;
dir) echo "$(base "$1")/$2" ;;
cgroup) echo "/$(group "$1" "$2")" ;;
delete)
    cluster=$1
    for ns in $(ip netns list | awk '{print $1}' | grep "^keelson-$cluster-" || true); do
        node=${ns#"keelson-$cluster-"}
        # Whatever still runs in the node's network namespace is the node's.
        for pid in $(ip netns pids "$ns"); do kill -9 "$pid" 2>/dev/null || true; done
        # Pods have network namespaces of their own: their processes are found by cgroup.
        for controller in $(controllers); do
            path=$controller/$(group "$cluster" "$node")
            [ -d "$path" ] || continue
            for _ in 1 2 3 4 5; do
                pids=$(find "$path" -name cgroup.procs -exec cat {} + 2>/dev/null || true)
                [ -n "$pids" ] || break
                # shellcheck disable=SC2086
                kill -9 $pids 2>/dev/null || true
                sleep 0.2
            done
            find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
        ip netns delete "$ns" 2>/dev/null || true
    done
    rm -rf "$(base "$cluster")"
    ;;
*)
    echo "hack/node.sh: unknown verb $verb" >&2
    exit 2
    ;;
esac

"""The Python client against a cluster: list, watch, create, patch, exec, logs, delete. Prints the last line when all held."""

import threading

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()

names = [node.metadata.name for node in core.list_node().items]
assert names == ["n1", "n2"], names
first = core.list_namespace(limit=2)
rest = core.list_namespace(limit=500, _continue=first.metadata._continue)
assert len(first.items) == 2 and "kube-system" in [n.metadata.name for n in first.items + rest.items]

seen = []


def follow(version):
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_pod, "default", resource_version=version, timeout_seconds=120):
        pod = event["object"]
        if pod.metadata.name == "snake":
            seen.append((event["type"], pod.status.phase))
            if event["type"] == "DELETED":
                watcher.stop()


follower = threading.Thread(target=follow, args=[core.list_namespaced_pod("default").metadata.resource_version])
follower.start()
container = client.V1Container(
    name="main", image="registry.k8s.io/e2e/toolbox:1", command=["sh", "-c", "echo started; sleep 100000"]
)
pod = client.V1Pod(
    metadata=client.V1ObjectMeta(name="snake"),
    spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0),
)
core.create_namespaced_pod("default", pod)
for event in watch.Watch().stream(
    core.list_namespaced_pod, "default", field_selector="metadata.name=snake", timeout_seconds=60
):
    if event["object"].status.phase == "Running":
        break
else:
    raise AssertionError("the pod did not run within a minute")

answer = stream(
    core.connect_get_namespaced_pod_exec, "snake", "default", command=["sh", "-c", "echo $((6 * 7)); echo no >&2"],
    stderr=False, stdin=False, stdout=True, tty=False,
)
assert answer == "42\n", repr(answer)
assert core.read_namespaced_pod_log("snake", "default") == "started\n"
core.patch_namespaced_pod("snake", "default", {"metadata": {"labels": {"a": "b"}}})
assert [p.metadata.name for p in core.list_namespaced_pod("default", label_selector="a=b").items] == ["snake"]
try:
    core.create_namespaced_pod("default", pod)
    raise AssertionError("created twice")
except ApiException as error:
    assert (error.status, error.reason) == (409, "Conflict"), error
scale = apps.read_namespaced_deployment_scale("cluster-dns", "kube-system")
assert scale.spec.replicas == 2, scale
core.delete_namespaced_pod("snake", "default")
follower.join(60)
assert seen[0] == ("ADDED", "Pending") and seen[-1][0] == "DELETED" and ("MODIFIED", "Running") in seen, seen
print("all held")

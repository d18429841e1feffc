"""Who reaches whom, by the NetworkPolicies alone: what Kubernetes makes of them, worked out for every pair
of workloads."""

from objects import selects

OUTSIDE = {
    name: {"kubernetes.io/metadata.name": name}
    for name in ("ingress-nginx", "monitoring", "default", "kube-system")
}
DNS = {"k8s-app": "kube-dns"}


def rules(policy, direction):
    """The rules of one direction; none if it isn't the policy's business."""
    if direction not in policy["spec"]["policyTypes"]:
        return None
    return policy["spec"].get(direction.lower(), [])


def is_peer(peer, namespace, pod_labels, own_namespace):
    """Is it one of those that a rule's peer means?"""
    # Addresses are in nobody's labels; no policy needs them.
    assert set(peer) <= {"podSelector", "namespaceSelector"}
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}):
            return False
    elif namespace != own_namespace:
        return False
    return selects(peer.get("podSelector", {}), pod_labels)


def allows(policy, direction, other, ports, protocol):
    """Does a policy allow this way to or from `other` (namespace, labels)? `ports` are the names and the
    number of the port at the way's end. No list of peers or ports means all, and so does an empty one."""
    for rule in rules(policy, direction) or []:
        peers = rule.get("from" if direction == "Ingress" else "to")
        if peers and not any(
            is_peer(peer, *other, policy["metadata"]["namespace"]) for peer in peers
        ):
            continue
        if not rule.get("ports") or any(
            port.get("protocol", "TCP") == protocol and port["port"] in ports for port in rule["ports"]
        ):
            return True
    return False


def is_open(objects, direction, workload, other, ports, protocol="TCP"):
    """A Pod that no policy selects for a direction is open; otherwise one of them has to allow it."""
    concerned = [
        policy
        for policy in objects.of("NetworkPolicy")
        if selects(policy["spec"]["podSelector"], workload.labels)
        and rules(policy, direction) is not None
    ]
    return not concerned or any(
        allows(policy, direction, other, ports, protocol) for policy in concerned
    )


def ways(objects):
    """All ways that are open, as (who, whom, name of the port)."""
    namespace = objects.namespace()
    found = set()
    for target in objects.workloads():
        for name, number in target.ports().items():
            ports = {name, number}
            for source in objects.workloads():
                there = is_open(objects, "Egress", source, (namespace, target.labels), ports)
                if there and is_open(objects, "Ingress", target, (namespace, source.labels), ports):
                    found.add((source.name, target.name, name))
            for outside in OUTSIDE:
                if is_open(objects, "Ingress", target, (outside, {}), ports):
                    found.add((outside, target.name, name))
    for source in objects.workloads():
        for outside in OUTSIDE:
            for name, number in (("https", 443), ("otlp", 4318)):
                if is_open(objects, "Egress", source, (outside, {}), {number}):
                    found.add((source.name, outside, name))
        for name, protocol in (("dns", "TCP"), ("dns-udp", "UDP")):
            if is_open(objects, "Egress", source, ("kube-system", DNS), {53}, protocol):
                found.add((source.name, "kube-system", name))
    return found

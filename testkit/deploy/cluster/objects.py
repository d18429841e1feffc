"""What an overlay of deploy/kubernetes comes to: its objects, and what of them belongs together."""

import base64
import pathlib
import shutil
import subprocess

import yaml

ROOT = pathlib.Path(__file__).parents[3]
KUSTOMIZE = ROOT / "testkit" / "deploy" / "kustomize"


def copied(folder):
    """A copy of deploy/kubernetes with secrets of its own, made as docs/OPERATIONS.md says."""
    target = folder / "kubernetes"
    shutil.copytree(ROOT / "deploy" / "kubernetes", target, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([target / "make-secrets"], check=True)
    return target


def rendered(overlay):
    """The objects of an overlay, as kustomize makes them."""
    text = subprocess.run([KUSTOMIZE, "build", overlay], check=True, stdout=subprocess.PIPE).stdout
    return Objects(list(yaml.safe_load_all(text)))


class Workload:
    """A Deployment or a StatefulSet, seen as the Pods that it makes."""

    def __init__(self, body):
        self.body = body
        self.name = body["metadata"]["name"]
        self.labels = body["spec"]["template"]["metadata"]["labels"]
        self.pod = body["spec"]["template"]["spec"]
        self.containers = self.pod["containers"] + self.pod.get("initContainers", [])
        self.replicas = body["spec"]["replicas"]
        self.is_server = self.labels.get("app.kubernetes.io/component") == "server"
        self.instance = self.labels.get("app.kubernetes.io/instance")

    def ports(self):
        """The ports that its containers name."""
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container.get("ports", [])
        }

    def has_port(self, port):
        ports = self.ports()
        return port in ports or port in ports.values()

    def mounted_files(self):
        """Where which keys of which Secrets are found as files."""
        for container in self.containers:
            for mount in container.get("volumeMounts", []):
                for volume in self.pod.get("volumes", []):
                    if volume["name"] == mount["name"]:
                        for name, item in secret_items(volume):
                            yield f"{mount['mountPath']}/{item['path']}", name, item["key"]


def secret_items(volume):
    """Which items of which Secrets are in a volume."""
    sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
    sources += [volume["secret"]] if "secret" in volume else []
    for source in sources:
        for item in source["items"]:
            yield source.get("name", source.get("secretName")), item


def selects(selector, labels):
    """Does a label selector fit these labels? An empty one fits all."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        # No other is in use.
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


class Objects:
    """All objects of one overlay."""

    def __init__(self, bodies):
        self.bodies = bodies

    def of(self, *kinds):
        return [body for body in self.bodies if body["kind"] in kinds]

    def get(self, kind, name):
        found = [body for body in self.of(kind) if body["metadata"]["name"] == name]
        return found[0] if found else None

    def generated(self, kind, name):
        """A ConfigMap or Secret by its name without the hash of its content."""
        return next(o for o in self.of(kind) if o["metadata"]["name"].rsplit("-", 1)[0] == name)

    def workloads(self):
        return [Workload(body) for body in self.of("Deployment", "StatefulSet")]

    def workload(self, name):
        return next(workload for workload in self.workloads() if workload.name == name)

    def servers(self):
        return [workload for workload in self.workloads() if workload.is_server]

    def namespace(self):
        return self.of("Namespace")[0]["metadata"]["name"]

    def targets(self, service):
        """The workloads that a Service leads to."""
        selector = {"matchLabels": service["spec"].get("selector", {})}
        return [w for w in self.workloads() if selector["matchLabels"] and selects(selector, w.labels)]

    def settings(self, server):
        """The variables of a server: the later ConfigMap over the earlier one, and its own over both."""
        variables = {}
        for container in server.containers:
            for source in container.get("envFrom", []):
                variables |= (self.get("ConfigMap", source["configMapRef"]["name"]) or {}).get("data", {})
            variables |= {own["name"]: own["value"] for own in container.get("env", [])}
        return variables

    def secret(self, name, key):
        """What is behind a key of a Secret, or nothing."""
        value = (self.get("Secret", name) or {}).get("data", {}).get(key)
        return value and base64.b64decode(value)

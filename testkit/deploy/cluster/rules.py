"""What a schema can't say of deploy/kubernetes. Each rule yields what is wrong with an overlay's objects."""

import re
from urllib.parse import urlsplit

import yaml

import shipped
from objects import ROOT, secret_items, selects
from reach import ways

OWN_IMAGE = "eventbooker:local"
INGRESS = "nginx.ingress.kubernetes.io/"
# What is for the program's tracing and isn't called like the other settings.
OTEL = {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}


def containers_are_bounded(objects):
    for workload in objects.workloads():
        for container in workload.containers:
            for kind in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    if not container.get("resources", {}).get(kind, {}).get(resource):
                        yield f"{workload.name}: no {kind} of {resource}"


def containers_are_probed(objects):
    for workload in objects.workloads():
        for container in workload.pod["containers"]:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind, {})
                asked = probe.get("httpGet", {})
                if not asked and "exec" not in probe:
                    yield f"{workload.name}: no {kind}"
                if asked and not workload.has_port(asked["port"]):
                    yield f"{workload.name}: {kind} asks a port that isn't there"
                if workload.is_server:
                    # Who waits for a database is not helped by a restart.
                    path = "/ready" if kind == "readinessProbe" else "/health"
                    if asked.get("path") != path:
                        yield f"{workload.name}: {kind} doesn't ask {path}"


def pods_are_locked_up(objects):
    """The profile `restricted` of the Pod Security Standards, and what it leaves open."""
    for workload in objects.workloads():
        pod, name = workload.pod, workload.name
        context = pod.get("securityContext", {})
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                yield f"{name}: {key}"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: may speak to Kubernetes"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name}: is told of all Services"
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name}: may be root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        for volume in pod.get("volumes", []):
            if not set(volume) - {"name"} <= {"emptyDir", "secret", "projected", "configMap"}:
                yield f"{name}: volume {volume['name']} is of another kind"
        for container in workload.containers:
            own = container.get("securityContext", {})
            if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
                yield f"{name}: may gain privileges"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{name}: may write to its root file system"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name}: has capabilities"
            if set(own) & {"runAsUser", "runAsNonRoot", "seccompProfile"}:
                yield f"{name}: a container goes its own way"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{name}: takes a port of its machine"


def the_namespace_is_restricted(objects):
    namespaces = objects.of("Namespace")
    if len(namespaces) != 1:
        yield "there is not one namespace"
        return
    labels = namespaces[0]["metadata"].get("labels", {})
    for mode in ("enforce", "warn"):
        if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted":
            yield f"the namespace doesn't {mode} the profile"
        if not re.fullmatch(r"v1\.\d+", labels.get(f"pod-security.kubernetes.io/{mode}-version", "")):
            yield f"the profile to {mode} is of no fixed version"
    for body in objects.bodies:
        if body["kind"] != "Namespace" and body["metadata"].get("namespace") != objects.namespace():
            yield f"{body['kind']} {body['metadata']['name']} is in another namespace"


def images_are_pinned(objects):
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    for workload in objects.workloads():
        for container in workload.containers:
            image = container["image"]
            if image != OWN_IMAGE and not re.search(r":[^/:@]+@sha256:[0-9a-f]{64}$", image):
                yield f"{workload.name}: {image} is another one tomorrow"
            if container["name"] == "postgres" and image != compose["database"]["image"]:
                yield f"{workload.name}: compose.yaml has another PostgreSQL"


def services_lead_to_pods(objects):
    for service in objects.of("Service"):
        name, targets = service["metadata"]["name"], objects.targets(service)
        if len(targets) != 1:
            yield f"Service {name} leads to {[target.name for target in targets]}"
        for port in service["spec"]["ports"]:
            for target in targets:
                if not target.has_port(port["targetPort"]):
                    yield f"Service {name}: {target.name} has no port {port['targetPort']}"


def replicas_survive_a_machine(objects):
    for server in objects.servers():
        if server.replicas < 2:
            yield f"{server.name}: one replica"
        budgets = [
            budget
            for budget in objects.of("PodDisruptionBudget")
            if selects(budget["spec"]["selector"], server.labels)
        ]
        if len(budgets) != 1 or budgets[0]["spec"].get("maxUnavailable") != 1:
            yield f"{server.name}: its replicas may be evicted together"
        spread = {
            constraint["topologyKey"]
            for constraint in server.pod.get("topologySpreadConstraints", [])
            if selects(constraint["labelSelector"], server.labels)
            and constraint["labelSelector"].get("matchLabels", {}).get("app.kubernetes.io/instance")
        }
        if spread != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{server.name}: its replicas may be together on one machine"
        stop = server.containers[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        # And the program's own 10 s.
        if server.pod.get("terminationGracePeriodSeconds", 0) < stop.get("seconds", 99) + 15:
            yield f"{server.name}: has no time to stop"


def policies_mean_something(objects):
    """Whoever comes later is closed, too. Each policy selects a Pod, and each of its ports is one of a Pod
    at that end."""
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if closed not in [policy["spec"] for policy in objects.of("NetworkPolicy")]:
        yield "who is in no policy is open"
    for policy in objects.of("NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        own = [w for w in objects.workloads() if selects(spec["podSelector"], w.labels)]
        if not own:
            yield f"NetworkPolicy {name} selects nobody"
        for rule in spec.get("ingress", []):
            for port in rule["ports"]:
                if not all(workload.has_port(port["port"]) for workload in own):
                    yield f"NetworkPolicy {name}: not all have a port {port['port']}"
        for rule in spec.get("egress", []):
            for peer in rule["to"]:
                if "namespaceSelector" in peer:
                    continue
                there = [w for w in objects.workloads() if selects(peer["podSelector"], w.labels)]
                if not there:
                    yield f"NetworkPolicy {name} allows a way to nobody"
                for port in rule["ports"]:
                    if not all(workload.has_port(port["port"]) for workload in there):
                        yield f"NetworkPolicy {name}: there is no port {port['port']} there"


def only_these_ways_are_open(objects):
    """The controller and Prometheus to the public port, a server to its own database, to those that it may
    call, and to a collector if it sends spans there; all else is refused."""
    expected = set()
    for server in objects.servers():
        expected |= {(outside, server.name, "http") for outside in ("ingress-nginx", "monitoring")}
        expected |= {(server.name, "kube-system", name) for name in ("dns", "dns-udp")}
        expected |= {
            (server.name, other.name, "postgres")
            for other in objects.workloads()
            if not other.is_server and other.instance == server.instance
        }
        collector = objects.settings(server).get("EVENTBOOKER_OTLP_ENDPOINT")
        if collector:
            expected.add((server.name, urlsplit(collector).hostname.split(".")[1], "otlp"))
    if len(objects.servers()) > 1:
        names = {server.instance: server.name for server in objects.servers()}
        expected |= {(names[who], names[whom], "internal") for who, whom in shipped.calls()}
    found = ways(objects)
    for who, whom, port in sorted(found - expected):
        yield f"{who} reaches {whom} ({port})"
    for who, whom, port in sorted(expected - found):
        yield f"{who} doesn't reach {whom} ({port})"


def names_are_known(objects):
    """What one object calls another by is there."""
    for workload in objects.workloads():
        for container in workload.containers:
            for source in container.get("envFrom", []):
                if not objects.get("ConfigMap", source["configMapRef"]["name"]):
                    yield f"{workload.name}: no ConfigMap {source['configMapRef']['name']}"
        for volume in workload.pod.get("volumes", []):
            for name, item in secret_items(volume):
                if not objects.secret(name, item["key"]):
                    yield f"{workload.name}: there is nothing in Secret {name}, {item['key']}"
        service = workload.body["spec"].get("serviceName")
        if service and not objects.get("Service", service):
            yield f"{workload.name}: no Service {service}"
    for ingress in objects.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = objects.get("Service", backend["name"]) or {"spec": {"ports": []}}
                ports = [port["name"] for port in service["spec"]["ports"]]
                if backend["port"]["name"] not in ports:
                    yield f"{path['path']} leads to a Service or port that isn't there"
                if backend["port"]["name"] != "http":
                    yield f"{path['path']} leads to what is not public"


def settings_agree(objects):
    known = shipped.settings() | OTEL
    instances = {server.instance for server in objects.servers()}
    hosts = {
        ("https" if ingress["spec"].get("tls") else "http") + "://" + rule["host"]
        for ingress in objects.of("Ingress")
        for rule in ingress["spec"]["rules"]
    }
    for server in objects.servers():
        settings = objects.settings(server)
        for name in sorted(set(settings) - known):
            yield f"{server.name}: there is no setting {name}"
        if {settings.get("EVENTBOOKER_PUBLIC_ORIGIN")} != hosts:
            yield f"{server.name}: its origin is not where the Ingress listens"
        # Each has to know where all others are, whether or not it asks them.
        others = {f"EVENTBOOKER_{other.upper()}_URL" for other in instances - {server.instance}}
        if others != {name for name in settings if name.endswith("_URL")}:
            yield f"{server.name}: doesn't know where the others are, or more than that"
        host = urlsplit(settings.get("EVENTBOOKER_DATABASE", "")).hostname
        if host != f"{server.instance}-database":
            yield f"{server.name}: its database is {host}"
        files = {path for path, _, _ in server.mounted_files()}
        for name, value in settings.items():
            if name.endswith("_FILE") and value not in files:
                yield f"{server.name}: {name} names no file"
            if name == "EVENTBOOKER_TRUSTED_KEYS" and not any(f.startswith(f"{value}/") for f in files):
                yield f"{server.name}: {name} names no folder"
            if name == "EVENTBOOKER_INTERNAL_LISTEN":
                if int(value.rsplit(":", 1)[1]) != server.ports().get("internal"):
                    yield f"{server.name}: listens for the others at another port"
            if name == "EVENTBOOKER_SERVICES" and value != server.instance:
                yield f"{server.name}: is {value}"
            if name.endswith("_URL"):
                url = urlsplit(value)
                service = objects.get("Service", url.hostname) or {"spec": {"ports": []}}
                if (url.port, "internal") not in [(p["port"], p["name"]) for p in service["spec"]["ports"]]:
                    yield f"{server.name}: nobody is at {value}"
                if url.scheme != "http" or url.hostname != f"{name.split('_')[1].lower()}-internal":
                    yield f"{server.name}: {name} is somebody else"


def databases_are_apart(objects):
    """No two have a password in common, and the one that a server is given is its database's."""
    passwords = {}
    for workload in objects.workloads():
        found = [
            objects.secret(name, key)
            for path, name, key in workload.mounted_files()
            if path.endswith("/database-password")
        ]
        passwords.setdefault(workload.instance, set()).update(found)
    if any(len(own) != 1 for own in passwords.values()):
        yield "a server and its database know different passwords"
    if len(set.union(*passwords.values())) != len(passwords):
        yield "two databases have the same password"


def services_prove_themselves(objects):
    """Each has a key that only it has, and knows the same public ones of all."""
    known, own = [], []
    for server in objects.servers():
        files = {
            path.rsplit("/", 1)[1]: objects.secret(name, key)
            for path, name, key in server.mounted_files()
        }
        own += [value for path, value in files.items() if path == "signing-key.pem"]
        known.append({path: value for path, value in files.items() if value and b"PUBLIC KEY" in value})
    if len(objects.servers()) == 1:
        return
    if len(own) != len(objects.servers()) or len(set(own)) != len(own):
        yield "keys are missing, or two services have the same one"
    if any(keys != known[0] or len(set(keys.values())) != len(own) for keys in known):
        yield "not all services know all public keys"


def closed_paths(objects):
    """Ingresses by whether nobody gets anything there."""
    opened, closed = [], []
    for ingress in objects.of("Ingress"):
        notes = ingress["metadata"]["annotations"]
        is_closed = notes.get(f"{INGRESS}denylist-source-range") == "0.0.0.0/0,::/0"
        (closed if is_closed else opened).append(ingress)
    return opened, closed


def paths_of(ingresses):
    return [
        (path["path"], path["backend"]["service"]["name"])
        for ingress in ingresses
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]


def the_controller_behaves(objects):
    """What docs/OPERATIONS.md asks of a proxy, as the one that is shipped does it."""
    proxy = shipped.Proxy()
    seconds = ("proxy_connect_timeout", "proxy_send_timeout", "proxy_read_timeout")
    wanted = {name.replace("_", "-"): proxy.directives[name].removesuffix("s") for name in seconds}
    wanted |= {
        "proxy-body-size": proxy.directives["client_max_body_size"],
        # It knows no difference between a GET and a PUT.
        "proxy-next-upstream": "off",
        # Or it would have to be told so by each answer.
        "proxy-buffering": "off",
    }
    opened, closed = closed_paths(objects)
    for ingress in opened:
        name, notes = ingress["metadata"]["name"], ingress["metadata"]["annotations"]
        for note, value in wanted.items():
            if notes.get(f"{INGRESS}{note}") != value:
                yield f"Ingress {name}: {note} is not {value}"
    # One process has nothing to say to others.
    expected = proxy.closed if len(objects.servers()) > 1 else {"/metrics"}
    if {path for path, _ in paths_of(closed)} != expected:
        yield f"it is not {sorted(expected)} that is shown to nobody"


def the_controller_asks_who_it_is(objects):
    """As the shipped proxy does, before each request."""
    if len(objects.servers()) == 1:
        return
    proxy = shipped.Proxy()
    port = objects.get("Service", f"{proxy.auth}-public")["spec"]["ports"][0]["port"]
    auth = f"http://{proxy.auth}-public.{objects.namespace()}.svc.cluster.local:{port}{proxy.asks}"
    for ingress in closed_paths(objects)[0]:
        name, notes = ingress["metadata"]["name"], ingress["metadata"]["annotations"]
        if notes.get(f"{INGRESS}auth-url") != auth:
            yield f"Ingress {name} doesn't ask who it is"
        handed_on = notes.get(f"{INGRESS}auth-response-headers", "").lower().split(",")
        if set(handed_on) != proxy.headers:
            yield f"Ingress {name} doesn't hand on {sorted(proxy.headers)}, or more than that"


def paths_lead_where_the_shipped_proxy_leads(objects):
    """The same patterns lead to the same services. Where several fit, the shipped proxy takes the first one,
    ingress-nginx the longest one, without regard to case."""
    if len(objects.servers()) == 1:
        return
    proxy = shipped.Proxy()
    opened, closed = closed_paths(objects)
    found = paths_of(opened)
    expected = [(path, f"{service}-public") for path, service in [*proxy.patterns, ("/", proxy.rest)]]
    for path, service in sorted(set(found) ^ set(expected)):
        yield f"{path} leads to {service} in one of both only"
    everywhere = [(path, None) for path, _ in paths_of(closed)] + found
    everywhere.sort(key=lambda path: -len(path[0]))
    for path in sorted({*proxy.samples(), *shipped.paths(), "/metrics", "/internal/v1/book/look"}):
        fit = (to for pattern, to in everywhere if re.match(pattern, path, re.IGNORECASE))
        leads, there = next(fit, "nobody"), proxy.service(path)
        if leads != (there and f"{there}-public"):
            yield f"{path} leads to {leads}"
    for ingress in objects.of("Ingress"):
        if ingress["metadata"]["annotations"].get(f"{INGRESS}use-regex") != "true":
            yield f"Ingress {ingress['metadata']['name']} takes patterns for paths"


ALL = [
    containers_are_bounded,
    containers_are_probed,
    pods_are_locked_up,
    the_namespace_is_restricted,
    images_are_pinned,
    services_lead_to_pods,
    replicas_survive_a_machine,
    policies_mean_something,
    only_these_ways_are_open,
    names_are_known,
    settings_agree,
    databases_are_apart,
    services_prove_themselves,
    the_controller_behaves,
    the_controller_asks_who_it_is,
    paths_lead_where_the_shipped_proxy_leads,
]

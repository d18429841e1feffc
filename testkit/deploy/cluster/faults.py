"""What can go wrong in the overlay `saga`, one fault after the other, and the rule that has to find it.

A fault is `drop` or `put`: an object by its kind and name, the way to a member of it, and what stands there
then. Names of ConfigMaps and Secrets are without the hash of their content."""

import rules
import shipped

POD = "spec template spec"
FIRST = f"{POD} containers 0"
LABELS = "spec podSelector matchLabels"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
PROFILE = "metadata labels pod-security.kubernetes.io/enforce"
NOTES = f"metadata annotations {rules.INGRESS}"
PATHS = "spec rules 0 http paths"
BACKEND = f"{PATHS} 0 backend service"


def found(objects, thing):
    kind, name = thing.split("/")
    return objects.get(kind, name) or objects.generated(kind, name)


def at(objects, thing, way):
    """The member before the last one of the way, and the last one's name."""
    *steps, last = way.split(" ")
    place = found(objects, thing)
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    return place, int(last) if last.isdigit() else last


def drop(thing, way=None):
    def spoil(objects):
        if way is None:
            objects.bodies.remove(found(objects, thing))
        else:
            place, last = at(objects, thing, way)
            del place[last]

    return spoil


def put(thing, way, value):
    def spoil(objects):
        place, last = at(objects, thing, way)
        if last == "+":
            place.append(value)
        else:
            place[last] = value

    return spoil


def same(thing, other, key):
    """One Secret's value in the place of another one's."""

    def spoil(objects):
        found(objects, thing)["data"][key] = found(objects, other)["data"][key]

    return spoil


def borrow(thing, way, other):
    """The name of another object."""

    def spoil(objects):
        place, last = at(objects, thing, way)
        place[last] = found(objects, other)["metadata"]["name"]

    return spoil


def together(*faults):
    def spoil(objects):
        for fault in faults:
            fault(objects)

    return spoil


def setting(name, value, of="common"):
    return put(f"ConfigMap/{of}", f"data EVENTBOOKER_{name}", value)


ANYBODY = {"namespaceSelector": {}}
AUTH = {"podSelector": {"matchLabels": {COMPONENT: "server", INSTANCE: "auth"}}}
HOST_FILES = {"name": "host", "hostPath": {"path": "/"}}
INTERNAL = {"port": "internal", "protocol": "TCP"}

FAULTS = {
    rules.containers_are_bounded: {
        "no limit of memory": drop("Deployment/book-server", f"{FIRST} resources limits memory"),
        "no request of a core": drop("StatefulSet/auth-database", f"{FIRST} resources requests cpu"),
    },
    rules.containers_are_probed: {
        "no probe": drop("StatefulSet/auth-database", f"{FIRST} livenessProbe"),
        "no port": put("Deployment/auth-server", f"{FIRST} startupProbe httpGet port", "htpp"),
        "restarts": put("Deployment/auth-server", f"{FIRST} livenessProbe httpGet path", "/ready"),
        "too early": put("Deployment/auth-server", f"{FIRST} readinessProbe httpGet path", "/health"),
    },
    rules.pods_are_locked_up: {
        "root": put("Deployment/book-server", f"{POD} securityContext runAsUser", 0),
        "perhaps root": drop("Deployment/book-server", f"{POD} securityContext runAsNonRoot"),
        "root inside": put("Deployment/book-server", f"{FIRST} securityContext runAsUser", 0),
        "files": drop("StatefulSet/book-database", f"{FIRST} securityContext readOnlyRootFilesystem"),
        "capabilities": put(
            "Deployment/book-server", f"{FIRST} securityContext capabilities add", ["NET_RAW"]
        ),
        "privileges": drop(
            "Deployment/book-server", f"{FIRST} securityContext allowPrivilegeEscalation"
        ),
        "no seccomp": drop("Deployment/book-server", f"{POD} securityContext seccompProfile"),
        "a token": drop("Deployment/book-server", f"{POD} automountServiceAccountToken"),
        "variables": drop("Deployment/book-server", f"{POD} enableServiceLinks"),
        "the machine's network": put("Deployment/book-server", f"{POD} hostNetwork", True),
        "the machine's files": put("Deployment/book-server", f"{POD} volumes +", HOST_FILES),
        "the machine's port": put("Deployment/book-server", f"{FIRST} ports 0 hostPort", 80),
    },
    rules.the_namespace_is_restricted: {
        "no profile": drop("Namespace/saga", PROFILE),
        "a profile that changes": put("Namespace/saga", f"{PROFILE}-version", "latest"),
        "elsewhere": put("Service/auth-public", "metadata namespace", "default"),
    },
    rules.images_are_pinned: {
        "latest": put("Deployment/book-server", f"{FIRST} image", "eventbooker:latest"),
        "no tag": put("Deployment/book-server", f"{FIRST} image", "eventbooker"),
        "no digest": put("StatefulSet/book-database", f"{FIRST} image", "postgres:17.11-bookworm"),
        "another": put(
            "StatefulSet/book-database", f"{FIRST} image", f"postgres:18@sha256:{'0' * 64}"
        ),
    },
    rules.services_lead_to_pods: {
        "nobody": put("Service/book-internal", f"spec selector {COMPONENT}", "sever"),
        "two": drop("Service/book-internal", f"spec selector {COMPONENT}"),
        "no port": put("Service/book-internal", "spec ports 0 targetPort", 8082),
    },
    rules.replicas_survive_a_machine: {
        "one replica": put("Deployment/auth-server", "spec replicas", 1),
        "no budget": drop("PodDisruptionBudget/auth-server"),
        "a budget for nobody": put(
            "PodDisruptionBudget/auth-server", f"spec selector matchLabels {INSTANCE}", "aut"
        ),
        "one machine": drop("Deployment/auth-server", f"{POD} topologySpreadConstraints 0"),
        "no time": put("Deployment/auth-server", f"{POD} terminationGracePeriodSeconds", 10),
        "no warning": drop("Deployment/auth-server", f"{FIRST} lifecycle"),
    },
    rules.policies_mean_something: {
        "open": drop("NetworkPolicy/closed"),
        "half open": put("NetworkPolicy/closed", "spec policyTypes", ["Ingress"]),
        "for nobody": put("NetworkPolicy/book-links", f"{LABELS} {INSTANCE}", "bok"),
        "no port": put("NetworkPolicy/book-links", "spec ingress 0 ports 0 port", "intern"),
        "no port there": put("NetworkPolicy/book-links", "spec egress 0 ports 0 port", 8082),
        "to nobody": put(
            "NetworkPolicy/book-links",
            f"spec egress 0 to 0 podSelector matchLabels {INSTANCE}",
            "event",
        ),
    },
    rules.only_these_ways_are_open: {
        "a database for all": together(
            drop("NetworkPolicy/closed"), drop("NetworkPolicy/book-database")
        ),
        "another's database": together(
            drop("NetworkPolicy/auth-server", f"spec egress 0 to 0 podSelector matchLabels {INSTANCE}"),
            drop(
                "NetworkPolicy/book-database",
                f"spec ingress 0 from 0 podSelector matchLabels {INSTANCE}",
            ),
        ),
        "a database from outside": put("NetworkPolicy/book-database", "spec ingress 0 from +", ANYBODY),
        "internal from outside": put("NetworkPolicy/book-server", "spec ingress 0 ports +", INTERNAL),
        "public from everywhere": drop("NetworkPolicy/book-server", "spec ingress 0 from"),
        "out": put("NetworkPolicy/book-server", "spec egress +", {"to": [ANYBODY]}),
        "not needed": together(
            put("NetworkPolicy/book-links", "spec ingress 0 from +", AUTH),
            put("NetworkPolicy/auth-server", "spec egress +", {"to": [{"podSelector": {}}]}),
        ),
        "spans": setting("OTLP_ENDPOINT", "http://collector.monitoring:4318"),
        "missing": drop("NetworkPolicy/account-links"),
        "missing at its start": drop("NetworkPolicy/account-links", "spec egress 0"),
        "missing at its end": drop("NetworkPolicy/account-links", "spec ingress 0"),
        "no names": drop("NetworkPolicy/auth-server", "spec egress 1"),
        "no names as most ask for them": drop("NetworkPolicy/auth-server", "spec egress 1 ports 0"),
        "public from anybody": put("NetworkPolicy/book-server", "spec ingress 0 from", []),
    },
    rules.names_are_known: {
        "no ConfigMap": drop("ConfigMap/common"),
        "no key": drop("Secret/trusted", "data book.pem"),
        "no Service for an Ingress": drop("Service/account-public"),
        "no Service for a database": drop("Service/book-database"),
        "internal": together(
            put("Ingress/public", f"{BACKEND} name", "book-internal"),
            put("Ingress/public", f"{BACKEND} port name", "internal"),
        ),
    },
    rules.settings_agree: {
        "no setting": setting("LOGS", "info"),
        "another origin": setting("PUBLIC_ORIGIN", "https://arch.homework"),
        "another database": setting(
            "DATABASE", "postgres://eventbooker@auth-database/eventbooker", "book-settings"
        ),
        "no file": setting("SIGNING_KEY_FILE", "/run/secrets/key.pem"),
        "no folder": setting("TRUSTED_KEYS", "/run/secrets/trusted"),
        "another internal port": setting("INTERNAL_LISTEN", "0.0.0.0:8082"),
        "another service": setting("SERVICES", "auth", "book-settings"),
        "nowhere": drop("ConfigMap/account-settings", "data EVENTBOOKER_EVENTS_URL"),
        "itself": setting("BOOK_URL", "http://book-internal:8081", "book-settings"),
        "no such protocol": setting("EVENTS_URL", "https://events-internal:8081", "book-settings"),
        "a public port": setting("EVENTS_URL", "http://events-internal:8080", "book-settings"),
        "another participant": setting("EVENTS_URL", "http://account-internal:8081", "book-settings"),
    },
    rules.databases_are_apart: {
        "one password": same("Secret/book-database", "Secret/auth-database", "database-password"),
        "another password": borrow(
            "Deployment/book-server",
            f"{POD} volumes 0 projected sources 0 secret name",
            "Secret/auth-database",
        ),
    },
    rules.services_prove_themselves: {
        "one key": same("Secret/book-key", "Secret/auth-key", "signing-key.pem"),
        "no key": drop("Deployment/book-server", f"{POD} volumes 0 projected sources 1"),
        "no public key": drop("Secret/trusted", "data book.pem"),
    },
    rules.the_controller_behaves: {
        "twice": drop("Ingress/public", f"{NOTES}proxy-next-upstream"),
        "no patience": put("Ingress/public", f"{NOTES}proxy-read-timeout", "30"),
        "no answer": drop("Ingress/public", f"{NOTES}proxy-connect-timeout"),
        "large bodies": drop("Ingress/public", f"{NOTES}proxy-body-size"),
        "streams that wait": put("Ingress/public", f"{NOTES}proxy-buffering", "on"),
        "metrics": drop("Ingress/closed", f"{PATHS} 1"),
        "internal": drop("Ingress/closed", f"{PATHS} 0"),
        "for all": drop("Ingress/closed", f"{NOTES}denylist-source-range"),
    },
    rules.the_controller_asks_who_it_is: {
        "nobody is asked": drop("Ingress/public", f"{NOTES}auth-url"),
        "another is asked": put(
            "Ingress/public",
            f"{NOTES}auth-url",
            "http://auth-internal.saga.svc.cluster.local:8081/auth?optional=true",
        ),
        "nobody may be nobody": put(
            "Ingress/public",
            f"{NOTES}auth-url",
            "http://auth-public.saga.svc.cluster.local:8080/auth",
        ),
        "no word": put(
            "Ingress/public",
            f"{NOTES}auth-response-headers",
            "X-User-Id,X-User,X-Email,X-First-Name,X-Last-Name,traceparent",
        ),
        "no trace": put(
            "Ingress/public",
            f"{NOTES}auth-response-headers",
            "X-Identity,X-User-Id,X-User,X-Email,X-First-Name,X-Last-Name",
        ),
    },
    rules.paths_lead_where_the_shipped_proxy_leads: {
        "another service": put("Ingress/public", f"{PATHS} 1 backend service name", "auth-public"),
        "a path less": drop("Ingress/public", f"{PATHS} 3"),
        "a path more": put("Ingress/public", f"{PATHS} 3 path", "/accounts?/"),
        "no rest": drop("Ingress/public", f"{PATHS} 8"),
        "a longer one wins": put("Ingress/closed", f"{PATHS} 0 path", "/(account|internal|metrics)/"),
        "no patterns": drop("Ingress/closed", f"{NOTES}use-regex"),
    },
}

# What can change in what is shipped, by the file that it is in, and which rule has to find it.
DRIFT = {
    "a path moves": (
        rules.paths_lead_where_the_shipped_proxy_leads,
        shipped.PROXY,
        ("~^/user/account(/|$)                                 account;", "~^/user/account(/|$) book;"),
    ),
    "a path comes": (
        rules.paths_lead_where_the_shipped_proxy_leads,
        shipped.PROXY,
        ("~^/account/ ", "~^/money/ account;\n        ~^/account/ "),
    ),
    "a path goes": (
        rules.paths_lead_where_the_shipped_proxy_leads,
        shipped.PROXY,
        ("        ~^/admin/users(/|$)                                  auth;\n", ""),
    ),
    "the rest moves": (
        rules.paths_lead_where_the_shipped_proxy_leads,
        shipped.PROXY,
        ("default                                              events;", "default book;"),
    ),
    "another order": (
        rules.paths_lead_where_the_shipped_proxy_leads,
        shipped.PROXY,
        (
            "        ~^/admin/users/[^/]+/deposit$                        account;\n"
            "        ~^/admin/users(/|$)                                  auth;\n",
            "        ~^/admin/users(/|$)                                  auth;\n"
            "        ~^/admin/users/[^/]+/deposit$                        account;\n",
        ),
    ),
    "another path is closed": (
        rules.the_controller_behaves,
        shipped.PROXY,
        ("location /internal {", "location /inside {"),
    ),
    "more patience": (
        rules.the_controller_behaves,
        shipped.PROXY,
        ("proxy_read_timeout 35s;", "proxy_read_timeout 65s;"),
    ),
    "another question": (
        rules.the_controller_asks_who_it_is,
        shipped.PROXY,
        ("/auth?optional=true;", "/auth;"),
    ),
    "another header": (
        rules.the_controller_asks_who_it_is,
        shipped.PROXY,
        ("        proxy_set_header traceparent $trace;\n", "        proxy_set_header X-Trace $trace;\n"),
    ),
    "another caller": (
        rules.only_these_ways_are_open,
        shipped.CALLS,
        (
            "    of: Context::Bookings,\n    callers: &[Context::Events],",
            "    of: Context::Bookings,\n    callers: &[Context::Events, Context::Accounts],",
        ),
    ),
    "a caller less": (
        rules.only_these_ways_are_open,
        shipped.CALLS,
        ("callers: &[Context::Identity, Context::Bookings]", "callers: &[Context::Bookings]"),
    ),
    "a setting less": (
        rules.settings_agree,
        shipped.SETTINGS,
        ("`EVENTBOOKER_INTERNAL_LISTEN`", "`EVENTBOOKER_LISTEN_INTERNAL`"),
    ),
}

"""What deploy/kubernetes has to agree with: the proxy that is shipped, the table of who may call whom, and the
settings that there are. Each is read where it stands."""

import itertools
import re

from objects import ROOT

PROXY = "deploy/nginx/services.conf"
CALLS = "crates/links/src/server/routes.rs"
SETTINGS = "docs/OPERATIONS.md"

# The contexts of the program, and the services that are called after them.
SERVICES = {"Identity": "auth", "Events": "events", "Accounts": "account", "Bookings": "book"}


def text(path):
    return (ROOT / path).read_text()


class Proxy:
    """What services.conf says."""

    def __init__(self):
        conf = text(PROXY)
        # Which service has which path: (pattern, service), the first one that fits, and whoever has the rest.
        table = re.search(r"\n    map \$uri \$service \{\n(.*?)\n    \}\n", conf, re.DOTALL)[1]
        entries = [re.fullmatch(r"(default|~\^/\S+) +(\w+);", line.strip()) for line in table.splitlines()]
        services = {entry[1]: entry[2] for entry in entries}
        self.rest = services.pop("default")
        self.patterns = [(pattern.removeprefix("~^"), service) for pattern, service in services.items()]
        # Whom it asks who it is, and in which headers it hands on what it hears.
        self.auth, self.asks = re.search(r"proxy_pass http://(\w+)(/\S+);", conf).groups()
        heard = dict(re.findall(r"auth_request_set \$(\w+) \$(?:upstream_http|auth)_(\w+);", conf))
        sent = re.findall(r"\n        proxy_set_header (\S+) \$(\w+);", conf)
        self.headers = {header.lower() for header, variable in sent if variable in heard}
        assert len(self.headers) == len(heard)
        # What nobody gets, as patterns.
        closed = re.findall(r"location (= )?(/\S+) \{\s+return 404;", conf)
        self.closed = {f"{path}$" if exactly else path for exactly, path in closed}
        # What holds for all paths.
        self.directives = dict(re.findall(r"\n        (\w+) (\S+);", conf))

    def service(self, path):
        """Who is asked for a path, if anybody is."""
        if any(re.match(pattern, path) for pattern in self.closed):
            return None
        found = (service for pattern, service in self.patterns if re.match(pattern, path))
        return next(found, self.rest)

    def samples(self):
        """Paths of which each pattern fits some, with something after them, too."""
        for pattern, _ in self.patterns:
            for path in expanded(pattern):
                yield from (path, f"{path}/", f"{path}/7", f"{path}x")


def expanded(pattern):
    """Texts that a pattern fits. It knows as much of patterns as services.conf uses."""
    pattern = pattern.replace("[^/]+", "7").replace("sign-(in|up|out)", "sign-in|sign-up|sign-out")
    parts = re.split(r"\(([^()]*)\)", pattern)
    # Every second one is a choice.
    choices = [part.split("|") if place % 2 else [part] for place, part in enumerate(parts)]
    for chosen in itertools.product(*choices):
        path = "".join(chosen).removesuffix("$")
        assert not set(path) & set("()[]|?*+$\\"), f"{pattern} is of a kind that is new here"
        yield path


def paths():
    """The paths of the program, and some that only look so."""
    found = set()
    for file in (ROOT / "crates" / "web" / "src").rglob("*.rs"):
        found |= set(re.findall(r'"(/[a-z][^"? ]*|/)"', file.read_text()))
    return {re.sub(r"\{\w*\}", "7", path) for path in found}


def calls():
    """Which service may call which."""
    code = text(CALLS)
    routes = re.findall(r"Route \{\s*of: Context::(\w+),\s*callers: &\[([^]]*)\]", code)
    assert len(routes) == len(re.findall(r'path = "/internal/', code)), "not all routes were understood"
    return {
        (SERVICES[caller], SERVICES[of])
        for of, callers in routes
        for caller in re.findall(r"Context::(\w+)", callers)
    }


def settings():
    """The variables that the program knows."""
    table = text(SETTINGS).split("<!-- settings -->")[1].split("<!-- end -->")[0]
    return set(re.findall(r"`(EVENTBOOKER_[A-Z_]+)`", table))

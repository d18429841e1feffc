"""What a schema can't say of deploy/compose.yaml: that every container is locked up, that addresses which
stand in several places are the same, and that the proxy's configuration knows the replicas' names."""

import pathlib
import sys

from ruamel.yaml import YAML

deploy = pathlib.Path(__file__).parents[2] / "deploy"
compose = YAML(typ="safe").load((deploy / "compose.yaml").read_text())
services = compose["services"]
faults = []


def expect(holds, fault):
    if not holds:
        faults.append(fault)


def address(service):
    return services[service]["networks"]["front"]["ipv4_address"]


for name, service in services.items():
    expect(service.get("read_only") is True, f"{name} may write to its root file system")
    expect(service.get("cap_drop") == ["ALL"], f"{name} has capabilities")
    expect(service.get("security_opt") == ["no-new-privileges:true"], f"{name} may gain privileges")
    expect("restart" in service, f"{name} is not restarted")
    # Our own image says both by itself.
    if service["image"] != "eventbooker:local":
        expect(service.get("user", "0").split(":")[0] != "0", f"{name} runs as root")
        expect("healthcheck" in service, f"{name} is not asked for its health")

replicas = [name for name in services if name.startswith("replica-")]
expect(len(replicas) == 2, "there are not two replicas")
expect(
    sum("build" in service for service in services.values()) == 1,
    "an image that is built twice under one name is a race",
)
hosts = {f"{replica}:{address(replica)}" for replica in replicas}
expect(set(services["proxy"]["extra_hosts"]) == hosts, "the proxy looks for replicas elsewhere")
nginx = (deploy / "nginx" / "nginx.conf").read_text()
for replica in replicas:
    trusted = services[replica]["environment"]["EVENTBOOKER_TRUSTED_PROXIES"]
    expect(trusted == address("proxy"), f"{replica} believes another proxy")
    expect(f"server {replica}:8080 " in nginx, f"nginx.conf doesn't know {replica}")
    health = services["proxy"]["depends_on"].get(replica, {}).get("condition")
    expect(health == "service_healthy", f"the proxy doesn't wait for {replica}")
for port in services["proxy"]["ports"]:
    expect(port.startswith("127.0.0.1:"), f"{port} is open to other machines")

for fault in faults:
    print(f"deploy/compose.yaml: {fault}", file=sys.stderr)
sys.exit(bool(faults))

"""deploy/kubernetes as it is rendered: against the schemas of Kubernetes, and against the rules. Each rule is
shown what it is there for, and has to find it."""

import copy
import os
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

import rules
from faults import FAULTS
from objects import ROOT, Objects, copied, rendered

OVERLAYS = ["single", "saga"]
# The oldest that is looked after, and the newest.
VERSIONS = ["1.35", "1.37"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="session")
def all_objects(folder):
    return {overlay: rendered(folder / "overlays" / overlay) for overlay in OVERLAYS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_schemas_hold(all_objects, overlay, version):
    for body in all_objects[overlay].bodies:
        kubernetes_validate.validate(body, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_find_a_name_that_is_not_there(all_objects, version):
    body = copy.deepcopy(all_objects["saga"].of("Deployment")[0])
    body["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(body, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.__name__)
def test_the_rules_hold(all_objects, overlay, rule):
    assert list(rule(all_objects[overlay])) == []


@pytest.mark.parametrize(
    ("rule", "fault"),
    [pytest.param(r, f, id=f"{r.__name__}-{f}") for r, faults in FAULTS.items() for f in faults],
)
def test_a_rule_finds_its_fault(all_objects, rule, fault):
    spoiled = Objects(copy.deepcopy(all_objects["saga"].bodies))
    FAULTS[rule][fault](spoiled)
    assert list(rule(spoiled)) != []


def test_every_rule_is_shown_a_fault():
    assert list(FAULTS) == rules.ALL


LEADS = {
    "/": "book-public",
    "/login": "auth-public",
    "/logout": "auth-public",
    "/register": "auth-public",
    "/auth": "auth-public",
    "/account/deposit": "account-public",
    "/events": "events-public",
    "/events/create": "events-public",
    "/events/7": "events-public",
    "/events/7/live": "events-public",
    "/events/7/book": "book-public",
    "/events/7/confirm": "book-public",
    "/events/7/bookings": "book-public",
    "/bookings/7/cancel": "book-public",
    "/book/create": "book-public",
    "/user/bookings": "book-public",
}


def test_each_service_is_asked_for_what_is_its_own(all_objects):
    """As ingress-nginx chooses where one path of a host is a pattern: without regard to case, the longest."""
    paths = [
        (path["path"], path["backend"]["service"]["name"])
        for ingress in all_objects["saga"].of("Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    paths.sort(key=lambda path: -len(path[0]))
    for asked, expected in LEADS.items():
        found = next(to for path, to in paths if re.match(path, asked, re.IGNORECASE))
        assert found == expected, asked


def test_what_is_secret_is_nowhere_else(all_objects):
    for objects in all_objects.values():
        others = yaml.safe_dump_all([b for b in objects.bodies if b["kind"] != "Secret"])
        for secret in objects.of("Secret"):
            for key in secret["data"]:
                value = objects.secret(secret["metadata"]["name"], key).decode()
                assert value.strip() and value.strip() not in others


def test_secrets_that_are_there_stay(folder):
    files = [path for path in folder.glob("overlays/**/secrets/**/*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    subprocess.run([folder / "make-secrets"], check=True)
    assert before and all(path.read_bytes() == content for path, content in before.items())
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_secrets_are_made_of_files_that_git_ignores():
    generated = 0
    for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"):
        for body in yaml.safe_load_all(path.read_text()):
            assert body["kind"] != "Secret", path
            for secret in body.get("secretGenerator", []):
                assert set(secret) == {"name", "files"}, path
                for file in secret["files"]:
                    generated += 1
                    file = path.parent / file
                    subprocess.run(["git", "check-ignore", "--quiet", file], cwd=ROOT, check=True)
    assert generated > 0
    tracked = subprocess.run(
        ["git", "ls-files", "deploy"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert "secrets/" not in tracked


def test_skaffold_builds_and_deploys_what_there_is():
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    [artifact] = skaffold["build"]["artifacts"]
    # Skaffold puts its own tag in the place of ours.
    assert rules.OWN_IMAGE.split(":")[0] == artifact["image"]
    assert (ROOT / artifact["context"] / artifact["docker"]["dockerfile"]).is_file()
    deployed = []
    for part in [skaffold, *skaffold["profiles"]]:
        [hook] = part["manifests"]["hooks"]["before"]
        [command] = hook["host"]["command"]
        assert os.access(ROOT / command, os.X_OK)
        deployed += part["manifests"]["kustomize"]["paths"]
    assert sorted(deployed) == sorted(f"deploy/kubernetes/overlays/{o}" for o in OVERLAYS)

"""deploy/kubernetes as it is rendered: against the schemas of Kubernetes, and against the rules. Each rule is
shown what it is there for, and has to find it."""

import copy
import os
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

import rules
import shipped
from faults import DRIFT, FAULTS
from objects import ROOT, Objects, copied, rendered

OVERLAYS = ["single", "saga"]
# With each component that an overlay can take in.
WITH = {f"{overlay} with traces": overlay for overlay in OVERLAYS}
ALL = [*OVERLAYS, *WITH]
# The oldest that is looked after, and the newest.
VERSIONS = ["1.35", "1.37"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="session")
def all_objects(folder):
    overlays = folder / "overlays"
    for name, overlay in WITH.items():
        shutil.copytree(overlays / overlay, overlays / name)
        file = overlays / name / "kustomization.yaml"
        text = file.read_text()
        # As somebody would do it who wants it.
        assert text.count("\n# components: ") == 1
        file.write_text(text.replace("\n# components: ", "\ncomponents: "))
    return {overlay: rendered(overlays / overlay) for overlay in ALL}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", ALL)
def test_the_schemas_hold(all_objects, overlay, version):
    for body in all_objects[overlay].bodies:
        kubernetes_validate.validate(body, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_find_a_name_that_is_not_there(all_objects, version):
    body = copy.deepcopy(all_objects["saga"].of("Deployment")[0])
    body["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(body, version, strict=True)


@pytest.mark.parametrize("overlay", ALL)
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


@pytest.mark.parametrize("drift", DRIFT)
def test_what_is_shipped_cannot_change_alone(all_objects, monkeypatch, drift):
    rule, changed, (there, then) = DRIFT[drift]
    as_it_is = {path: shipped.text(path) for path in (shipped.PROXY, shipped.CALLS, shipped.SETTINGS)}
    assert there in as_it_is[changed]
    changed_text = as_it_is | {changed: as_it_is[changed].replace(there, then)}
    monkeypatch.setattr(shipped, "text", changed_text.__getitem__)
    assert list(rule(all_objects["saga"])) != []


def test_what_is_secret_is_nowhere_else(all_objects):
    for objects in all_objects.values():
        others = yaml.safe_dump_all([b for b in objects.bodies if b["kind"] != "Secret"])
        for secret in objects.of("Secret"):
            for key in secret["data"]:
                value = objects.secret(secret["metadata"]["name"], key).decode()
                assert value.strip() and value.strip() not in others


def secret_files(folder):
    files = folder.glob("overlays/**/secrets/**/*")
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_secrets_that_are_there_stay(folder):
    before = secret_files(folder)
    subprocess.run([folder / "make-secrets"], check=True)
    assert before and secret_files(folder) == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in before)


def public_half(key):
    return subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("service", ["auth", "book"])
def test_a_key_is_changed_while_old_and_new_replicas_understand_each_other(tmp_path, service):
    folder = copied(tmp_path)
    overlay = folder / "overlays" / "saga"
    key, trusted = overlay / service / "secrets" / "signing-key.pem", overlay / "secrets" / "trusted"
    states = []

    def look():
        states.append((public_half(key), (trusted / f"{service}.pem").read_bytes()))

    untouched = secret_files(folder)
    look()
    for step in ("1 of 3", "2 of 3", "3 of 3"):
        said = subprocess.run(
            [folder / "make-secrets", "rotate", service], check=True, stdout=subprocess.PIPE, text=True
        )
        assert said.stdout.startswith(step)
        # Deploying makes what is missing, which is nothing.
        subprocess.run([folder / "make-secrets"], check=True)
        look()
    for (signs, trusts), (signs_then, trusts_then) in zip(states, states[1:]):
        assert signs in trusts_then and signs_then in trusts
    (old, _), (new, trusts) = states[0], states[-1]
    assert new != old and trusts == new
    changed = {path for path, content in secret_files(folder).items() if untouched.get(path) != content}
    assert changed == {key, trusted / f"{service}.pem"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in changed)


def test_a_step_that_was_interrupted_is_taken_again(tmp_path):
    folder = copied(tmp_path)
    overlay = folder / "overlays" / "saga"
    next_key = overlay / "book" / "secrets" / "next-signing-key.pem"
    # Made, and nobody knows it yet.
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", next_key], check=True)
    rotate = [folder / "make-secrets", "rotate", "book"]
    assert subprocess.run(rotate, check=True, capture_output=True).stdout.startswith(b"1 of 3")
    assert public_half(next_key) in (overlay / "secrets" / "trusted" / "book.pem").read_bytes()


@pytest.mark.parametrize("arguments", [["rotate"], ["rotate", "nobody"], ["remove"]])
def test_what_make_secrets_does_not_know_it_refuses(folder, arguments):
    before = secret_files(folder)
    refused = subprocess.run([folder / "make-secrets", *arguments], capture_output=True)
    assert refused.returncode != 0 and refused.stderr != b""
    assert secret_files(folder) == before


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

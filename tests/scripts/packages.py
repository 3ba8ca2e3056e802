"""Checks infra/deploy/: run by packages.sh."""

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

from containers import HOME, Container, Image, free_port
from server import event_store, until

DEPLOY = "infra/deploy"
KUBERNETES = "1.31"
# Kinds that are no part of Kubernetes itself.
UNCHECKED = {"Kustomization", "HTTPRoute"}
TOUR = "## An order, from stock to shipment"
# Of answers of the tour: the last request asks for more than there is.
EXPECTED_PROBLEM = "insufficient_stock"


def check_manifests():
    for path in sorted(glob.glob(f"{DEPLOY}/kubernetes/*/*.yaml")):
        for document in yaml.safe_load_all(open(path)):
            if document["kind"] not in UNCHECKED:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for folder in ("embedded", "scaled"):
        documents = manifests(folder)
        names = {(one["kind"], one["metadata"]["name"]) for one in documents}
        labels = [pod_template(one)["metadata"]["labels"] for one in documents if "template" in one.get("spec", {})]
        for one in documents:
            check_references(one, names, labels)
    print("the manifests are valid")


def manifests(folder):
    """All documents that the kustomization lists. A file that it does not list is an error."""
    base = f"{DEPLOY}/kubernetes/{folder}"
    listed = yaml.safe_load(open(f"{base}/kustomization.yaml"))["resources"]
    found = {os.path.basename(path) for path in glob.glob(f"{base}/*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == found, f"{base}: {found} are not all listed"
    return [document for file in listed for document in yaml.safe_load_all(open(f"{base}/{file}"))]


def pod_template(document):
    return document["spec"]["template"]


def check_references(one, names, labels):
    """Names and labels that no schema checks."""
    kind, spec = one["kind"], one.get("spec", {})
    if kind in ("Service", "PodDisruptionBudget"):
        wanted = spec["selector"] if kind == "Service" else spec["selector"]["matchLabels"]
        assert any(wanted.items() <= have.items() for have in labels), f"{kind} {one['metadata']['name']}: no pod"
    if kind == "HorizontalPodAutoscaler":
        target = (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
        assert target in names, f"there is no {target}"
        for metric in spec["metrics"]:
            if metric["type"] == "External":
                check_metric(metric["external"]["metric"]["name"])
    if kind == "HTTPRoute":
        for rule in spec["rules"]:
            for backend in rule["backendRefs"]:
                assert ("Service", backend["name"]) in names, f"there is no service {backend['name']}"


def check_metric(name):
    """The adapter makes the metric from one that the platform has."""
    rules = yaml.safe_load(open(f"{DEPLOY}/prometheus/adapter.yaml"))["rules"]["external"]
    rule = next(rule for rule in rules if name == rule.get("name", {}).get("as", rule["seriesQuery"]))
    source = rule["seriesQuery"].removesuffix("_bucket")
    assert f"`{source}`" in open("docs/metrics.md").read(), f"{source} is no metric of the platform"


def check_unit(binary):
    if not shutil.which("systemd-analyze"):
        print("systemd-analyze is not installed: the unit is not checked")
        return
    with tempfile.TemporaryDirectory() as work:
        unit = open(f"{DEPLOY}/systemd/orderly.service").read().replace("/usr/local/bin/orderly", binary)
        # The page is not installed here.
        open(f"{work}/orderly.service", "w").write(unit.replace("Documentation=man:orderly(1)\n", ""))
        done = subprocess.run(["systemd-analyze", "verify", f"{work}/orderly.service"], capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr.strip(), done.stderr
        security = ["systemd-analyze", "security", "--offline=true", "--threshold=20", f"{work}/orderly.service"]
        done = subprocess.run(security, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-300:]
    print("the unit is valid")


def tour(command_port, query_port, key=None):
    """Runs the commands of the README as they stand, but for the ports and, with a key, its header. A query that gets
    503 because reactions or rows are late is repeated, as clients do."""
    section = open("README.md").read().split(TOUR)[1].split("\n## ")[0]
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.S))
    commands = commands.replace("localhost:8080", f"localhost:{command_port}")
    commands = commands.replace("localhost:8081", f"localhost:{query_port}")
    header = f'-H "Authorization: Bearer {key}"' if key else ""
    repeating = f'curl() {{ command curl --retry 20 {header} "$@"; }}\n'
    done = subprocess.run(["bash", "-euc", repeating + commands], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [answer for answer in documents_in(done.stdout) if answer.get("code") != "revision_not_reached"]
    problems = [answer for answer in answers if "code" in answer and "status" in answer]
    assert [problem["code"] for problem in problems] == [EXPECTED_PROBLEM], problems
    assert len(answers) == len(re.findall(r"(?m)^(?:post|get|echo) ", commands)), done.stdout
    order = answers[-2]
    assert (order["payment_status"], order["fulfilment_status"]) == ("partially_refunded", "partially_returned"), order


def documents_in(text):
    """A repeated request prints several documents on one line."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        yield document


def composed(file, image, binary, work):
    """The containers of Orderly in a compose file, by their services."""
    document = yaml.safe_load(open(f"{DEPLOY}/{file}"))
    containers = {}
    for name, service in document["services"].items():
        if service["image"] != "orderly":
            continue
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        containers[name] = made(name, image, binary, work, service["environment"], service.get("command"))
        for published in service.get("ports", []):
            host, outside, inside = published.split(":")
            assert host == "127.0.0.1" and outside == inside and int(inside) in containers[name].ports, published
    return containers


def made(name, image, binary, work, environment, arguments=None):
    volume = f"{work}/{name}"
    os.mkdir(volume, 0o700)
    os.chown(volume, *map(int, image.user.split(":")))
    environment = {key: str(value) for key, value in environment.items()}
    return Container(name, image, binary, volume, environment, arguments)


@contextlib.contextmanager
def running(containers, names):
    names |= {f"{name}:{port}": f"127.0.0.1:{outside}"
              for name, one in containers.items() for port, outside in one.ports.items()}
    try:
        for one in containers.values():
            one.start(names)
        for one in containers.values():
            one.until_healthy(names)
            one.check_user()
        yield
        for one in containers.values():
            one.stop()
    finally:
        for one in containers.values():
            one.kill()


def check_compose(image, binary, work):
    containers = composed("compose.yaml", image, binary, work)
    orderly = containers["orderly"]
    with running(containers, {}):
        tour(orderly.ports[8080], orderly.ports[8081])
        until("a backup is made", lambda: glob.glob(f"{orderly.volume}/backups/*/manifest.json"), 30)
    # The APIs of the image are open to other machines, so it does not start without keys.
    del orderly.given["ORDERLY_AUTH"]
    code, _, error = orderly.run(image.cmd, {})
    assert code == 1 and "orderly keys create" in error, error
    print("compose.yaml passes the README's tour")


def check_scaled_compose(image, binary, work, servers):
    containers = composed("compose.scaled.yaml", image, binary, work)
    command_api, query_api = containers["command-api"].ports[8080], containers["query-api"].ports[8081]
    with running(containers, dict(servers)):
        # Until the roles have divided the partitions of new topics, rows and reactions are late.
        check_order(command_api, query_api, "none", "first", is_charged=True)
        tour(command_api, query_api)
    print("compose.scaled.yaml passes the README's tour")


def workloads(folder, image, binary, work, settings):
    """The pods of the manifests, with settings in place of their secrets. One of each; canaries too."""
    documents = manifests(folder)
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    containers = {}
    for one in documents:
        if one["kind"] not in ("Deployment", "StatefulSet"):
            continue
        name, spec = one["metadata"]["name"], pod_template(one)["spec"]
        (pod,) = spec["containers"]
        assert spec["securityContext"]["runAsUser"] == int(image.user.split(":")[0]), name
        assert pod["securityContext"]["readOnlyRootFilesystem"] and HOME in [at["mountPath"] for at in pod["volumeMounts"]]
        environment = {}
        for source in pod["envFrom"]:
            environment |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else settings
        environment |= {variable["name"]: variable["value"] for variable in pod.get("env", [])}
        containers[name] = made(f"{folder}-{name}", image, binary, work, environment, pod["args"])
        containers[name].pod = pod
    return containers


def check_probes(containers):
    for name, one in containers.items():
        ports = {port["name"]: port["containerPort"] for port in one.pod["ports"]}
        assert set(ports.values()) <= set(one.ports), f"{name} does not listen on all of {ports}"
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = one.pod[kind]["httpGet"]
            assert one.answers(ports[probe["port"]], probe["path"]), f"{name}: {kind} fails"


def key_of(container, names, *scopes):
    code, key, error = container.run(["keys", "create", "--principal", "shop", "--scopes", "admin"], names)
    assert code == 0, error
    return key.strip()


def check_embedded_kubernetes(image, binary, work, bucket):
    """With the sandbox in place of no provider, so that the tour can be run."""
    settings = bucket | {"ORDERLY_PAYMENT_PROVIDER": "sandbox", "ORDERLY_SANDBOX_LISTEN": f"127.0.0.1:{free_port()}"}
    containers = workloads("embedded", image, binary, work, settings)
    orderly = containers["orderly"]
    key = key_of(orderly, {})
    with running(containers, {}):
        check_probes(containers)
        tour(orderly.ports[8080], orderly.ports[8081], key)
        # Not while the one of the schedule is under way.
        until("a backup by hand is made", lambda: orderly.run(["backup"], {})[0] == 0, 30)
    code, report, error = orderly.run(["restore", "--data-dir", f"{HOME}/restored"], {})
    assert code == 0 and "rows compared with the log" in report, report + error
    assert re.search(r"restoring \S+ of s3://shop-backups/orderly", report), report
    print("kubernetes/embedded passes the README's tour, and its backup in a bucket is restored")


def check_scaled_kubernetes(image, binary, work, servers):
    """Without a provider in place of Stripe, whose keys would be missing."""
    stores = {"ORDERLY_EVENT_STORE": "esdb://kurrentdb:2113?tls=false", "ORDERLY_BUS": "kafka://kafka:9092",
              "ORDERLY_READ_MODELS": "postgres://orderly:orderly@postgres:5432/orderly"}
    containers = workloads("scaled", image, binary, work, stores | {"ORDERLY_PAYMENT_PROVIDER": "none"})
    key = key_of(containers["command-api"], servers)
    with running(containers, dict(servers)):
        check_probes(containers)
        for command, query in (("command-api", "query-api"), ("command-api-canary", "query-api-canary")):
            check_order(containers[command].ports[8080], containers[query].ports[8081], key, command)
    print("kubernetes/scaled answers its probes, and places orders through the stable and the canary pods")


def check_order(command_port, query_port, key, sku, is_charged=False):
    authorized = ["-H", f"Authorization: Bearer {key}"]
    def post(path, body):
        headers = [*authorized, "-H", f"Idempotency-Key: {sku}{path}", "-H", "Content-Type: application/json"]
        url = f"localhost:{command_port}{path}"
        done = subprocess.run(["curl", "-sS", "--fail-with-body", *headers, url, "-d", json.dumps(body)],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)
    post(f"/v1/stock/{sku}/receipts", {"quantity": 5})
    line = {"sku": sku, "quantity": 1, "unit_price": 250}
    placed = post("/v1/orders", {"currency": "GBP", "lines": [line]})
    if is_charged:
        post(f"/v1/payments/{placed['payment_id']}/charge", {"method": "ok"})
    row = ["curl", "-sf", *authorized, f"localhost:{query_port}/v1/orders/{placed['order_id']}"]
    state = b'"payment_status":"paid"' if is_charged else b'"status":"allocated"'
    until("the order is visible", lambda: state in subprocess.run(row, capture_output=True).stdout, 60)


@contextlib.contextmanager
def database():
    """A new database of the Postgres of the tests, as the URL in the compose file names it."""
    url, name = os.environ["ORDERLY_TEST_POSTGRES"], f"packages_{os.getpid()}_{free_port()}"
    base, _, _ = url.rpartition("/")
    subprocess.run(["psql", "--quiet", url, "--command", f"CREATE DATABASE {name}"], check=True)
    try:
        yield name, f"{base}/{name}"
    finally:
        drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        subprocess.run(["psql", "--quiet", url, "--command", drop], check=True)


@contextlib.contextmanager
def servers(fixture):
    """The servers of the tests in place of those of the compose file: the texts to replace in settings."""
    with event_store(fixture) as log, database() as (name, read_models):
        yield {
            "esdb://kurrentdb:2113?tls=false": log,
            "kafka://kafka:9092": f"{os.environ['ORDERLY_TEST_KAFKA']}?prefix={name}",
            "postgres://orderly:orderly@postgres:5432/orderly": read_models,
        }


@contextlib.contextmanager
def bucket():
    """A store that speaks the protocol of S3, with the bucket of the manifests."""
    port = free_port()
    server = subprocess.Popen([f"{os.path.dirname(sys.executable)}/moto_server", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    make = ["curl", "-sf", "-X", "PUT", f"http://127.0.0.1:{port}/shop-backups"]
    try:
        until("the bucket exists", lambda: subprocess.run(make, capture_output=True).returncode == 0, 30)
        yield {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
               "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
    finally:
        server.kill()
        server.wait()


def main():
    check_manifests()
    # The user of the image must be able to run it, and /tmp is another one in a container.
    work = tempfile.mkdtemp(prefix="orderly-packages-", dir="/var/tmp")
    try:
        os.chmod(work, 0o755)
        os.mkdir(f"{work}/bin")
        binary = shutil.copy(sys.argv[1], f"{work}/bin/orderly")
        check_unit(binary)
        image = Image(f"{DEPLOY}/Dockerfile")
        assert image.user != "0" and image.volumes == [HOME] and image.entrypoint == ["orderly"]
        check_compose(image, binary, work)
        with bucket() as settings:
            check_embedded_kubernetes(image, binary, work, settings)
        for check in (check_scaled_compose, check_scaled_kubernetes):
            with servers(sys.argv[2]) as names:
                check(image, binary, work, names)
    finally:
        shutil.rmtree(work, ignore_errors=True)


main()

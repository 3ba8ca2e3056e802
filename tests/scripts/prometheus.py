"""A Prometheus that reads servers of this machine, for the scripts in Python. Needs the Debian package prometheus."""

import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

RULES = os.path.abspath("infra/deploy/prometheus/alerts.yml")
CONFIGURATION = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: orderly
    static_configs: [{{ targets: {targets} }}]
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_prometheus(home, admins, port, rules=RULES):
    """Starts a Prometheus on this port, with its files in `home`. `admins`: the admin ports of the processes."""
    configuration, targets = os.path.join(home, "prometheus.yml"), [f"127.0.0.1:{admin}" for admin in admins]
    with open(configuration, "w") as file:
        file.write(CONFIGURATION.format(rules=rules, targets=json.dumps(targets)))
    log = open(os.path.join(home, "prometheus.log"), "w")
    return subprocess.Popen(["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={home}/tsdb",
                             f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def ask(url, query):
    """The values of a query. None while Prometheus starts."""
    try:
        found = get(f"{url}/query?" + urllib.parse.urlencode({"query": query}))["result"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise SystemExit(f"{query}: {error.read().decode()}") from error
    except OSError:
        return None
    return [float(series["value"][1]) for series in found]

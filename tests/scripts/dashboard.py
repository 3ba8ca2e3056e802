"""Sends the queries of the dashboard to a Prometheus that reads a running server: run by dashboard.sh."""

import json
import os
import re
import sys

from prometheus import ask, free_port, get, start_prometheus
from server import Server, until

BINARY = sys.argv[1]
DEPLOY = os.path.abspath("infra/deploy")
# A process shows these metrics only with the servers that they are about.
OF_SERVERS = re.compile("orderly_(relay|postgres|eventstoredb|tls)_")


def main():
    admin, prometheus = free_port(), free_port()
    with Server(BINARY, {"ORDERLY_ADMIN_LISTEN": f"127.0.0.1:{admin}"}) as server:
        server.settings["ORDERLY_BACKUP_URL"] = f"{server.home}/backups"
        server.start()
        process = start_prometheus(server.home, [admin], prometheus)
        try:
            url = f"http://127.0.0.1:{prometheus}/api/v1"
            send_traffic(server)
            until("two samples of each process", lambda: (ask(url, "count_over_time(up[1m])") or [0])[0] >= 5, 60)
            check_panels(url)
            check_rules(url)
        finally:
            process.kill()
            process.wait()


def send_traffic(server):
    server.receive("SKU-1", 1_000, "receipt-1")
    for number in range(100):
        body = {"currency": "EUR", "lines": [{"sku": "SKU-1", "quantity": 1, "unit_price": 100}],
                "payment": {"method": "ok"}}
        answer = server.command("/v1/orders", body, f"order-{number}")
        assert answer.status == 201, answer.body
        server.query(f"/v1/orders/{answer.body['order_id']}?min_revision={answer.body['revision']}")
        assert server.query("/v1/orders?limit=none").status == 400


def check_panels(url):
    with open(f"{DEPLOY}/grafana/orderly.json") as file:
        panels = json.load(file)["panels"]
    empty, count = [], 0
    for panel in panels:
        for query in (target["expr"] for target in panel.get("targets", [])):
            if not OF_SERVERS.search(query):
                count += 1
                plain = query.replace("$__rate_interval", "10s").replace("$instance", ".*")
                # A platform without a condition has no series of it.
                if not ask(url, plain) and "orderly_condition" not in query:
                    empty.append(f"{panel['title']}: {query}")
    if empty:
        raise SystemExit("queries without data:\n" + "\n".join(empty))
    print(f"{count} queries return data")


def check_rules(url):
    def rules():
        return get(f"{url}/rules")["groups"][0]["rules"]

    until("every rule is evaluated", lambda: all(rule["health"] == "ok" for rule in rules()), 30)
    firing = [rule["name"] for rule in rules() if rule["state"] == "firing"]
    if firing:
        raise SystemExit(f"alerts of a healthy platform: {firing}")
    print(f"{len(rules())} alert rules are evaluated, and none fires")


main()

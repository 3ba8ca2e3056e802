"""Checks the double of Stripe with Stripe's own Python library, and every answer against Stripe's OpenAPI description.

Takes the paths of the double's binary and of the description. Fails at the first difference.
"""

import atexit
import json
import subprocess
import sys
import urllib.parse
from uuid import uuid4

import jsonschema
import stripe

WEBHOOK_SECRET = "whsec_double"


class Double:
    """The double, in a process of its own."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Kills the double also after a failed check.
        atexit.register(self.process.kill)
        words = self.process.stdout.readline().split()
        assert words[:2] == ["listening", "on"], words
        self.url = words[2]

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        assert not answer.startswith("error:"), answer
        return answer


class Description:
    """Stripe's OpenAPI description, as JSON schemas."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            spec = json.load(file)
        self.paths = spec["paths"]
        self.version = spec["info"]["version"]
        self.components = nullable_as_null(spec["components"])
        self.checked = {}

    def check(self, method, url, status, body):
        path = urllib.parse.urlsplit(url).path
        name, operation = self.operation(method, path)
        answers = operation["responses"]
        answer = answers["200"] if status == 200 else answers["default"]
        schema = nullable_as_null(answer["content"]["application/json"]["schema"])
        validate = jsonschema.Draft202012Validator({**schema, "components": self.components})
        value = json.loads(body)
        error = jsonschema.exceptions.best_match(validate.iter_errors(value))
        assert error is None, f"{method} {path} answered {status}: {error.message} at {error.json_path}"
        self.check_members(value)
        self.checked[(method, name, status)] = self.checked.get((method, name, status), 0) + 1

    def operation(self, method, path):
        # Tries paths without placeholders first: `/search` is no id.
        for name in sorted(self.paths, key=lambda name: name.count("{")):
            parts, wanted = path.split("/"), name.split("/")
            if len(parts) == len(wanted) and all(w.startswith("{") or w == p for p, w in zip(parts, wanted)):
                return name, self.paths[name][method]
        raise AssertionError(f"Stripe's description has no path {path}")

    def check_members(self, value):
        """Fails for a member that the description lacks."""
        if isinstance(value, list):
            for item in value:
                self.check_members(item)
        elif isinstance(value, dict):
            schema = self.components["schemas"].get(str(value.get("object")))
            if schema is not None:
                unknown = set(value) - set(schema["properties"])
                assert not unknown, f"a {value['object']} has no {unknown}"
            for item in value.values():
                self.check_members(item)

    def check_object(self, value):
        kind = value["object"]
        schema = {"$ref": f"#/components/schemas/{kind}", "components": self.components}
        jsonschema.Draft202012Validator(schema).validate(value)
        self.check_members(value)


def nullable_as_null(node):
    """Rewrites `nullable` of OpenAPI 3.0, which JSON Schema does not know."""
    if isinstance(node, list):
        return [nullable_as_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {name: nullable_as_null(value) for name, value in node.items()}
    if inner.pop("nullable", None) is True:
        return {"anyOf": [inner, {"type": "null"}]}
    return inner


class CheckedClient(stripe.UrllibClient):
    """Checks every answer against the description."""

    def __init__(self, description):
        super().__init__()
        self.description = description

    def request(self, method, url, headers, post_data=None):
        body, status, answered = super().request(method, url, headers, post_data)
        self.description.check(method, url, status, body)
        return body, status, answered


def must_fail(error, call):
    try:
        call()
    except error as raised:
        assert type(raised) is error, f"{type(raised)} is not {error}"
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


class Checks:
    def __init__(self, double, description):
        self.double = double
        self.description = description
        self.client = stripe.StripeClient(
            "sk_test_double",
            base_addresses={"api": double.url},
            http_client=CheckedClient(description),
            max_network_retries=0,
            stripe_version=description.version,
        )
        self.intents = self.client.v1.payment_intents
        self.refunds = self.client.v1.refunds

    def create(self, method="pm_card_visa", key=None, **more):
        params = {
            "amount": 1000, "currency": "gbp", "payment_method": method, "expand": ["latest_charge"],
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}, **more,
        }
        return self.intents.create(params, {"idempotency_key": key} if key else None)

    def paid(self, **more):
        return self.intents.confirm(self.create(**more).id)

    def a_charge_is_made_confirmed_and_read_back(self):
        made = self.create(metadata={"orderly_charge": "1"})
        assert (made.status, made.amount_received, made.metadata["orderly_charge"]) == ("requires_confirmation", 0, "1")
        confirmed = self.intents.confirm(made.id, {"expand": ["latest_charge"]})
        assert (confirmed.status, confirmed.amount_received) == ("succeeded", 1000)
        assert (confirmed.latest_charge.status, confirmed.latest_charge.amount_captured) == ("succeeded", 1000)
        assert self.intents.retrieve(made.id).status == "succeeded"
        must_fail(stripe.InvalidRequestError, lambda: self.intents.confirm(made.id))

    def a_capture_in_part_gives_back_the_rest(self):
        held = self.paid(capture_method="manual")
        assert (held.status, held.amount_capturable) == ("requires_capture", 1000)
        error = must_fail(stripe.InvalidRequestError, lambda: self.intents.capture(held.id, {"amount_to_capture": 1001}))
        assert error.code == "amount_too_large", error.code
        captured = self.intents.capture(held.id, {"amount_to_capture": 400})
        assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 400, 0)
        error = must_fail(stripe.InvalidRequestError, lambda: self.intents.capture(held.id, {"amount_to_capture": 100}))
        assert error.code == "payment_intent_unexpected_state", error.code

    def several_captures_need_a_request_for_multicapture(self):
        options = {"card": {"request_multicapture": "if_available"}}
        made = self.create(capture_method="manual", payment_method_options=options)
        held = self.intents.confirm(made.id, {"expand": ["latest_charge"]})
        assert held.latest_charge.payment_method_details.card.multicapture.status == "available"
        part = self.intents.capture(held.id, {"amount_to_capture": 300, "final_capture": False})
        assert (part.status, part.amount_received, part.amount_capturable) == ("requires_capture", 300, 700)
        over = self.intents.capture(held.id, {"amount_to_capture": 0, "final_capture": True})
        assert (over.status, over.amount_received, over.amount_capturable) == ("succeeded", 300, 0)
        once = self.paid(capture_method="manual")
        must_fail(
            stripe.InvalidRequestError,
            lambda: self.intents.capture(once.id, {"amount_to_capture": 300, "final_capture": False}),
        )

    def a_declined_intent_stays_open_and_can_be_confirmed_again(self):
        made = self.create("pm_card_visa_chargeDeclinedLostCard")
        error = must_fail(stripe.CardError, lambda: self.intents.confirm(made.id))
        assert (error.http_status, error.code, error.error.decline_code) == (402, "card_declined", "lost_card")
        assert error.error.payment_intent.id == made.id
        declined = self.intents.retrieve(made.id, {"expand": ["latest_charge"]})
        assert (declined.status, declined.payment_method) == ("requires_payment_method", None)
        assert declined.latest_charge.outcome.reason == "lost_card"
        again = self.intents.confirm(made.id, {"payment_method": "pm_card_visa"})
        assert (again.status, again.amount_received) == ("succeeded", 1000)

    def a_cancelled_intent_takes_no_money(self):
        held = self.paid(capture_method="manual")
        cancelled = self.intents.cancel(held.id, {"cancellation_reason": "requested_by_customer"})
        assert (cancelled.status, cancelled.amount_capturable) == ("canceled", 0)
        for call in (self.intents.confirm, self.intents.capture, self.intents.cancel):
            error = must_fail(stripe.InvalidRequestError, lambda: call(held.id))
            assert error.code == "payment_intent_unexpected_state", error.code
        error = must_fail(stripe.InvalidRequestError, lambda: self.intents.cancel(self.paid().id))
        assert error.code == "payment_intent_unexpected_state", error.code

    def a_bank_may_require_authentication(self):
        waiting = self.paid(method="pm_card_authenticationRequired")
        assert (waiting.status, waiting.next_action.type) == ("requires_action", "use_stripe_sdk")
        self.double.ask(f"authenticate {waiting.id} yes")
        assert self.intents.retrieve(waiting.id).status == "succeeded"
        refused = self.paid(method="pm_card_authenticationRequired")
        self.double.ask(f"authenticate {refused.id} no")
        stands = self.intents.retrieve(refused.id)
        assert stands.status == "requires_payment_method"
        assert stands.last_payment_error.code == "payment_intent_authentication_failure"

    def a_key_gets_the_same_answer_for_a_day(self):
        key = str(uuid4())
        first = self.create(key=key)
        self.intents.confirm(first.id)
        second = self.create(key=key)
        assert (second.id, second.status) == (first.id, "requires_confirmation"), "a replay must show the state at the first answer"
        assert second.last_response.headers["idempotent-replayed"] == "true"
        must_fail(stripe.IdempotencyError, lambda: self.create(key=key, amount=999))
        self.double.ask(f"advance {24 * 60 * 60 + 1}")
        assert self.create(key=key).id != first.id

    def a_search_lags_behind(self):
        name = str(uuid4())
        query = f"metadata['orderly_payment']:'{name}' AND metadata['orderly_charge']:'1'"
        self.double.ask("search-lag 60")
        made = self.create(metadata={"orderly_payment": name, "orderly_charge": "1"})
        assert self.intents.search({"query": query}).data == []
        self.double.ask("advance 61")
        self.intents.confirm(made.id)
        found = self.intents.search({"query": query}).data
        assert [(intent.id, intent.status) for intent in found] == [(made.id, "requires_confirmation")]
        self.double.ask("search-lag 0")

    def refunds_never_exceed_the_captured_amount(self):
        paid = self.paid()
        part = self.refunds.create({"payment_intent": paid.id, "amount": 400, "metadata": {"orderly_refund": "1"}})
        assert (part.status, part.amount, part.metadata["orderly_refund"]) == ("succeeded", 400, "1")
        error = must_fail(
            stripe.InvalidRequestError, lambda: self.refunds.create({"payment_intent": paid.id, "amount": 601})
        )
        assert error.param == "amount", error.param
        rest = self.refunds.create({"payment_intent": paid.id})
        assert rest.amount == 600
        error = must_fail(stripe.InvalidRequestError, lambda: self.refunds.create({"payment_intent": paid.id}))
        assert error.code == "charge_already_refunded", error.code
        listed = self.refunds.list({"payment_intent": paid.id, "limit": 1})
        assert [refund.id for refund in listed.auto_paging_iter()] == [rest.id, part.id]

    def a_refund_may_take_time_and_fail(self):
        paid = self.paid(method="pm_card_pendingRefund")
        refund = self.refunds.create({"payment_intent": paid.id})
        assert refund.status == "pending"
        self.double.ask(f"settle-refund {refund.id} no")
        failed = self.refunds.retrieve(refund.id)
        assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")

    def lists_show_what_was_created_in_a_period(self):
        paid = self.paid()
        refund = self.refunds.create({"payment_intent": paid.id, "amount": 100})
        of_second = lambda second: {"created": {"gte": second, "lt": second + 1}, "limit": 1}
        listed = self.intents.list(of_second(paid.created)).auto_paging_iter()
        assert paid.id in [intent.id for intent in listed]
        listed = self.refunds.list({**of_second(refund.created), "expand": ["data.payment_intent"]})
        found = {one.id: one.payment_intent for one in listed.auto_paging_iter()}
        assert (found[refund.id].id, found[refund.id].amount_received) == (paid.id, 1000)
        for resource in (self.intents, self.refunds):
            assert resource.list({"created": {"lt": 1}}).data == []

    def a_dispute_is_listed_until_it_is_closed(self):
        paid = self.paid()
        dispute = self.double.ask(f"dispute {paid.id} 300")
        listed = lambda: self.client.v1.disputes.list({"payment_intent": paid.id, "limit": 100}).data
        assert [(one.id, one.amount, one.status) for one in listed()] == [(dispute, 300, "needs_response")]
        self.double.ask(f"close-dispute {dispute} no")
        assert [one.status for one in listed()] == ["lost"]
        assert self.intents.retrieve(paid.id, {"expand": ["latest_charge"]}).latest_charge.disputed

    def errors_have_the_codes_of_stripe(self):
        error = must_fail(stripe.InvalidRequestError, lambda: self.intents.retrieve("pi_none"))
        assert (error.http_status, error.code) == (404, "resource_missing")
        error = must_fail(stripe.InvalidRequestError, lambda: self.create("pm_none"))
        assert (error.http_status, error.code) == (400, "resource_missing")
        must_fail(stripe.InvalidRequestError, lambda: self.create(nonsense="1"))
        stranger = stripe.StripeClient(
            "sk_test_other", base_addresses={"api": self.double.url}, http_client=CheckedClient(self.description)
        )
        must_fail(stripe.AuthenticationError, lambda: stranger.v1.payment_intents.retrieve("pi_none"))

    def every_event_is_signed_as_stripe_signs(self):
        kinds = set()
        for number in range(int(self.double.ask("events"))):
            header, body = self.double.ask(f"signed-event {number}").split(" ", 1)
            # The clock of the double may be days ahead, so the tolerance is large here.
            event = self.client.construct_event(body, header, WEBHOOK_SECRET, tolerance=10**9)
            must_fail(
                stripe.SignatureVerificationError,
                lambda: self.client.construct_event(body + " ", header, WEBHOOK_SECRET, tolerance=10**9),
            )
            kinds.add(event.type)
            self.description.check_object(json.loads(body))
            self.description.check_object(json.loads(body)["data"]["object"])
        assert kinds >= {
            "payment_intent.created", "payment_intent.succeeded", "payment_intent.payment_failed",
            "payment_intent.canceled", "payment_intent.requires_action",
            "payment_intent.amount_capturable_updated", "refund.created", "refund.failed",
            "charge.dispute.created", "charge.dispute.closed",
        }, kinds


def main(binary, description):
    checks = Checks(Double(binary), Description(description))
    names = [name for name in vars(Checks) if name not in ("__init__", "create", "paid") and not name.startswith("_")]
    for name in names:
        getattr(checks, name)()
        print("ok", name.replace("_", " "))
    answers = sum(checks.description.checked.values())
    print(f"{answers} answers of {len(checks.description.checked)} kinds fit Stripe's description "
          f"{checks.description.version}")


main(*sys.argv[1:])

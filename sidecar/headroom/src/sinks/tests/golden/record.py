"""Prints what the vendors' libraries send for one event. See README.md."""

import datetime
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN = []
AT = datetime.datetime(2026, 11, 3, 9, 0, 0, tzinfo=datetime.timezone.utc)
UUID = "11111111-1111-5111-8111-111111111111"
FACTS = {"feature": "ai.tokens", "used": 80}


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def take(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        SEEN.append({
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": body.decode(),
        })
        answer = b"ok" if "slack" in self.path else b'{"success":true,"id":"x"}'
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_PATCH = take

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Server)
PORT = SERVER.server_address[1]
BASE = f"http://127.0.0.1:{PORT}"
threading.Thread(target=SERVER.serve_forever, daemon=True).start()


def track(client):
    client.track(
        anonymous_id="headroom:acme/eu",
        event="usage_ceiling",
        properties=FACTS,
        timestamp=AT,
        context={"groupId": "acme/eu"},
        message_id="sig_1",
    )
    client.flush()
    client.join()


def segment():
    from segment.analytics.client import Client

    track(Client("wk", host=BASE, gzip=False))


def rudder():
    from rudderstack.analytics.client import Client

    track(Client("wk", host=BASE, gzip=False))


def slack():
    from slack_sdk.webhook import WebhookClient

    section = {"type": "section", "text": {"type": "mrkdwn", "text": "*acme*", "verbatim": True}}
    WebhookClient(BASE + "/services/slack").send(text="acme", blocks=[section])


def customerio():
    from customerio import CustomerIO

    client = CustomerIO("site", "key", host="127.0.0.1", port=PORT)
    client.base_url = BASE + "/api/v1"
    client.track("acme/eu", "usage_ceiling", FACTS, id="sig_1", timestamp=AT)


def posthog():
    from posthog import Posthog

    client = Posthog("phc_x", host=BASE, gzip=False)
    client.capture(
        "usage_ceiling",
        distinct_id="acme/eu",
        properties=FACTS,
        timestamp=AT,
        uuid=UUID,
        groups={"company": "acme/eu"},
    )
    client.shutdown()


def hubspot():
    from hubspot.events import send

    def client():
        client = send.ApiClient(send.Configuration(host=BASE))
        client.default_headers["Authorization"] = "Bearer pat"
        return client

    event = send.BehavioralEventHttpCompletionRequest(
        event_name="pe1_usage_ceiling",
        object_id="1",
        occurred_at=AT,
        uuid=UUID,
        properties={"feature": "ai.tokens", "used": "80"},
    )
    send.BasicApi(client()).send(event)
    batch = send.BatchedBehavioralEventHttpCompletionRequest(inputs=[event])
    send.BatchApi(client()).send(batch)


def salesforce():
    from simple_salesforce import Salesforce

    client = Salesforce(instance_url=BASE, session_id="sid", version="60.0")
    kind = client.Headroom_Signal__e
    kind.base_url = BASE + "/services/data/v60.0/sobjects/Headroom_Signal__e/"
    kind.create({"Account_Key__c": "acme/eu", "Signal__c": "usage_ceiling"})


RECORDED = {}
for client in (segment, rudder, slack, customerio, posthog, hubspot, salesforce):
    SEEN.clear()
    client()
    RECORDED[client.__name__] = [dict(seen) for seen in SEEN]
print(json.dumps(RECORDED, indent=1))

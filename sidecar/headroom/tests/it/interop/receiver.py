"""A receiver made of the libraries that real receivers are made of.

It prints its port, and then one JSON line per request: what the request holds as those libraries see
it, or why they refuse it. The path says what is expected. The argument is JSON with the secrets.
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http_event, from_structured_event
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

OPTIONS = json.loads(sys.argv[1])
PRINTING = threading.Lock()


def webhook(headers, body):
    """Every secret, old and new, verifies by itself."""
    for secret in OPTIONS["secrets"]:
        told = Webhook(secret).verify(body, headers)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(OPTIONS["public"][len("whpk_"):]))
    pairs = [s[len("v1a,"):] for s in headers["webhook-signature"].split() if s.startswith("v1a,")]
    if len(pairs) != 1:
        raise ValueError(f"{len(pairs)} signatures by a key pair")
    public.verify(base64.b64decode(pairs[0]), signed)
    return [{"id": told["data"]["id"], "type": told["type"], "account": told["data"]["account"]}]


def event(headers, body):
    return [shown(from_http_event(HTTPMessage(headers=headers, body=body)))]


def batch(headers, body):
    """The library has no batches; each element of one is an event of its own."""
    if headers["content-type"] != "application/cloudevents-batch+json":
        raise ValueError(headers["content-type"])
    one = {"content-type": "application/cloudevents+json"}
    elements = [json.dumps(element).encode() for element in json.loads(body)]
    return [shown(from_structured_event(HTTPMessage(headers=one, body=e))) for e in elements]


def shown(found):
    attributes = found.get_attributes()
    return {
        "id": attributes["id"],
        "type": attributes["type"],
        "account": attributes["subject"],
        "source": attributes["source"],
        "time": attributes["time"].isoformat(),
        "data": found.get_data(),
    }


KINDS = {"/webhook": webhook, "/structured": event, "/binary": event, "/batch": batch}


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            told = {"path": self.path, "events": KINDS[self.path](headers, body)}
        except Exception as error:  # Whatever it is, the test says it.
            told = {"path": self.path, "error": repr(error)}
        with PRINTING:
            print(json.dumps(told), flush=True)
        self.send_response(204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()

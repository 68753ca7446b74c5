"""Receives webhooks: believes signed ones only, takes each once, prints a line per event.

    pip install -r requirements.txt
    WEBHOOK_SECRET=whsec_... python receiver.py 8090
"""

import json
import os
import sys
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1 << 20
# A real receiver keeps the ids where it keeps what it did with the event, and writes both in one transaction.
IDS_KEPT = 10_000

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen, seen_lock = OrderedDict(), Lock()


def is_new(message_id):
    with seen_lock:
        if message_id in seen:
            return False
        seen[message_id] = None
        if len(seen) > IDS_KEPT:
            seen.popitem(last=False)
        return True


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        try:
            # Over the bytes as they came: parsing and writing them again would change them.
            webhook.verify(body, dict(self.headers), json_parse=False)
            events = json.loads(body)
        except (WebhookVerificationError, ValueError):
            return self.answer(400)
        message_id = self.headers["webhook-id"]
        if is_new(message_id):
            for event in events if isinstance(events, list) else [events]:
                kind = event.get("type") or self.headers.get("ce-type", "-")
                print(message_id, kind, event.get("subject", "-"), flush=True)
        # A repetition is answered like the first: it was taken.
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PORT", 8090))), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass

"""Verifies and signs with the reference library of Standard Webhooks; ed25519, which it does not know, with cryptography.

Each line of standard input is a JSON object, {"verify": {..}} or {"sign": {..}}; each gets one line of JSON.
"""

import base64
import json
import sys
from datetime import datetime, timezone

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError


def decoded(key, prefix):
    return base64.b64decode(key.removeprefix(prefix))


def content(message):
    return f"{message['id']}.{message['timestamp']}.{message['body']}".encode()


def verify(message):
    if message["key"].startswith("whpk_"):
        public = Ed25519PublicKey.from_public_bytes(decoded(message["key"], "whpk_"))
        for signature in message["signature"].split(" "):
            version, encoded = signature.split(",")
            if version == "v1a":
                try:
                    public.verify(base64.b64decode(encoded), content(message))
                    return True
                except InvalidSignature:
                    pass
        return False
    headers = {f"webhook-{name}": str(message[name]) for name in ("id", "timestamp", "signature")}
    try:
        Webhook(message["key"]).verify(message["body"].encode(), headers, json_parse=False)
        return True
    except WebhookVerificationError:
        return False


def sign(message):
    if message["key"].startswith("whsk_"):
        private = Ed25519PrivateKey.from_private_bytes(decoded(message["key"], "whsk_")[:32])
        return "v1a," + base64.b64encode(private.sign(content(message))).decode()
    at = datetime.fromtimestamp(message["timestamp"], tz=timezone.utc)
    return Webhook(message["key"]).sign(message["id"], at, message["body"])


for line in sys.stdin:
    [(order, message)] = json.loads(line).items()
    print(json.dumps({"verify": verify, "sign": sign}[order](message)), flush=True)

"""Post each question that a flow asks a person into a chat: `koco inbox` as a chat message.

A receiver of webhooks, with nothing but the standard library. Start it where the control plane can
reach it, with the URL of an incoming webhook of Slack, Mattermost or another chat that takes
`{"text": …}`:

    export KOCO_WEBHOOK_SECRET=whsec_$(openssl rand -base64 32)
    koco webhook create chat https://hooks.example.com/koco --on awaiting,error
    CHAT_URL=https://chat.example.com/hooks/xyz python examples/chat_inbox.py 8080

Then `koco run approval/review` asks in the chat. To try it on one machine, allow that network
first, `koco config set webhook_networks=127.0.0.0/8`, and use `http://127.0.0.1:8080/`.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.request
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Messages that are older or newer than this may be somebody's copies (seconds).
TOLERANCE_S = 300
#: How many ids of messages are remembered.
REMEMBERED = 10_000

seen: "OrderedDict[str, None]" = OrderedDict()


def is_genuine(headers, body):
    """Whether the control plane has sent this body, just now."""
    key = base64.b64decode(os.environ["KOCO_WEBHOOK_SECRET"].removeprefix("whsec_"))
    timestamp = headers["webhook-timestamp"] or "0"
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{headers['webhook-id']}.{timestamp}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # There are two signatures while the secret is being rotated.
    given = (headers["webhook-signature"] or "").split()
    return any(hmac.compare_digest(each, wanted) for each in given)


def describe(message):
    """Return what the chat shows of a message, or None if that is nothing."""
    data = message["data"]
    if message["type"] == "execution.awaiting":
        lock = data["lock"]
        shown = json.dumps(lock.get("data"), ensure_ascii=False, indent=2)
        answer = f"koco answer {data['fid']} {lock['name']}"
        return (
            f"{data['flow']} asks {data['user']}: {lock['name']}, until {lock['expires']}\n"
            f"{shown}\nAnswer with `{answer}`, or at {lock['url']}"
        )
    if message["type"] == "execution.error":
        error = data.get("error") or {}
        return f"{data['flow']} ({data['fid']}) failed: {error.get('type')}: {error.get('message')}"
    if message["type"] == "webhook.test":
        return "koco can reach this chat."
    return None


def post(text):
    """Post a text into the chat."""
    body = json.dumps({"text": text}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["CHAT_URL"], body, headers)
    urllib.request.urlopen(request, timeout=10).close()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(self.receive(body))
        self.end_headers()

    def receive(self, body):
        """Return the status of the answer. If it is not 2xx, koco sends the message again."""
        if not is_genuine(self.headers, body):
            return 401
        if self.headers["webhook-id"] in seen:
            return 204  # it was posted, and only the answer was lost
        text = describe(json.loads(body))
        try:
            if text is not None:
                post(text)
        except OSError:
            return 503  # the chat is away
        seen[self.headers["webhook-id"]] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
        return 204


if __name__ == "__main__":
    with ThreadingHTTPServer(("", int(sys.argv[1])), Receiver) as server:
        print(f"listening on port {server.server_port}", flush=True)
        server.serve_forever()

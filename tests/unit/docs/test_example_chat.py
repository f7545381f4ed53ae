"""The example that posts locks into a chat, as a process, with a real chat: a receiver."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.support.checkout import ROOT
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_" + "A" * 43 + "="
LOCK = {
    **{"lid": "l1", "name": "approval", "expires": "2026-01-31T15:00:00Z"},
    **{"url": "https://koco.example.com/v1/executions/wrq4/locks/l1", "data": {"page": "Hi"}},
}
DATA = {"fid": "wrq4", "flow": "approval/publish", "status": "awaiting", "user": "ada"}


@dataclass
class Example:
    """The running example, and the chat that it posts into."""

    url: str
    chat: Receiver

    def send(
        self, content: Any, *, id_: str = "msg_1", age_s: float = 0, secret: str = SECRET
    ) -> int:
        """Send it a message as koco does; return the status of its answer."""
        body, at = json.dumps(content), datetime.fromtimestamp(time.time() - age_s, UTC)
        headers = {
            "webhook-id": id_,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": f"v1,AAAA {Webhook(secret).sign(id_, at, body)}",
        }
        answer = httpx.post(self.url, content=body, headers=headers, trust_env=False)
        return answer.status_code


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    with receiving() as chat:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples/chat_inbox.py"), "0"],
            env={**os.environ, "KOCO_WEBHOOK_SECRET": SECRET, "CHAT_URL": chat.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        yield Example(f"http://127.0.0.1:{port}/", chat)
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_is_posted_once(example: Example) -> None:
    """With what it asks and how to answer; the same message again is not posted."""
    content = {"type": "execution.awaiting", "data": {**DATA, "lock": LOCK}}
    before = len(example.chat.messages)
    assert example.send(content) == 204
    assert example.send(content) == 204
    [message] = example.chat.messages[before:]
    text = message.content["text"]
    assert text.startswith("approval/publish asks ada: approval, until")
    assert '"page": "Hi"' in text
    assert "koco answer wrq4 approval" in text


def test_forged_and_old_messages_are_refused(example: Example) -> None:
    """Whoever does not know the secret, or has only kept a copy, posts nothing."""
    before = len(example.chat.messages)
    content = {"type": "webhook.test", "data": {}}
    assert example.send(content, id_="msg_2", secret="whsec_" + "B" * 43 + "=") == 401
    assert example.send(content, id_="msg_2", age_s=400) == 401
    assert len(example.chat.messages) == before
    assert example.send(content, id_="msg_2") == 204


def test_a_message_is_wanted_again_if_the_chat_is_away(example: Example) -> None:
    """The next attempt posts it."""
    example.chat.answers = [(500, {})]
    error = {"type": "execution.error", "data": {**DATA, "error": {"type": "E", "message": "m"}}}
    assert example.send(error, id_="msg_3") == 503
    assert example.send(error, id_="msg_3") == 204
    assert "failed: E: m" in example.chat.messages[-1].content["text"]

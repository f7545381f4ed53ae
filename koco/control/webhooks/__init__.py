"""Webhooks: messages about executions, sent to the URLs that people and programs have named.

The store enters what is to be sent in the same change as the status (`koco.store.stream.outbox`),
so nothing is lost, whatever dies. `sender` sends it, for days if it has to, `posting` is one
request, `signing` has the secrets and signatures of Standard Webhooks, and `orders` is what the API
asks for.

Other protocols send by the same means. Such a webhook has a `kind` of its own, which says who
makes the content:

- `parts.webhooks.make("a2a", url, by=…, name=…, events=…, headers={"Authorization": …})` returns a
  webhook that is not stored yet, and its secret. The headers are encrypted and sent with each of
  its messages. With `signed=False` it has no signature.
- Give it to `Launches.launch(…, webhooks=(webhook,))` (or `koco.api.agents.calls.Calls.launch`),
  which stores it with the execution; or call `store.webhooks.add_to(execution.id, webhook)`,
  which replaces one of the same kind and name there. `store.webhooks.of(execution.id, kind="a2a")`
  lists them, `remove(webhook.id)` ends one. They end with their execution when that is deleted.
- `events` are statuses (`koco.store.webhook_model.EVENTS`): running, finished, error, cancelled;
  and awaiting, once for each lock.
- `parts.webhooks.contents["a2a"] = make_content` says how a message is made, before the control
  plane serves: an `async` function of a `Delivery` and its `Webhook` that returns a
  `content.Content` (body, media type, further headers), or None if there is nothing to send any
  more. It is called for each attempt, so what it makes of one delivery should stay the same.

The headers `webhook-id` (the same for all attempts of a message) and `webhook-timestamp` are always
sent. Attempts, redirects, addresses, time limits and the log are the same for all kinds.
"""

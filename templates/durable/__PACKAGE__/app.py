"""An order that goes on where it was, whatever dies meanwhile.

Each step runs until its outcome is stored, and then never again. The flow itself runs again from
its top when another process takes over, and its steps return what they returned before.
"""

import asyncio

from koco import Tracer, response, step

#: What one piece costs.
PRICE = 25

#: How long the person may take (seconds): a week.
PATIENCE_S = 7 * 24 * 3600

#: How long an approved order can still be cancelled (seconds).
GRACE_S = 10


async def order(tracer: Tracer, item: str = "Lamp", count: int = 2) -> response.Markdown:
    """Sell something: a person approves it, and a courier fetches it."""
    # Only decide here: whatever takes long, has an effect or differs from run to run is a step.
    place = await reserve(item, count)

    answer = await tracer.lock("approve", {"item": item, "count": count}, PATIENCE_S)
    if not answer["ok"]:
        return response.Markdown(f"{count} × {item}: not approved")

    receipt = await charge(tracer, count * PRICE)
    await tracer.sleep(GRACE_S)

    # `koco send FID courier -i name=Ada`; without a timeout it waits for as long as it takes.
    courier = await tracer.receive("courier")
    return response.Markdown(f"{count} × {item} from {place}: {receipt}, with {courier['name']}")


@step(retries=3, backoff_s=1, timeout_s=60)
async def reserve(item: str, count: int) -> str:
    """Return the shelf on which the pieces are put aside. An error is tried again."""
    await asyncio.sleep(1)  # stands for a call of the warehouse
    return f"shelf {len(item) + count}"


@step(retries=3, backoff_s=1, timeout_s=60)
async def charge(tracer: Tracer, amount: int) -> str:
    """Return the receipt of a payment."""
    # If the process dies in here, the step runs again. So give the payment service this key, which
    # stays the same then: it charges once for each.
    print("Idempotency-Key:", tracer.step_key)
    return f"paid {amount}"

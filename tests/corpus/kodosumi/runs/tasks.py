"""A tracer travels into Ray tasks, which import `kodosumi` as well."""

import ray
from kodosumi.core import Tracer


@ray.remote(num_cpus=0)
def square(number: int, tracer: Tracer):
    from kodosumi import response

    print("squaring", number)
    tracer.result_sync(response.Markdown(f"**{number}**", "squared"))
    return number**2


async def run(inputs: dict, tracer: Tracer):
    numbers = range(int(inputs["count"]))
    return [await square.remote(number, tracer) for number in numbers]

"""Random durable flows while runners and the control plane are killed: as if nothing happened.

`KOCO_KILLS=2000` runs it longer, `KOCO_SEED` repeats the programs of another run.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import Koco
from tests.support.durable_storm import Inspection, Storm

_FLOWS = Path(__file__).parents[1] / "support" / "durable_flows.py"
_KILLS = int(os.environ.get("KOCO_KILLS", "200"))
_SEED = int(os.environ.get("KOCO_SEED", time.time_ns() % 1_000_000))


@pytest.mark.timeout(600 + 6 * _KILLS)
def test_killing_changes_nothing(fresh: Koco) -> None:
    """Results, outcomes of steps and streams are those of an undisturbed run; nothing is left."""
    fresh.up("--set", "park_after=1")
    deploy(fresh, "shared", runner={"min": 2, "max": 2, "concurrency": 6})
    app = deploy(fresh, "single", runner={"min": 2, "max": 2, "concurrency": 1})
    # One at a time takes longer.
    storm = Storm(app, ["shared", "shared", "shared", "single"], seed=_SEED, kills=_KILLS)
    began = time.monotonic()
    storm.run()
    took = time.monotonic() - began
    inspection = Inspection(app)
    for each in storm.launched:
        inspection.look_at(each)
    inspection.nothing_is_left()
    seen = {
        "seed": _SEED,
        "seconds": round(took),
        "calm_s": round(storm.calm_s),
        **storm.killed,
        **{name: getattr(inspection, name) for name in ("executions", "steps", "cancelled")},
        "resumed": inspection.resumed,
        "repeated": inspection.repeated,
    }
    print(seen)
    faults = "\n".join(inspection.faults[:40])
    assert not inspection.faults, f"{seen}: {len(inspection.faults)} faults\n{faults}"
    assert inspection.resumed > storm.killed["runner"] / 4, seen


def deploy(koco: Koco, service: str, **more: Any) -> Koco:
    flows = [
        {"name": name.replace("_", "-"), "entrypoint": f"{service}_app:{name}", "durable": True}
        for name in ("program", "program_sync")
    ]
    return koco.deploy(service, _FLOWS.read_text(), flows=flows, **more)

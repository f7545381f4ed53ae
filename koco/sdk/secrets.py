"""Secrets in a process: in its environment, and out of everything that it tells.

The control plane's actor is asked for them before the service's modules are imported.
Values go into `os.environ` and into nothing else. What leaves as an event, an error or a
question is looked through for them (`koco.events.line.mask`), and so is what goes into logs:
by descriptors 1 and 2 (`koco.sdk.outlet`), by `logging`, in tracebacks. A value that is printed
comes out as `********`, in whichever way it was quoted or encoded.
"""

import base64
import functools
import html
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from koco.errors import KocoError
from koco.events import line, wire
from koco.sdk import outlet

MASK = "********"
#: Shorter values are not looked for: half of all texts would have them (characters).
SHORTEST = 6
#: Lines of a value of several lines that are looked for by themselves (characters).
_SHORTEST_LINE = 8

#: Up to here one pattern of all forms is faster than looking for each (bytes).
_SMALL_BYTES = 512

#: The names of this process's secrets, for those that no runner looks after.
NAMES = "KOCO_SECRETS"


class Masks:
    """Takes values out of texts."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value)}
        #: The longest first: one may be a part of another.
        self._forms = sorted(forms, key=len, reverse=True)
        #: The same as they stand in JSON, where looking for them costs least.
        self._encoded = [msgspec.json.encode(form)[1:-1] for form in self._forms]
        self._any = re.compile(b"|".join(map(re.escape, self._encoded))) if forms else None
        #: How many characters a value takes at most.
        self.longest = max(map(len, self._forms), default=0)

    @property
    def forms(self) -> list[bytes]:
        """What is looked for in bytes."""
        return [form.encode("utf-8", "surrogateescape") for form in self._forms]

    def text(self, text: str) -> str:
        """Return a text without values."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def payload(self, encoded: bytes) -> bytes:
        """Return JSON without values: in texts, keys and numbers."""
        if len(encoded) < _SMALL_BYTES:
            found = self._any is not None and self._any.search(encoded) is not None
        else:
            found = any(form in encoded for form in self._encoded)
        return self._masked(encoded) if found else encoded

    def _masked(self, encoded: bytes) -> bytes:
        # On what it says, not on its bytes: a value may look like a part of JSON's syntax.
        try:
            return msgspec.json.encode(self._value(msgspec.json.decode(encoded)))
        except (RecursionError, msgspec.DecodeError):
            return json.dumps(MASK).encode()  # too deep to look at: nothing of it leaves

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {self.text(key): self._value(each) for key, each in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = str(value)
            return value if self.text(shown) == shown else MASK
        return value


def _forms(value: str) -> set[str]:
    """Return a value as it may stand in a text: plain, quoted or encoded, by its lines."""
    if len(value) < SHORTEST:
        return set()
    lines = [each.strip() for each in value.splitlines()] if "\n" in value else []
    plain = {value, *(each for each in lines if len(each) >= _SHORTEST_LINE)}
    quoted = {
        form
        for each in plain
        for form in (
            repr(each)[1:-1],
            json.dumps(each)[1:-1],
            json.dumps(each, ensure_ascii=False)[1:-1],
            quote(each, safe=""),
            quote_plus(each),
            html.escape(each),
        )
    }
    # Once more: JSON is often a text in other JSON.
    again = {json.dumps(form)[1:-1] for form in quoted}
    return plain | quoted | again | set(_encoded(value))


def _encoded(value: str) -> Iterator[str]:
    """Yield a value in hexadecimal and in base 64, by itself or in the middle of something."""
    data = value.encode("utf-8", "surrogateescape")
    yield from (data.hex(), data.hex().upper())
    for before in range(3):
        # What depends on the bytes around it is left out: a whole group of three has no part in it.
        whole = base64.b64encode(bytes(before) + data).decode()
        skipped, bits = (0, 2, 3)[before], (before + len(data)) * 8
        inner = whole[skipped : bits // 6]
        if len(inner) >= _SHORTEST_LINE:
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


#: What this process tells nobody.
masks = Masks(())
_is_equipped = False


def learn(values: dict[str, str]) -> None:
    """Set secrets in this process's environment, and keep them out of what it tells."""
    global masks
    os.environ.update(values)
    masks = Masks(values.values())
    line.mask = masks.payload


def keep_in(values: dict[str, str]) -> None:
    """Do so, and let this process's log out of the filter that has kept it back till now."""
    global _is_equipped
    learn(values)
    outlet.arm(masks.forms)
    _is_equipped = True


@functools.cache
def _mask_texts() -> None:
    """Have whatever `logging` and `traceback` make texts of lose values.

    Ray Serve writes its logs into files of its own, and what a constructor raises is a text
    in its controller, and on its dashboard.
    """
    format_record = logging.Handler.format
    format_exception = traceback.TracebackException.format

    def masked_record(handler: logging.Handler, record: logging.LogRecord) -> str:
        return mask(format_record(handler, record))

    def masked_exception(exception: Any, **options: Any) -> Iterator[str]:
        _await_values()
        # In one piece: a value may have several lines.
        yield mask("".join(format_exception(exception, **options)))

    logging.Handler.format = masked_record  # type: ignore[method-assign, assignment]
    traceback.TracebackException.format = masked_exception  # type: ignore[assignment, method-assign]


def mask(text: str) -> str:
    """Return a text without the values of this process's secrets."""
    return masks.text(text)


# processes that are no runners: Serve's replicas, what builds an application, flows' Ray tasks

_equipping = threading.Lock()
#: What threads are called that ask for secrets.
_THREAD = "koco-secrets"
#: How often a worker looks whether it has work (seconds).
_LOOK_S = 0.02


def equip() -> None:
    """Ask for this process's secrets, once; block until they are here.

    Raises:
        KocoError: one of them is not to be had.
    """
    from koco.sdk.control import Control

    with _equipping:
        if _is_equipped or not os.environ.get(NAMES):
            return
        service, release = os.environ["KOCO_SERVICE"], int(os.environ["KOCO_RELEASE"])
        control = Control()
        values = {
            name: wire.decode_answer(control.call_sync("ask", question(service, release, name)))
            for name in os.environ[NAMES].split(",")
        }
        keep_in(values)


def prepare() -> None:
    """Have nothing leave this process until it knows its secrets; Ray calls this in new workers.

    Its log waits, and so do the first import of a shipped module, the first event and the first
    traceback, which ask for the secrets. Not at once: Ray's worker cannot call an actor before
    it has work of its own, and Serve gives a replica no other word before it imports the
    author's class.
    """
    outlet.install()
    _mask_texts()
    line.mask = _mask_first
    sys.meta_path.insert(0, _Finder())
    threading.Thread(target=_equip_when_there_is_work, name=_THREAD, daemon=True).start()


def _equip_when_there_is_work() -> None:
    import ray

    while ray._private.worker.global_worker.current_job_id.is_nil():
        time.sleep(_LOOK_S)
    try:
        equip()
    except KocoError as exc:
        logging.getLogger(__name__).error("%s", exc)  # whoever needs them raises it


def _mask_first(encoded: bytes) -> bytes:
    """Mask the first event of a process that does not know its secrets yet."""
    _await_values()
    return masks.payload(encoded)


def _await_values() -> None:
    """See that the secrets are here, in the middle of a flow's task or a replica's request."""
    if _is_equipped or threading.current_thread().name == _THREAD:
        return
    import ray

    if not os.environ.get(NAMES) or ray.get_runtime_context().get_task_id() is None:
        return
    _equip_in_thread()


class _Finder:
    """Finds modules as ever; those of the bundle are run once the secrets are here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if path is not None or not _is_shipped(name):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            # When it is run, and not already here, where all other threads' imports wait.
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Runs a module as another loader does, with secrets."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        _equip_in_thread()
        self._loader.exec_module(module)


def _equip_in_thread() -> None:
    """Equip this process; Ray dislikes who blocks in the loop of an asynchronous actor."""
    failure: list[BaseException] = []
    thread = threading.Thread(target=_equip_into, args=(failure,), name=_THREAD)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _equip_into(failure: list[BaseException]) -> None:
    try:
        equip()
    except BaseException as exc:  # noqa: BLE001 - raised where it is waited for
        failure.append(exc)


def _is_shipped(name: str) -> bool:
    """Say whether a top-level module is of the service's bundle."""
    for root in sys.path:
        if root and os.path.exists(os.path.join(root, ".koco-bundle.json")):  # noqa: PTH110, PTH118
            place = os.path.join(root, name)  # noqa: PTH118 - a path object costs more than this
            return os.path.isdir(place) or os.path.exists(f"{place}.py")  # noqa: PTH110, PTH112
    return False


def question(service: str, release: int, name: str) -> bytes:
    """Return the question for one secret's value."""
    arguments = {"service": service, "release": release, "name": name}
    return wire.encode_question("", "secrets.value", arguments)

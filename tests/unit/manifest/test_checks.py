"""Manifests: all problems at once, with their places and clear messages."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from koco.errors import ManifestError, NotFoundError
from koco.manifest import load, module_check
from koco.manifest.model import Manifest
from koco.manifest.module_check import find_missing

FLOW = {"name": "greet", "entrypoint": "hello.app:greet"}

DEEP: dict[str, Any] = {}
for _ in range(200):
    DEEP = {"x": DEEP}


def manifest(**changes: Any) -> dict[str, Any]:
    return {"service": "hello", "flows": [FLOW]} | changes


def flow(**changes: Any) -> dict[str, Any]:
    return manifest(flows=[FLOW | changes])


def find_problems(data: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load.check(data)
    return caught.value.problems


def parse_problems(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load.parse(text, "koco.yaml")
    return caught.value.problems


def test_the_smallest_manifest_has_the_documented_defaults() -> None:
    """A service with one flow gets the defaults for everything else."""
    found = load.check(manifest())
    assert load.to_data(found) == {
        "service": "hello",
        **dict.fromkeys(("description", "author", "organization", "version"), ""),
        "tags": [],
        "root": ".",
        "flows": [
            FLOW
            | {"summary": "", "description": "", "inputs": None, "limits": {}, "durable": False}
            | {"keep": None, "output": None, "examples": [], "expose": ["mcp", "a2a"]}
            | {"hints": dict.fromkeys(("read_only", "destructive", "idempotent", "open_world"))}
        ],
        "runtime": {
            **{"files": ["**"], "include": [], "dependencies": [], "env": {}},
            **{"requirements": None, "pyproject": None, "kodosumi": False},
            "chdir": False,
        },
        "secrets": [],
        "keep": None,
        "runner": {
            **{"min": 1, "max": 10, "idle_timeout": 300.0, "concurrency": 1, "executions": None},
            **{"memory_mb": None, "resources": {}, "labels": {}},
        },
        "app": None,
        "locks": {},
        "endpoint": {"timeout": 30.0, "public": []},
        "serve": {},
        "files": {"max_count": 10_000, "max_size_mb": 10_240.0, "max_total_mb": 102_400.0},
        "limits": {
            **{"running": None, "queue": None, "timeout": None},
            **{"retries": 0, "retry_errors": False, "backoff": 1.0},
        },
        "schedule": [],
        "mip003": [],
        "calls": [],
        "encrypt": False,
    }


def test_calls_are_patterns_of_flows() -> None:
    """A flow by its full name, or many by stars in either part."""
    patterns = ("publisher/publish", "publisher/*", "*/publish", "pub-*/p*sh", "*/*")
    assert load.check(manifest(calls=list(patterns))).calls == patterns


def test_data_round_trip_keeps_the_manifest() -> None:
    """The server reads the manifest that the API sends. An empty form differs from none."""
    first = load.check(flow(inputs=[]) | {"runner": {"min": 0, "executions": 5}})
    again = load.check(load.to_data(first))
    assert again == first
    assert again.flows[0].inputs == ()


def test_reports_every_problem_with_its_place() -> None:
    """One pass finds all problems, in the file's order, with line and column."""
    text = """\
service: Hello World
servce: x
version: 1.10
flows:
  - name: greet
    entrypoint: hello/app.py:greet
    inputs:
      - {type: text, name: who, labl: Who}
      - type: number
        name: age
        min_value: old
  - name: greet
    summary: 3
runner: {min: 20, max: 3, executions: 0}
"""
    assert parse_problems(text) == [
        "koco.yaml:1:10: service: 'Hello World' is not a valid name: lower-case letters, digits "
        "and '-', beginning with a letter, at most 63 (hint: for example 'hello-world')",
        "koco.yaml:2:1: servce: unknown key (hint: did you mean 'service'?)",
        "koco.yaml:3:10: version: expected text, got the number 1.1 (hint: put it in quotes)",
        "koco.yaml:6:17: flows[0].entrypoint: 'hello/app.py:greet' is a file path, "
        "not module:object (hint: did you mean hello.app:greet?)",
        "koco.yaml:8:33: flows[0].inputs[0].labl: is not a property of it; did you mean 'label'?",
        "koco.yaml:11:20: flows[0].inputs[1].min_value: must be a number, got 'old'",
        "koco.yaml:12:5: flows[1]: key 'entrypoint' is missing "
        "(hint: The Python callable that does the work: `module:object`)",
        "koco.yaml:12:11: flows[1].name: flow 'greet' exists already, as flows[0] "
        "(hint: each needs its own name)",
        "koco.yaml:13:14: flows[1].summary: expected text, got the number 3 "
        "(hint: put it in quotes)",
        "koco.yaml:14:24: runner.max: max (3) must be at least min (20)",
        "koco.yaml:14:39: runner.executions: must be at least 1, got 0",
    ]


def test_problems_of_data_have_key_paths() -> None:
    """Data from the API has no lines."""
    assert find_problems(flow(name="Greet")) == [
        "flows[0].name: 'Greet' is not a valid name: lower-case letters, digits and '-', "
        "beginning with a letter, at most 63 (hint: for example 'greet')"
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "expected a mapping of keys such as `service`, got a list"),
        ("x", "expected a mapping of keys such as `service`, got the text 'x'"),
        ({"service": "a"}, "key 'flows' is missing"),
        (manifest(flows=[]), "flows: must have at least one element"),
        (manifest(flows={"name": "x"}), "flows: expected a list, got a mapping"),
        (manifest(flows=["x"]), "flows[0]: expected a mapping, got the text 'x'"),
        (manifest(tags="a"), "tags: expected a list, got the text 'a' (hint: write it as [a])"),
        (manifest(tags=[""]), "tags[0]: must not be empty"),
        (manifest(author=None), "author: expected text, got nothing"),
        (manifest(runner=None), "runner: expected a mapping, got nothing"),
        (manifest(service="a" * 64), "is not a valid name"),
        (manifest(service="hello\n"), "is not a valid name"),
        (manifest(service="hello~"), "is not a valid name"),
        (manifest(service="hello~ada~bob"), "is not a valid name"),
        (manifest(service="hello~Ada"), "is not a valid name"),
        (manifest(runner={"min": True}), "runner.min: expected a whole number, got true"),
        (manifest(runner={"min": "3"}), "got the text '3' (hint: without quotes: 3)"),
        (manifest(runner={"min": 1.0}), "runner.min: expected a whole number, got the number 1.0"),
        (manifest(runner={"min": -1}), "runner.min: must be at least 0, got -1"),
        (manifest(runner={"max": 0}), "runner.max: must be at least 1, got 0"),
        (manifest(runner={"min": 11}), "runner.min: max (10) must be at least min (11)"),
        (manifest(runner={"concurrency": 0}), "runner.concurrency: must be at least 1, got 0"),
        (manifest(runner={"memory_mb": 64}), "runner.memory_mb: must be at least 128, got 64"),
        (manifest(runner={"idle_timeout": float("inf")}), "must be a finite number"),
        (manifest(runner={"maximum": 3}), "runner.maximum: unknown key (hint: did you mean 'max"),
        (manifest(runner={"zzz": 3}), "(hint: known keys: min, max, idle_timeout"),
        (manifest(runner={"resources": {"cpu": 1}}), "'cpu' (hint: did you mean 'CPU'?)"),
        (manifest(runner={"resources": {"memory": 1}}), "(hint: did you mean 'memory_mb'?)"),
        (manifest(runner={"resources": {"x": 0}}), "runner.resources.x: must be above 0, got 0"),
        (manifest(runner={"resources": {"x": 1e-5}}), "must be at least 0.0001, got 1e-05"),
        (manifest(runner={"resources": {"x": "1"}}), "expected a number, got the text '1'"),
        (manifest(runner={"resources": {"GPU": 1.5}}), "must be a whole number above 1, got 1.5"),
        (manifest(runner={"labels": {"-a": "b"}}), "'-a' cannot name a label"),
        (manifest(runner={"labels": {"a": "in()"}}), "'in()' is not a label selector"),
        (manifest(runner={"labels": {"a": True}}), "runner.labels.a: expected text, got true"),
        (manifest(serve={"num_replicas": 2}), "serve: is for a service's own endpoint: there is"),
        (manifest(serve={"x": [float("nan")]}, app="a:b"), "serve: must hold finite numbers, got"),
        (manifest(serve=DEEP, app="a:b"), "serve: is nested more than 50 deep"),
        (manifest(serve=2, app="a:b"), "serve: expected a mapping, got the number 2"),
        (manifest(endpoint={"public": ["/x"]}), "endpoint.public: is for a service's own endpoint"),
        *[
            (manifest(app="a:b", endpoint={"public": [path]}), f"endpoint.public[0]: {said}")
            for path, said in [
                *[(each, f"{each!r} would make the flows") for each in ("/", "/*", "//")],
                *[
                    (each, f"{each!r} cannot be public")
                    for each in (
                        *("webhook", "", "*", "/a/../b", "/a//b", "/..", "/a*", "/*/a", "/a/*/b"),
                        *("/a?b=1", "/a#b", "/a%20b", "/{item}", "/a b", "/_koco", "/_koco/*"),
                    )
                ],
            ]
        ],
        (
            manifest(app="a:b", endpoint={"public": ["/x", "/x"]}),
            "endpoint.public[1]: '/x' is listed twice",
        ),
        (
            manifest(app="a:b", endpoint={"public": ["/items/{item}"]}),
            "endpoint.public[0]: '/items/{item}' cannot be public: use the path of a request, or "
            "one with '/*' at its end (hint: for example '/items')",
        ),
        (manifest(calls="a/b"), "calls: expected a list, got the text 'a/b'"),
        *[
            (manifest(calls=[each]), f"calls[0]: {each!r} is not a pattern of flows: service/flow")
            for each in ("", "*", "publisher", "a/b/c", "/b", "a/", "A/b", "a/b?", "a/[b]", "a/b\n")
        ],
        (manifest(runtime={"dependencies": ["six=="]}), "'six==' is not a requirement"),
        (manifest(runtime={"dependencies": ["-r x.txt"]}), "is an option of pip"),
        *[
            (
                manifest(runtime={"dependencies": ["six", each], "kodosumi": True}),
                "hides koco's own `kodosumi`",
            )
            for each in ("kodosumi", "Kodosumi>=1.1", "kodosumi @ git+https://example.com/k")
        ],
        *[
            (manifest(runtime={"dependencies": ["six", each]}), f"dependencies[1]: {said}")
            for each, said in (
                ("koco", "is somebody else's package on PyPI"),
                ("Koco[ray]>=0.1", "is somebody else's package on PyPI"),
                ("koco_deploy", "hides the cluster's own `koco`"),
                ("koco-deploy @ git+https://example.com/k", "hides the cluster's own `koco`"),
            )
        ],
        (manifest(runtime={"dependencies": ["koco-ml", "koconf"]}, nope=1), "nope: unknown key"),
        (manifest(runtime={"kodosumi": "yes"}), "runtime.kodosumi: expected true or false"),
        (manifest(runtime={"env": {"1A": "x"}}), "runtime.env.1A: '1A' cannot be an environment"),
        (manifest(runtime={"env": {"A": 1}}), "runtime.env.A: expected text, got the number 1"),
        (manifest(runtime={"env": {"A": "\0"}}), "cannot hold a NUL"),
        (manifest(runtime={"files": []}), "runtime.files: must have at least one element"),
        (manifest(runtime={"files": ["../x"]}), "leaves the project"),
        (manifest(runtime={"files": ["# x"]}), "matches nothing"),
        (flow(inputs={}), "flows[0].inputs: expected a list, got a mapping"),
        (flow(inputs=[3]), "flows[0].inputs[0]: expected a mapping, got the number 3"),
        (flow(inputs=[{"type": "txt"}]), "inputs[0].type: there is no type 'txt'; did you mean"),
        (flow(inputs=[{"name": "x"}]), "inputs[0]: type is missing"),
    ],
)
def test_reports_invalid_values(data: Any, said: str) -> None:
    """Exactly one problem for each mistake."""
    assert len(found := find_problems(data)) == 1
    assert said in found[0]


@pytest.mark.parametrize("entrypoint", ["a:b", "a.b", "a.b:c.d", "a.b.c", "_a:_b", "größe.app:run"])
def test_accepts_dotted_entrypoints(entrypoint: str) -> None:
    """With or without a colon, nested or not."""
    assert load.check(flow(entrypoint=entrypoint)).flows[0].entrypoint == entrypoint


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [
        ("app", "for example app:run"),
        ("", "is not module:object"),
        ("app:", "for example app:run"),
        (":run", "for example app:run"),
        ("a..b:c", "is not module:object"),
        ("a:b:c", "'b:c' is not a Python name"),
        ("app.py:run", "did you mean app:run?"),
        ("app.py", "did you mean app:function?"),
        ("path/app", "did you mean path.app:function?"),
        ("./pkg/app.py:run", "did you mean pkg.app:run?"),
        (r"pkg\app.py:run", "did you mean pkg.app:run?"),
        ("class.app:run", "'class' is not a Python name"),
        ("a b:run", "'a b' is not a Python name"),
        ("my-app:run", "'my-app' is not a Python name"),
    ],
)
def test_refuses_invalid_entrypoints(entrypoint: str, said: str) -> None:
    """For a file path, the hint suggests the module."""
    (problem,) = find_problems(flow(entrypoint=entrypoint))
    assert said in problem


def test_reports_duplicate_names_and_invalid_elements() -> None:
    """An element that is not a mapping gives one problem, and hides no other."""
    found = find_problems(
        flow(inputs=[{"type": "text", "name": "a"}, 3, {"type": "date", "name": "a", "x": 1}])
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        *("flows[0].inputs[1]", "flows[0].inputs[2].x", "flows[0].inputs[2].name")
    ]


def test_a_manifest_cannot_be_changed() -> None:
    """So it stays valid."""
    with pytest.raises(ValueError, match="frozen"):
        load.check(manifest()).service = "x"  # type: ignore[misc]


def test_names_files_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If they are below it."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/koco.yaml").write_text("service: 3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=r"^sub/koco\.yaml:1:1: "):
        load.load(tmp_path / "sub/koco.yaml")
    monkeypatch.chdir("/")
    with pytest.raises(ManifestError, match=rf"^{str(tmp_path).lstrip('/')}"):
        load.load(tmp_path / "sub/koco.yaml")


def test_reports_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, and a file that is not text."""
    with pytest.raises(NotFoundError, match="no such file"):
        load.load(tmp_path / "none.yaml")
    with pytest.raises(ManifestError, match="cannot be read"):
        load.load(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"service: a\nauthor: \xff\n")
    with pytest.raises(ManifestError, match=r"x\.yaml:2:9: this is not UTF-8"):
        load.load(tmp_path / "x.yaml")


def test_accepts_a_byte_order_mark(tmp_path: Path) -> None:
    """Some editors write one."""
    text = "service: hello\nflows: [{name: a, entrypoint: 'a:b'}]\n"
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load.load(tmp_path / "x.yaml").service == "hello"


def missing(entrypoint: str, *names: str, dependencies: tuple[str, ...] = ()) -> list[str]:
    data = flow(entrypoint=entrypoint) | {"runtime": {"dependencies": list(dependencies)}}
    return [str(problem) for problem in find_missing(load.check(data), names)]


@pytest.mark.parametrize(
    ("entrypoint", "name"),
    [
        *(("app:f", "app.py"), ("pkg:f", "pkg/__init__.py"), ("pkg.app:f", "pkg/app.py")),
        *(("pkg.app.f", "pkg/app.py"), ("app.Class.f", "app.py"), ("pkg.x:f", "pkg/x/__init__.py")),
        *(("fast:f", "fast.cpython-311-x86_64-linux-gnu.so"), ("json:dumps", "app.py")),
    ],
)
def test_finds_shipped_modules(entrypoint: str, name: str) -> None:
    """Modules, packages, namespaces and extensions. The standard library is always available."""
    assert missing(entrypoint, name) == []


def test_reports_modules_that_are_not_shipped() -> None:
    """With the nearest file, or the folder that contains the module."""
    (near,) = missing("hello.ap:greet", "hello/app.py", "x.py")
    assert near == (
        "flows[0].entrypoint: there is no hello/ap.py among the files to ship "
        "(hint: nearest is hello/app.py)"
    )
    (inner,) = missing("hello.app:greet", "src/hello/app.py")
    assert (
        "there is src/hello/app.py, but modules are" in inner and "`root: src` ships that" in inner
    )
    (none,) = missing("hello.app.greet", "data.csv")
    assert "there is no hello/app.py" in none


def test_a_module_can_come_from_a_dependency() -> None:
    """Unless its package belongs to the project."""
    assert missing("other.flows:run", "app.py", dependencies=("other",)) == []
    assert len(missing("pkg.flows:run", "pkg/app.py", dependencies=("other",))) == 1


def test_an_app_must_be_shipped_too() -> None:
    """It is imported like flows."""
    manifest = load.check({"service": "hello", "app": "web:app"})
    (problem,) = find_missing(manifest, [])
    assert str(problem).startswith("app: no file is shipped, so there is no web.py")
    assert find_missing(manifest, ["web.py"]) == []


def test_a_kodosumi_service_has_that_package() -> None:
    """koco brings `kodosumi` to a service that is written for it, and to no other."""
    data = manifest(flows=[FLOW | {"entrypoint": "kodosumi.core:Launch"}])
    assert len(find_missing(load.check(data), ["hello.py"])) == 1
    assert find_missing(load.check(data | {"runtime": {"kodosumi": True}}), ["hello.py"]) == []


def test_notes_modules_that_only_a_dependency_can_bring() -> None:
    """This may be a mistake, but need not be."""
    data = flow(entrypoint="other.flows:run") | {"runtime": {"dependencies": ["other"]}}
    (note,) = module_check.find_foreign(load.check(data), [])
    assert "'other.flows' is not among the files to ship" in note.message
    assert module_check.find_foreign(load.check(data), ["other/flows.py"]) == []
    assert module_check.find_foreign(load.check(flow(entrypoint="json:dumps")), []) == []


@pytest.mark.parametrize(
    ("name", "word"),
    [
        *(("queue.py", "Python's own 'queue'"), ("email/__init__.py", "email/")),
        *(("ray.py", "ray itself"), ("koco/__init__.py", "koco itself")),
        *(("sitecustomize.py", "every process"), ("usercustomize.py", "every process")),
        *(("types.py", "'types'"), ("select.cpython-311-x86_64-linux-gnu.so", "'select'")),
    ],
)
def test_reports_files_that_hide_modules_of_ray(name: str, word: str) -> None:
    """With the file's name and a hint."""
    (problem,) = module_check.find_shadows(["app.py", name])
    assert word in problem.message
    assert problem.hint is not None and problem.hint.startswith("rename")


def test_accepts_files_that_hide_nothing() -> None:
    """Files in packages and plain folders, with other endings, or with harmless names."""
    names = ["pkg/queue.py", "email/text.py", "types/a.py", "tests/__init__.py", "test/__init__.py"]
    assert module_check.find_shadows([*names, "queue.txt", "json/data.json", "turtle.py"]) == []


def test_harmless_modules_are_never_imported() -> None:
    """A process that imports a runner's modules loads none of them."""
    code = "import sys, ray, ray.serve, koco.runner.actor, koco.control.process, koco.api.app\n"
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & module_check.HARMLESS


def test_models_are_documented_for_editors() -> None:
    """Every key has a description."""
    for model in _models(Manifest):
        assert all(field.description for field in model.model_fields.values()), model


def _models(model: Any) -> list[Any]:
    from koco.manifest.model import Flow, Runner, Runtime

    return [model, Flow, Runner, Runtime]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"expose": ["rpc"]}, "flows[0].expose[0]: there is no protocol 'rpc' (hint: one of:"),
        ({"hints": {"readonly": True}}, "hint: did you mean 'read_only'?"),
        ({"hints": {"read_only": "yes"}}, "expected true or false"),
        ({"output": {"type": "text"}}, "flows[0].output: is no JSON Schema: there is no type"),
        ({"output": {"properties": {"a": 1}}}, "it has 1 in a schema's place"),
        ({"output": {"anyOf": [{"type": ["null", "int"]}]}}, "there is no type 'int'"),
        ({"examples": [{"input": {}}]}, "hint: did you mean 'inputs'?"),
        ({"examples": [{"inputs": {"a": float("inf")}}]}, "must hold finite numbers"),
    ],
)
def test_says_what_is_wrong_with_a_key_for_agents(change: dict[str, Any], problem: str) -> None:
    """Here rather than in each agent, which would refuse the whole list of flows."""
    (found,) = find_problems(flow(**change))
    assert problem in found


def test_takes_the_keys_for_agents() -> None:
    """They survive the way to the control plane."""
    given = flow(
        output={"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": True}},
        examples=[{"summary": "Ada", "inputs": {"who": "Ada"}, "result": "Hello, Ada"}],
        hints={"read_only": True},
        expose=["mip003"],
    )
    assert load.to_wire(load.check(given))["flows"] == given["flows"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"flow": "b"}, "mip003[0].flow: there is no flow 'b'"),
        ({"network": "Testnet"}, "mip003[0].network: there is no network 'Testnet'"),
        ({"price": [{"amount": "1.5"}]}, "mip003[0].price[0].amount: must be a whole number"),
        ({"price": [{"amont": "1", "amount": "1"}]}, "hint: did you mean 'amount'?"),
        ({"agent_identifier": "a b"}, "mip003[0].agent_identifier: is not an agent's identifier"),
        ({"public": "yes"}, "mip003[0].public: expected true or false"),
    ],
)
def test_says_what_is_wrong_with_a_flow_for_masumi(change: dict[str, Any], problem: str) -> None:
    """Before anybody can pay for it."""
    given = {**flow(), "mip003": [{"flow": FLOW["name"], **change}]}
    assert [problem in str(found) for found in find_problems(given)] == [True]


def test_a_flow_is_offered_to_masumi_once() -> None:
    """A second element of it would contradict the first."""
    given = {**flow(), "mip003": [{"flow": FLOW["name"]}] * 2}
    (found,) = find_problems(given)
    assert "has an element already: mip003[0]" in str(found)

"""`koco run --each`: a launch for each line of a file."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from koco.errors import TooManyError
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

ERROR = {"type": "ValueError", "message": "no", "traceback": ""}
RESULTS = Path("in.csv.results.jsonl")


@pytest.fixture(autouse=True)
def _script(plane: Plane) -> None:
    """Let each launch end at once: with an error if `who` is Eve."""

    def script(inputs: dict[str, Any]) -> list[tuple[str, Any]]:
        if inputs.get("who") == "Eve":
            return [("error", ERROR), ("status", {"status": "error"})]
        return [("final", {"hi": inputs.get("who")}), ("status", {"status": "finished"})]

    plane.script_of = script


def write(text: str, name: str = "in.csv") -> None:
    Path(name).write_text(text)


def results(path: Path = RESULTS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_a_launch(plane: Plane, cli: Cli) -> None:
    """Values of CSV are text; empty ones are left out; -i is for all lines."""
    write('\ufeffwho,size\nAda,3\n\n"Bob, C.",\n')
    ran = cli("run", "greet", "--each", "in.csv", "-i", "size=9", "--parallel", "1")
    assert (ran.code, ran.out) == (0, "in.csv.results.jsonl\n")
    assert ran.err == "2 lines: 2 finished\n"
    sent = [each[2] for each in plane.requests if each[0] == "POST"]
    assert sent == [{"who": "Ada", "size": "3"}, {"who": "Bob, C.", "size": "9"}]
    first, second = results()
    assert (first["line"], first["status"], first["result"]) == (2, "finished", {"hi": "Ada"})
    assert (second["line"], len(second["fid"])) == (4, 16)
    assert not Path("in.csv.results.jsonl.state").exists()


def test_jsonl_keeps_types(plane: Plane, cli: Cli) -> None:
    """Lines that are no objects are refused by themselves, with their numbers."""
    write('{"who": "Ada", "size": 3}\n[1]\n{"who": NaN}\n{"who": "Bob"}\n', "in.jsonl")
    ran = cli("run", "greet", "--each", "in.jsonl", "--parallel", "1")
    assert ran.code == 1
    assert "in.jsonl:2: a JSON list, not an object" in ran.err
    assert "in.jsonl:3: not JSON: NaN" in ran.err
    assert "4 lines: 2 finished, 2 refused" in ran.err
    sent = [each[2] for each in plane.requests if each[0] == "POST"]
    assert sent[0] == {"who": "Ada", "size": 3}


def test_a_second_run_goes_on(plane: Plane, cli: Cli) -> None:
    """Only new lines are launched, wherever they are; failures only with --failed."""
    write("who\nAda\nEve\n")
    ran = cli("run", "greet", "--each", "in.csv")
    assert (ran.code, "1 finished, 1 error" in ran.err) == (1, True)
    assert "--failed launches them again" in ran.err
    write("who\nBob\nAda\nEve\n")
    ran = cli("run", "greet", "--each", "in.csv")
    assert (ran.code, "1 finished, 2 done before" in ran.err) == (1, True)
    assert len(plane.executions) == 3
    plane.script_of = None
    plane.script = [("final", 1), ("status", {"status": "finished"})]
    ran = cli("run", "greet", "--each", "in.csv", "--failed")
    assert (ran.code, "1 finished, 2 done before" in ran.err) == (0, True)
    assert [each["status"] for each in results()].count("finished") == 3


def test_done_lines_cost_no_request(plane: Plane, cli: Cli) -> None:
    """However many there are, a rerun asks for the flow and for nothing else."""
    write("who\n" + "".join(f"n{number}\n" for number in range(100)))
    assert cli("run", "greet", "--each", "in.csv", "--parallel", "20").code == 0
    plane.requests.clear()
    ran = cli("run", "greet", "--each", "in.csv", "--parallel", "20")
    assert (ran.code, "100 done before" in ran.err) == (0, True)
    assert [each[0] for each in plane.requests] == ["GET"]


def test_refused_lines_are_tried_again(plane: Plane, cli: Cli) -> None:
    """Nothing was launched for them."""
    write("who\nnobody\nAda\n")
    ran = cli("run", "greet", "--each", "in.csv")
    assert (ran.code, "in.csv:2: who: must be somebody; who: must be known" in ran.err) == (1, True)
    ran = cli("run", "greet", "--each", "in.csv")
    assert "1 refused, 1 done before" in ran.err


def test_launches_nothing_twice_after_a_kill(plane: Plane, cli: Cli) -> None:
    """An execution without a result is found by its key; a half line is dropped."""
    write("who\n" + "".join(f"n{number}\n" for number in range(20)))
    plane.script_of, plane.script = None, []  # they run for ever
    command = [sys.executable, "-m", "koco", "run", "greet", "--each", "in.csv", "--parallel", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(plane.executions) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the same command goes on from here" in err
    with RESULTS.open("a") as file:
        file.write('{"line": 2, "ke')
    for fid in [*plane.executions]:
        plane.emit(fid, "final", 1)
        plane.end(fid, "finished")
    plane.script = [("final", 1), ("status", {"status": "finished"})]
    ran = cli("run", "greet", "--each", "in.csv")
    assert (ran.code, len(plane.executions), len(results())) == (0, 20, 20)


def test_a_column_can_identify_lines(plane: Plane, cli: Cli) -> None:
    """It need not be an input; a key that comes twice is refused."""
    write("id,who\na,Ada\nb,Bob\na,Cy\n,Di\n")
    ran = cli("run", "greet", "--each", "in.csv", "--key", "id")
    assert ran.code == 1
    assert "in.csv:4: the key 'a' is in an earlier line, too" in ran.err
    assert "in.csv:5: no value in 'id'" in ran.err
    assert {each["key"] for each in results()} == {"a", "b", None}
    assert {"who": "Ada"} in [each[2] for each in plane.requests]
    write("id,who\na,Ada Lovelace\nb,Bob\n")
    assert "2 done before" in cli("run", "greet", "--each", "in.csv", "--key", "id").err


def test_equal_lines_are_launched_as_often_as_they_are_there(plane: Plane, cli: Cli) -> None:
    """Without a key column, the second one is another launch."""
    write("who\nAda\nAda\n")
    assert cli("run", "greet", "--each", "in.csv").code == 0
    assert len(plane.executions) == 2
    assert "2 done before" in cli("run", "greet", "--each", "in.csv").err


def test_waits_for_room(plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue is not a failure of the line."""
    monkeypatch.setattr("koco.cli.many.backoff._PAUSES_S", (0.01,))
    plane.full = [TooManyError("1 waits already")] * 3
    write("who\nAda\n")
    assert cli("run", "greet", "--each", "in.csv").code == 0
    assert len(plane.executions) == 1


def test_standard_input_has_its_results_on_stdout(plane: Plane, cli: Cli) -> None:
    """Its format must be named."""
    assert "--format csv" in cli("run", "greet", "--each", "-", stdin="who\nAda\n").err
    ran = cli("run", "greet", "--each", "-", "--format", "csv", stdin="who\nAda\n")
    assert (ran.code, json.loads(ran.out)["result"]) == (0, {"hi": "Ada"})
    args = ("--each", "-", "--format", "tsv", "--results", "r.jsonl", "--json")
    ran = cli("run", "greet", *args, stdin="who\tsize\nAda\t3\n")
    assert json.loads(ran.out) == results(Path("r.jsonl"))[0]


@pytest.mark.parametrize(
    ("text", "args", "error"),
    [
        ("wo\nAda\n", [], "has no input 'wo'"),
        ("who,who\n", [], "the column 'who' is there twice"),
        ("who,\n", [], "column 2 has no name"),
        ("", [], "in.csv is empty"),
        ("who\n", ["--key", "id"], "no column 'id'"),
        ("who\n", ["--wait"], "--follow and --wait are for one execution"),
        ("who\n", ["--format", "xls"], "there is no format 'xls'"),
        ("who;size\nAda;3\n", [], "its first line has ';', but commas separate the columns"),
        ('who\n"Ada\nBob\nEve\n', [], "in.csv:2: a quote"),
        ('who\n"Ada\n', [], "in.csv:2: a quote in the row that begins here has no end"),
    ],
)
def test_a_wrong_file_launches_nothing(
    plane: Plane, cli: Cli, text: str, args: list[str], error: str
) -> None:
    """The error says what is wrong and where."""
    write(text)
    ran = cli("run", "greet", "--each", "in.csv", *args)
    assert (ran.code, plane.executions) == (2, {})
    assert error in ran.err


def test_one_process_writes_a_results_file(plane: Plane, cli: Cli) -> None:
    """And it belongs to one flow."""
    write("who\nAda\n")
    file = os.open(RESULTS, os.O_CREAT | os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    ran = cli("run", "greet", "--each", "in.csv")
    assert (ran.code, "another koco writes in.csv.results.jsonl now" in ran.err) == (2, True)
    os.close(file)
    state = {"run": "x", "flow": "hello/other", "url": plane.url}
    Path(f"{RESULTS}.state").write_text(json.dumps(state))
    ran = cli("run", "greet", "--each", "in.csv")
    assert (ran.code, "has the results of hello/other" in ran.err) == (2, True)


def test_stops_if_the_flow_is_gone(plane: Plane, cli: Cli) -> None:
    """That is not about a line; the run can be continued."""
    write("who\nAda\n")
    assert cli("run", "gone", "--each", "in.csv").code == 4
    assert not RESULTS.exists()


def finish_all(plane: Plane) -> None:
    plane.script_of = None
    plane.script = [("final", 1), ("status", {"status": "finished"})]


def test_a_retried_line_is_not_launched_again(plane: Plane, cli: Cli) -> None:
    """What `koco retry` has done counts for --failed."""
    write("who\nAda\nEve\n")
    cli("run", "greet", "--each", "in.csv")
    finish_all(plane)
    new = cli("retry", "--status", "error", "--yes").out.split()[1]
    ran = cli("run", "greet", "--each", "in.csv", "--failed")
    assert (ran.code, len(plane.executions)) == (0, 3)
    assert (results()[-1]["fid"], results()[-1]["status"]) == (new, "finished")
    assert "2 done before" in cli("run", "greet", "--each", "in.csv", "--failed").err


def test_a_line_is_launched_again_as_a_retry(plane: Plane, cli: Cli) -> None:
    """So `koco retry` leaves it out, and a retry that failed is retried itself."""
    write("who\nEve\n")
    cli("run", "greet", "--each", "in.csv")
    assert cli("run", "greet", "--each", "in.csv", "--failed").code == 1
    assert [each.get("retried", False) for each in plane.executions.values()] == [True, False]
    finish_all(plane)
    assert cli("retry", "--status", "error", "--yes").code == 0
    assert cli("run", "greet", "--each", "in.csv", "--failed").code == 0
    assert len(plane.executions) == 3
    assert "nothing was retried" in cli("retry", "--status", "error", "--yes").err


def test_other_inputs_are_another_launch(plane: Plane, cli: Cli) -> None:
    """With a key column a line may be mended; and an execution may be deleted."""
    write("id,who\na,Eve\nb,Eve\n")
    cli("run", "greet", "--each", "in.csv", "--key", "id")
    write("id,who\nb,Eve\na,Ada\n")
    gone = next(each["fid"] for each in results() if each["key"] == "b")
    del plane.executions[gone]
    finish_all(plane)
    plane.requests.clear()
    args = ("--key", "id", "--failed", "--parallel", "1")
    assert cli("run", "greet", "--each", "in.csv", *args).code == 0
    sent = [each[2] for each in plane.requests if each[0] == "POST" and each[2]]
    assert sorted(sent, key=str) == [{"who": "Ada"}, {"who": "Eve"}]


def test_says_how_many_refused_lines_are_not_named(plane: Plane, cli: Cli) -> None:
    """The results have all of them, and nothing is left that a next run needs."""
    write("[]\n" * 30, "in.jsonl")
    ran = cli("run", "greet", "--each", "in.jsonl")
    assert ran.err.count("not an object") == 20
    assert "refused, and not named above: 10 more lines; in.jsonl.results.jsonl has all" in ran.err
    assert not Path("in.jsonl.results.jsonl.state").exists()


def test_a_line_names_files_where_the_form_says_file(
    plane: Plane, cli: Cli, tmp_path: Path
) -> None:
    """Relative to the file of lines; other fields are text, whatever they begin with."""
    fields = [{"type": "text", "name": "who"}, {"type": "file", "name": "doc"}]
    plane.flows["greet"]["form"] = fields
    Path("lines/texts").mkdir(parents=True)
    Path("lines/texts/1.txt").write_text("one")
    write("who,doc\n@texts/1.txt,@texts/1.txt\nBob,@@x\n", "lines/in.csv")
    assert cli("run", "greet", "--each", "lines/in.csv", "--parallel", "1").code == 0
    first, second = (each["inputs"] for each in plane.executions.values())
    assert (first["who"], first["doc"]["$file"]["name"]) == ("@texts/1.txt", "1.txt")
    assert [*plane.blobs.values()] == [b"one"]
    assert second == {"who": "Bob", "doc": "@x"}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("@../secret", "is not in the folder of lines/in.csv, or below it"),
        ("@/etc/hostname", "is not in the folder"),
        ("@~/x", "there is no such file"),
        ("@link", "is not in the folder"),
        ("@gone", "there is no such file"),
    ],
)
def test_a_line_names_no_file_elsewhere(plane: Plane, cli: Cli, path: str, error: str) -> None:
    """The lines may come from somebody else. Such a line is refused by itself."""
    plane.flows["greet"]["form"] = [{"type": "file", "name": "doc"}]
    Path("lines").mkdir()
    Path("secret").write_text("s")
    Path("lines/link").symlink_to("../secret")
    write(f"doc\n{path}\n", "lines/in.csv")
    ran = cli("run", "greet", "--each", "lines/in.csv")
    assert (ran.code, plane.executions, plane.blobs) == (1, {}, {})
    assert f"lines/in.csv:2: {'doc: ' if 'folder' in error else ''}" in ran.err
    assert error in ran.err

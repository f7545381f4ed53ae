"""`koco ps`, `show`, `result`, `wait` and `cancel`."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from koco.errors import TooManyError
from tests.support.driver import calm_s
from tests.support.memory_plane import TS, Plane
from tests.unit.conftest import Cli

FINISHED = ("status", {"status": "finished"})
ERROR = {"type": "ValueError", "message": "no", "traceback": "Traceback\nValueError: no"}


@pytest.fixture
def three(plane: Plane) -> list[str]:
    """One execution that runs, one that finished, one that failed."""
    return [
        plane.launch(("stdout", "hi"), fid="aaaa"),
        plane.launch(("final", {"n": 1}), FINISHED, fid="bbbb"),
        plane.launch(("error", ERROR), ("status", {"status": "error"}), fid="cccc"),
    ]


def test_ps_lists_open_executions(three: list[str], cli: Cli) -> None:
    """Tab-separated with a header and whole times when piped."""
    ran = cli("ps")
    header, *rows = ran.out.splitlines()
    assert header.split("\t")[:3] == ["fid", "flow", "status"]
    assert header.split("\t")[3:8] == ["created", "started", "finished", "waits", "user"]
    assert header.split("\t")[8:] == ["duration_s", "attempt", "progress", "error"]
    fields = ["aaaa", "hello/greet", "running", TS, TS, "-", "-", "admin"]
    assert [row.split("\t")[:8] for row in rows] == [fields]
    assert rows[0].split("\t")[9:] == ["-", "-", "-"]


def test_ps_lists_all_newest_first(three: list[str], cli: Cli) -> None:
    """`-a` has those that ended, too."""
    assert re.findall("^....(?=\t)", cli("ps", "-a").out, re.M) == ["cccc", "bbbb", "aaaa"]


def test_ps_with_a_status_includes_ended_executions(three: list[str], cli: Cli) -> None:
    """Failed executions have ended."""
    assert re.findall("^....(?=\t)", cli("ps", "--status", "error").out, re.M) == ["cccc"]
    found = cli("ps", "--status", "error", "--status", "running").out
    assert re.findall("^....(?=\t)", found, re.M) == ["cccc", "aaaa"]


def test_ps_notes_that_there_are_more(plane: Plane, three: list[str], cli: Cli) -> None:
    """Nothing is left out in silence; the flow goes to the server."""
    ran = cli("ps", "-a", "--limit", "2", "--flow", "greet")
    assert len(ran.out.splitlines()) == 3
    assert "there are more" in ran.err
    assert "flow=greet" in plane.requests[-1][1]


def test_ps_gathers_pages(plane: Plane, cli: Cli) -> None:
    """The server's page size does not limit the user's."""
    for _ in range(1200):
        plane.launch()
    assert len(json.loads(cli("ps", "--limit", "1100", "--json").out)["items"]) == 1100


def test_ps_as_json_is_a_list_with_a_cursor(three: list[str], cli: Cli) -> None:
    """In the shape that all lists have."""
    page = json.loads(cli("ps", "--json").out)
    assert [item["fid"] for item in page["items"]] == ["aaaa"]
    assert page["next"] is None


def test_ps_shows_users_if_there_are_several(plane: Plane, terminal: Cli) -> None:
    """If all are of one user, the column is not shown."""
    plane.launch(fid="aaaa")
    assert "BY" not in terminal("ps").out
    plane.launch(fid="bbbb", user="ada")
    header, *rows = re.sub(r"\x1b\[[0-9;]*m", "", terminal("ps").out).splitlines()
    assert header.split()[-1] == "BY"
    assert [row.split()[-1] for row in rows] == ["ada", "admin"]


def test_ps_on_a_terminal_fits_80_columns(plane: Plane, terminal: Cli) -> None:
    """The fid is whole, times are humane; only the flow's name may be shortened."""
    fid = plane.launch(flow="a-rather-long-service-name/and-a-flow-with-a-long-name-too")
    out = re.sub(r"\x1b\[[0-9;]*m", "", terminal("ps").out)
    assert all(len(line) <= 80 for line in out.splitlines())
    assert fid in out
    assert re.search(r"\d+[smhd] ago", out)
    assert "TOOK" in out
    assert "…" in out


PAST = {"started": "2026-01-31T12:00:00Z", "finished": "2026-01-31T12:00:02.5Z", "status": "error"}
LONG = {"type": "ValueError", "message": "page 3 of the report has no title,\nso nothing to show"}


def test_failures_are_readable_at_80_columns(plane: Plane, terminal: Cli) -> None:
    """What failed and why: everything else gives way."""
    for user in ("ada", "grace"):
        flow = f"reporting-service/{user}s-weekly-report"
        plane.launch(fid=f"{user:x<16}", flow=flow, user=user, error=LONG, **PAST)
    out = re.sub(r"\x1b\[[0-9;]*m", "", terminal("ps", "--status", "error").out)
    header, row, _ = out.splitlines()
    assert all(len(line) <= 80 for line in out.splitlines())
    assert header.split() == ["FID", "FLOW", "CREATED", "WHY"]
    assert "gracexxxxxxxxxxx" in row and "ValueError: page 3 of the report" in row
    wide = terminal("ps", "--status", "error", env={"COLUMNS": "200"}).out
    header, row, _ = re.sub(r"\x1b\[[0-9;]*m", "", wide).splitlines()
    assert header.split() == ["FID", "FLOW", "STATUS", "CREATED", "TOOK", "BY", "WHY"]
    assert "reporting-service/graces-weekly-report" in row and "2.5s" in row
    assert "has no title,\\nso nothing to show" in row


def test_ps_shows_progress_and_attempts_of_those_that_run(plane: Plane, terminal: Cli) -> None:
    """The columns are there if they say something."""
    progress = {"done": 3, "total": 12, "message": "pages"}
    plane.launch(fid="aaaa", progress=progress, attempt=2, attempts=3)
    plane.launch(fid="bbbb", progress=progress, status="finished", finished=TS)
    plane.launch(fid="cccc", progress={"done": 1500, "total": None, "message": None})
    out = re.sub(r"\x1b\[[0-9;]*m", "", terminal("ps", "-a").out)
    header, last, ended, first = out.splitlines()
    assert header.split() == ["FID", "FLOW", "STATUS", "CREATED", "TOOK", "PROGRESS", "TRY"]
    assert first.split()[-2:] == ["25%", "2/3"]
    assert last.split()[-1] == "1,500"
    assert "25%" not in ended


USED = {"wall_s": 2.5, "cpu_s": 1.25, "peak_memory_bytes": 3_145_728, "ray_tasks": 2}


def test_ps_has_named_columns(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """Values for programs, texts for people; an unknown one is answered with all names."""
    used = {**USED, "stored_bytes": 2048}
    plane.launch(fid="aaaa", error=LONG, used=used, tags=["a", "b"], **PAST)
    columns = "fid,duration_s,cpu_s,memory_bytes,tags,error_type"
    out = cli("ps", "-a", "--format", columns).out
    assert out.splitlines()[1].split("\t") == [
        "aaaa",
        "2.5",
        "1.25",
        "3145728",
        "a,b",
        "ValueError",
    ]
    drawn = terminal("ps", "-a", "--format", "fid, memory_bytes,stored_bytes,duration_s").out
    assert "3 MB" in drawn and "2 kB" in drawn and "2.5s" in drawn and "MEMORY_BYTES" in drawn
    ran = cli("ps", "--format", "fid,stauts")
    assert (ran.code, "did you mean status?" in ran.err, "error_type" in ran.err) == (2, True, True)
    assert cli("ps", "--format", ",").code == 2


def test_ps_as_csv_has_a_header_and_quotes(plane: Plane, cli: Cli) -> None:
    """As other programs read it, with empty fields for what is not known."""
    plane.launch(fid="aaaa", error=LONG, **PAST)
    plane.launch(fid="bbbb")
    out = cli("ps", "-a", "--csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["fid"] for row in rows] == ["bbbb", "aaaa"]
    assert rows[1]["error"] == f"ValueError: {LONG['message']}"
    assert (rows[0]["error"], rows[0]["finished"], rows[1]["duration_s"]) == ("", "", "2.5")
    assert cli("ps", "-a", "--csv", "--format", "fid").out == "fid\nbbbb\naaaa\n"
    assert cli("ps", "--csv", "--json").code == 2


def test_ps_on_a_terminal_notes_that_nothing_is_running(plane: Plane, terminal: Cli) -> None:
    """An empty screen would leave one wondering."""
    assert "nothing is running; `koco ps -a`" in terminal("ps").out


def test_an_unknown_option_names_the_nearest(plane: Plane, cli: Cli) -> None:
    """Exit code 2."""
    ran = cli("ps", "--flw", "greet")
    assert ran.code == 2
    assert "--flow" in ran.err


def test_show_prints_one_execution(three: list[str], cli: Cli) -> None:
    """By prefix; the latest by default."""
    out = cli("show", "b").out
    assert re.search(r"^fid +bbbb$", out, re.M)
    assert re.search(r'^inputs +\{"who": "Ada"\}$', out, re.M)
    assert json.loads(cli("show", "--json").out)["fid"] == "cccc"
    assert cli("show", "zzz").code == 4


TRACE = """Traceback (most recent call last):
  File "/pages/app.py", line 12, in report
    title = read(page)
            ^^^^^^^^^^
  File "/pages/read.py", line 3, in read
    return json.loads(page)["title"]
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
ValueError: no"""


def test_show_begins_with_the_error_and_its_place(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """The last place in the author's own code; a terminal says what to type next."""
    error = {"type": "ValueError", "message": "no", "traceback": TRACE}
    brief = {"type": "ValueError", "message": "no"}
    plane.launch(("error", error), fid="aaaa", error=brief, **PAST)
    first, second, *rest = cli("show").out.splitlines()
    assert first == "error     ValueError: no"
    place = '/pages/read.py, line 3, in read: return json.loads(page)["title"]'
    assert second == f"at        {place}"
    assert rest[0].startswith("fid") and not any("retry" in line for line in rest)
    drawn = terminal("show").out
    assert re.search(r"^next +koco logs aaaa +shows", drawn, re.M)
    assert re.search(r"^next +koco retry aaaa +runs it again", drawn, re.M)
    plane.executions["aaaa"]["durable"] = True
    assert re.search(r"^next +koco resume aaaa", terminal("show").out, re.M)


def test_show_tells_progress_and_what_it_used(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """In words; `--json` has the numbers."""
    progress = {"done": 3, "total": 12, "message": "pages"}
    plane.launch(fid="aaaa", progress=progress, used={**USED, "stored_bytes": 2048})
    out = cli("show").out
    assert re.search(r"^progress +3/12 \(25%\) pages$", out, re.M)
    used = r"^used +2\.5s, 1\.2s of CPU time, 3 MB of memory, 2 Ray tasks, 2 kB stored$"
    assert re.search(used, out, re.M)
    assert "koco stack aaaa" in terminal("show").out
    assert "next" not in cli("show").err


def test_show_says_that_an_execution_is_durable(plane: Plane, three: list[str], cli: Cli) -> None:
    """Of others it says nothing."""
    assert "durable" not in cli("show", "b").out
    plane.executions["bbbb"]["durable"] = True
    assert "durable   yes\n" in cli("show", "b").out


def test_result_prints_the_return_value(plane: Plane, cli: Cli) -> None:
    """Text as it is, bodies as their text, the rest as JSON."""
    for value, shown in (
        ("plain text", "plain text\n"),
        ({"type": "markdown", "body": "# Hymn"}, "# Hymn\n"),
        ({"n": [1]}, '{\n  "n": [\n    1\n  ]\n}\n'),
        (None, "null\n"),
    ):
        plane.launch(("final", value), FINISHED)
        ran = cli("result")
        assert (ran.code, ran.out, ran.err) == (0, shown, "")


def test_a_result_is_printed_as_a_page(plane: Plane, cli: Cli) -> None:
    """Markdown becomes HTML on the control plane. Errors are told as without --html."""
    plane.launch(("final", {"type": "markdown", "body": "# Hymn"}), FINISHED)
    ran = cli("result", "--html")
    assert (ran.code, ran.out, ran.err) == (0, "<p># Hymn\n", "")
    assert cli("result", "--html", "--json").code == 2
    plane.launch(("status", {"status": "cancelled"}))
    assert cli("result", "--html").code == 7


def test_result_of_an_error_is_its_traceback(three: list[str], cli: Cli) -> None:
    """On stderr, with exit code 1: stdout is for results."""
    ran = cli("result", "cccc")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Traceback\nValueError: no\nerror: execution cccc ended in error")
    assert "koco logs cccc" in ran.err


def test_result_reports_a_cancelled_execution(plane: Plane, cli: Cli) -> None:
    """Exit code 7."""
    plane.launch(("status", {"status": "cancelled"}))
    ran = cli("result")
    assert (ran.code, ran.out) == (7, "")
    assert "was cancelled" in ran.err


def test_result_as_json_has_either(three: list[str], cli: Cli) -> None:
    """The exit code is the outcome here, too."""
    ran = cli("result", "--json", "bbbb")
    assert (ran.code, json.loads(ran.out)["result"]) == (0, {"n": 1})
    ran = cli("result", "--json", "cccc")
    assert (ran.code, json.loads(ran.out)["error"]["message"], ran.err) == (1, "no", "")


def test_result_of_a_running_execution_is_a_conflict(three: list[str], cli: Cli) -> None:
    """Exit code 2, with the place."""
    ran = cli("result", "aaaa")
    assert ran.code == 2
    assert "no result yet: it is running" in ran.err


def test_wait_exits_with_the_worst_outcome(plane: Plane, three: list[str], cli: Cli) -> None:
    """An error outweighs a cancellation, which outweighs success."""
    plane.launch(("status", {"status": "cancelled"}), fid="dddd")
    ran = cli("wait", "bbbb", "cccc", "dddd")
    assert (ran.code, ran.out) == (1, "bbbb\tfinished\ncccc\terror\ndddd\tcancelled\n")
    assert cli("wait", "dddd", "bbbb").code == 7
    assert cli("wait", "bbbb").code == 0


def test_wait_waits(plane: Plane, three: list[str]) -> None:
    """It ends when the execution does, and not before."""
    with subprocess.Popen(
        [sys.executable, "-m", "koco", "wait", "aaaa", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        plane.wait_for("/aaaa/events")
        time.sleep(0.2)
        assert process.poll() is None
        plane.end("aaaa", "finished")
        out, _ = process.communicate(timeout=100)
    assert json.loads(out)["status"] == "finished"
    assert process.returncode == 0


def test_wait_looks_all_up_before_it_waits(three: list[str], cli: Cli) -> None:
    """A mistyped fid is reported now, not after the others have ended."""
    began = calm_s()
    assert cli("wait", "aaaa", "zzzz").code == 4
    assert calm_s() - began < 5


def test_wait_gives_up_in_time(three: list[str], cli: Cli) -> None:
    """Exit code 124, naming those that go on."""
    ran = cli("wait", "bbbb", "aaaa", "--timeout", "0.3")
    assert (ran.code, ran.out) == (124, "bbbb\tfinished\n")
    assert "not ended within 0.3 s: aaaa" in ran.err
    assert cli("wait", "aaaa", "--timeout", "-1").code == 2


def test_ctrl_c_on_wait(plane: Plane, three: list[str]) -> None:
    """Exit code 130; the execution goes on."""
    with subprocess.Popen(
        [sys.executable, "-m", "koco", "wait", "aaaa"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        plane.wait_for("/aaaa/events")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "aaaa goes on" in err
    assert "Traceback" not in err


def test_cancel_sends_the_grace_period(plane: Plane, three: list[str], cli: Cli) -> None:
    """It returns at once, with a note."""
    ran = cli("cancel", "aaaa", "--grace", "3")
    assert (ran.code, ran.out) == (0, "aaaa\trunning\n")
    assert "has 3 s to end" in ran.err
    assert plane.requests[-1] == ("POST", "/v1/executions/aaaa/cancel", {"grace_s": 3.0})


def test_cancel_can_wait_for_the_end(three: list[str], cli: Cli) -> None:
    """Then its work is done: exit code 0."""
    ran = cli("cancel", "aaaa", "--wait")
    assert (ran.code, ran.out, ran.err) == (0, "aaaa\tcancelled\n", "")


def test_cancel_of_an_ended_execution_is_a_conflict(three: list[str], cli: Cli) -> None:
    """Exit code 2; one must be named."""
    assert "has ended already" in cli("cancel", "bbbb").err
    assert cli("cancel", "bbbb").code == 2
    assert cli("cancel").code == 2


def test_cancel_as_json_is_the_execution(three: list[str], cli: Cli) -> None:
    """As `koco show --json` has it."""
    assert json.loads(cli("cancel", "aaaa", "--json").out)["fid"] == "aaaa"


def test_ps_filters_go_to_the_server(plane: Plane, three: list[str], cli: Cli) -> None:
    """Times and words include ended executions."""
    options = ["--user", "ada", "--tag", "a", "--tag", "b c", "--service", "hello"]
    cli("ps", *options)
    asked = plane.requests[-1][1]
    told = ("user=ada", "tag=a&tag=b+c", "service=hello", "active=true")
    assert all(each in asked for each in told)
    found = cli("ps", "--since", "24h", "--search", '"two words" begin*').out
    asked = plane.requests[-1][1]
    assert "search=%22two+words%22+begin" in asked
    assert re.search(r"since=20\d\d-", asked)
    assert "active" not in asked
    assert len(found.splitlines()) == 4
    assert cli("ps", "--since", "someday").code == 2


def test_retry_prints_the_new_fid(plane: Plane, three: list[str], cli: Cli) -> None:
    """Alone on stdout, for scripts; an idempotency key is handed on."""
    ran = cli("retry", "cccc", "--key", "once")
    fid = ran.out.strip()
    assert (ran.code, fid in plane.executions, fid in three) == (0, True, False)
    assert plane.keys == ["once"]
    assert cli("retry", "aaaa").code == 2


def test_retry_can_follow_to_the_outcome(plane: Plane, three: list[str], cli: Cli) -> None:
    """As with `koco run`: the exit code is the outcome."""
    plane.script = [("stdout", "again"), ("error", ERROR), ("status", {"status": "error"})]
    ran = cli("retry", "bbbb", "--follow")
    assert (ran.code, "again" in ran.out) == (1, True)
    plane.script = [("final", 1), FINISHED]
    assert cli("retry", "bbbb", "--wait").code == 0
    assert cli("retry", "bbbb", "--timeout", "3").code == 2


def test_delete_removes_all_executions_or_none(plane: Plane, three: list[str], cli: Cli) -> None:
    """If one has not ended, none is deleted; scripts need --yes."""
    assert cli("delete", "aaaa", "bbbb", "--yes").code == 2
    ran = cli("delete", "bbbb")
    assert (ran.code, "--yes" in ran.err) == (2, True)
    assert set(plane.executions) == set(three)
    ran = cli("delete", "bbbb", "cccc", "bbbb", "--yes")
    assert (ran.code, ran.out) == (0, "bbbb\tdeleted\ncccc\tdeleted\n")
    assert set(plane.executions) == {"aaaa"}
    assert cli("delete", "bbbb", "--yes").code == 4


def test_delete_takes_filters(plane: Plane, three: list[str], cli: Cli) -> None:
    """In as many requests as it takes; only what has ended is deleted."""
    ran = cli("delete", "--flow", "hello/greet")
    assert (ran.code, "delete 2 executions permanently" in ran.err) == (2, True)
    assert set(plane.executions) == set(three)
    ran = cli("delete", "--flow", "hello/greet", "--before", "2999-01-01", "--yes")
    assert (ran.code, ran.out, ran.err) == (0, "cccc\tdeleted\nbbbb\tdeleted\n", "")
    assert "until=2999-01-01" in plane.requests[-1][1]
    assert set(plane.executions) == {"aaaa"}
    assert "nothing was deleted" in cli("delete", "--status", "failed").err
    assert cli("delete", "--tag", "x", "--yes", "--json").out == ""


def test_skipped_executions_are_named(plane: Plane, three: list[str], cli: Cli) -> None:
    """On stderr, with the reason. The exit code is that of the refusal."""
    ran = cli("delete", "--status", "running", "--yes")
    assert "aaaa skipped: execution aaaa is running" in ran.err
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("command", ["delete", "cancel", "retry", "resume"])
def test_fids_and_filters_exclude_each_other(plane: Plane, cli: Cli, command: str) -> None:
    """One of them is needed."""
    assert cli(command).code == 2
    assert cli(command, "aaaa", "--status", "error", "--yes").code == 2
    assert plane.requests == []


def test_cancel_takes_several_fids_or_filters(plane: Plane, three: list[str], cli: Cli) -> None:
    """A filter finds only executions that have not ended, and asks first."""
    other = plane.launch(("status", {"status": "running"}), fid="dddd")
    ran = cli("cancel", "--service", "hello")
    assert (ran.code, "cancel 2 executions" in ran.err) == (2, True)
    ran = cli("cancel", "--service", "hello", "--yes", "--grace", "2")
    assert (ran.code, ran.out) == (0, "dddd\tcancelling\naaaa\tcancelling\n")
    assert "2 asked to end" in ran.err and "grace_s=2" in plane.requests[-1][1]
    assert "nothing was cancelled" in cli("cancel", "--service", "hello").err
    more = [plane.launch(("status", {"status": "running"}), fid=fid) for fid in ("eeee", "ffff")]
    ran = cli("cancel", *more, "--wait")
    assert ran.out == "eeee\tcancelled\nffff\tcancelled\n"
    assert plane.executions[other]["status"] == "cancelled"


def test_a_refusal_does_not_stop_the_others(plane: Plane, three: list[str], cli: Cli) -> None:
    """Each is named, and as JSON each has a line. Refusals that differ exit with 1."""
    why = "execution bbbb is finished"
    ran = cli("cancel", "bbbb", "aaaa", "--json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"fid": "aaaa", "cancelled": True},
        {"fid": "bbbb", "cancelled": False, "code": "conflict", "reason": why},
    ]
    assert ran.code == 2
    assert cli("cancel", "bbbb", "zzzz").code == 1
    assert cli("cancel", "yyyy", "zzzz").code == 4


def test_delete_as_json_is_a_line_for_each(plane: Plane, three: list[str], cli: Cli) -> None:
    """As it is for all commands of many."""
    out = cli("delete", "cccc", "--yes", "--json").out
    assert json.loads(out) == {"fid": "cccc", "deleted": True}


def failed(plane: Plane, *fids: str) -> None:
    for fid in fids:
        plane.launch(
            ("error", {"type": "X", "message": "x"}), ("status", {"status": "error"}), fid=fid
        )


def test_retry_takes_filters(plane: Plane, three: list[str], cli: Cli) -> None:
    """Those with an error, once each; `--again` repeats them."""
    failed(plane, "ee11", "ee22")
    ran = cli("retry", "--since", "24h")
    assert (ran.code, "retry 3 executions" in ran.err, "--yes" in ran.err) == (2, True, True)
    ran = cli("retry", "--since", "24h", "--yes")
    assert ran.code == 0
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["ee22", "ee11", "cccc"]
    assert "3 retried" in ran.err and len({*plane.keys}) == 1
    ran = cli("retry", "--since", "24h")
    assert (ran.code, ran.out) == (0, "") and "nothing was retried" in ran.err
    assert len(cli("retry", "--since", "24h", "--yes", "--again").out.splitlines()) == 3


def test_several_are_retried_only_once(plane: Plane, three: list[str], cli: Cli) -> None:
    """So a command that was interrupted can be repeated; one alone is always retried."""
    failed(plane, "ee11", "ee22")
    ran = cli("retry", "ee11", "ee22", "aaaa", "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [(each["fid"], each["retried"]) for each in told] == [
        ("ee11", True),
        ("ee22", True),
        ("aaaa", False),
    ]
    assert (ran.code, told[2]["code"]) == (2, "conflict")
    ran = cli("resume", "ee11", "ee22")
    assert (ran.code, ran.out, "nothing was resumed" in ran.err) == (0, "", True)
    assert "ee11 skipped: execution ee11 was retried already" in ran.err
    assert cli("retry", "ee11").code == 0


def test_retry_waits_for_room(
    plane: Plane, three: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue is no failure of theirs."""
    monkeypatch.setattr("koco.cli.many.backoff._PAUSES_S", (0.01,))
    failed(plane, "ee11", "ee22")
    plane.full = [TooManyError("100 wait already"), TooManyError("100 wait already")]
    ran = cli("retry", "ee11", "ee22")
    assert (ran.code, len(ran.out.splitlines())) == (0, 2)
    assert ran.err.count("waiting for room: 100 wait already") == 1

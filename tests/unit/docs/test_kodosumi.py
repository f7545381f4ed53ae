"""docs/kodosumi.md says what there is: tests, commands, options and settings."""

import ast
import re

import pytest

from koco.cli import main, words
from koco.control.settings import Settings
from tests.support.checkout import ROOT

PAGE = (ROOT / "docs/kodosumi.md").read_text()

#: The settings of Kodosumi 1.1 and 1.2, without `KODO_`.
SETTINGS = re.findall(
    r"\w+",
    """
    ADMIN_DATABASE ADMIN_EMAIL ADMIN_PASSWORD APP_LOG_BACKUP_COUNT APP_LOG_FILE
    APP_LOG_FILE_LEVEL APP_LOG_MAX_BYTES APP_RELOAD APP_SERVER APP_STD_LEVEL APP_WORKERS
    AUDIT_LOG_BACKUP_COUNT AUDIT_LOG_FILE AUDIT_LOG_MAX_BYTES BOOT_HEALTH_TIMEOUT
    CHUNK_SIZE CORS_ORIGINS EXEC_DIR LOCK_EXPIRES MASUMI_BASE_URL MASUMI_PAY_BY
    MASUMI_POLL_INTERVAL MASUMI_SUBMIT_RESULT MASUMI_TOKEN PROXY_TIMEOUT RAY_DASHBOARD
    RAY_SERVER RAY_SERVE_ADDRESS REGISTER_FLOW SAVE_CHUNK_SIZE SECRET_KEY SERVE_EXECUTABLE
    SPOOLER_BATCH_SIZE SPOOLER_BATCH_TIMEOUT SPOOLER_INTERVAL SPOOLER_LOG_BACKUP_COUNT
    SPOOLER_LOG_FILE SPOOLER_LOG_FILE_LEVEL SPOOLER_LOG_MAX_BYTES SPOOLER_STD_LEVEL
    SSL_CA_CERTS SSL_CERTFILE SSL_CERT_REQS SSL_CIPHERS SSL_KEYFILE SSL_KEYFILE_PASSWORD
    SSL_VERSION UPLOAD_DIR UVICORN_LEVEL WAIT_FOR_JOB YAML_BASE
    """,
)


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"docs/kodosumi.md has no section {name!r}"
    return found[1]


def rows(name: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in section(name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def proofs() -> list[str]:
    return [test for row in rows("Feature by feature") for test in re.findall(r"`([^`]+)`", row[2])]


def test_every_feature_has_a_test() -> None:
    """At least one in its row."""
    for row in rows("Feature by feature"):
        assert len(row) == 3 and re.search(r"`tests/[\w/]+\.py::test_\w+`", row[2]), row


@pytest.mark.parametrize("proof", sorted({*proofs()}))
def test_the_tests_that_prove_a_feature_exist(proof: str) -> None:
    """A function of a module of tests."""
    file, _, name = proof.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    defined = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in defined


def test_every_setting_of_kodosumi_has_a_row() -> None:
    """Once each, and no others."""
    told = [name for row in rows("Settings") for name in re.findall(r"`([A-Z_]+)`", row[0])]
    assert sorted(told) == SETTINGS


def test_the_settings_of_koco_exist() -> None:
    """By the names that koco has for them."""
    told = {n for row in rows("Settings") for n in re.findall(r"`([a-z]+_[a-z_]+)`", row[1])}
    assert told and told <= {*Settings.__struct_fields__}


def test_the_commands_of_koco_exist_with_their_options() -> None:
    """In both tables, and on the rest of the page. Kodosumi's own are in the first columns."""
    ours = [row[1] for name in ("Commands", "Settings") for row in rows(name)]
    ours += [row[1] for row in rows("What koco does not have")]
    ours += [section("In ten minutes"), section("The deployment file becomes a manifest")]
    told = re.findall(r"(?:`|\$ )koco ([a-z][^`\n]*)", "\n".join(ours))
    assert len(told) > 30
    for line in told:
        args = line.split(" && ")[0].split()
        name = " ".join(args[:2]) if " ".join(args[:2]) in main.COMMANDS else args[0]
        assert name in main.COMMANDS, line
        group = main.build()
        for word in name.split():
            group = group.get_command(None, word)
        known = {opt for param in group.params for opt in (*param.opts, *param.secondary_opts)}
        assert {each for each in args if each.startswith("-")} <= known, line


def test_kodosumis_commands_are_answered_with_a_hint() -> None:
    """The commands of the first column are not koco's, so they have a hint."""
    told = {re.split(r"[ ,]", c)[0] for row in rows("Commands") for c in _commands(row[0])}
    for word in told - {"deploy"}:
        assert words.about_command(word), word
    options = {o for row in rows("Commands") for c in _commands(row[0]) for o in c.split()[1:]}
    options = {each for each in options if each.startswith("-")} - {"--register", "--stop"}
    for option in options:
        assert words.about_option(option, command="deploy"), option


def _commands(cell: str) -> list[str]:
    return [each.removeprefix("koco ") for each in re.findall(r"`(koco [^`]+)`", cell)]

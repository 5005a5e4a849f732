"""Where the kernel does not permit the confinement, nothing runs, and the error says what is missing and why."""

import json
import subprocess
import sys

import pytest
from dspex.engine import PythonInterpreter, SandboxUnavailableError

# In a user namespace of one's own the numbers of further namespaces can be set to none, as a locked-down machine does.
_FORBID = "for kind in user mnt net; do echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 77; done; "

_PROGRAM = """
import json, sys
from dspex.engine import PythonInterpreter, SandboxUnavailableError

accept = json.loads(sys.argv[1])
try:
    with PythonInterpreter(accept_missing=accept) as interpreter:
        ran = interpreter.execute("1 + 1")
        try:
            opened = interpreter.execute("open('/etc/passwd').read()")
        except Exception as error:
            opened = str(error)
        print(json.dumps({"ran": ran, "opened": opened, "missing": sorted(interpreter._process.missing)}))
except SandboxUnavailableError as error:
    print(json.dumps({"missing": error.missing, "message": str(error), "code": error.code}))
"""


def without_namespaces(accept: list[str]) -> dict[str, object]:
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, json.dumps(accept)]
    try:
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "sh", "-c", f'{_FORBID} exec "$@"', "sh", *command],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("util-linux `unshare` is needed to take namespaces away")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this machine does not let a test take namespaces away: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_namespaces_it_refuses_and_names_the_guarantee():
    refused = without_namespaces([])
    assert refused["code"] == "sandbox_unavailable"
    assert list(refused["missing"]) == ["files"]  # the filter on system calls still keeps the network away
    assert "unshare" in refused["missing"]["files"]
    assert "accept_missing=['files']" in str(refused["message"])


def test_what_is_missing_is_accepted_only_by_name_and_the_rest_holds():
    accepted = without_namespaces(["files"])
    assert accepted["ran"] == 2
    assert accepted["missing"] == ["files"]
    assert "cannot be opened" in str(accepted["opened"])  # the audit hook, the second line


def test_a_guarantee_that_does_not_exist_cannot_be_accepted():
    with pytest.raises(ValueError, match="names no guarantee"):
        PythonInterpreter(accept_missing=["everything"])


def test_holes_that_dspys_interpreter_has_are_refused():
    for name in ("enable_read_paths", "enable_write_paths", "enable_env_vars", "enable_network_access"):
        with pytest.raises(NotImplementedError, match=name):
            PythonInterpreter(**{name: ["x"]})


def test_the_error_is_one_of_the_interpreters():
    error = SandboxUnavailableError({"files": "why"})
    assert isinstance(error, RuntimeError)
    assert error.missing == {"files": "why"}

"""The suite runs without network: here, in subprocesses, and in kernels."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from utils.lessons.execute import run_notebook

ELSEWHERE = "192.0.2.1"  # RFC 5737: an address that belongs to nobody

ATTEMPTS = f"""
import socket
def refused(attempt):
    try:
        attempt()
    except ConnectionRefusedError as error:
        return "without network" in str(error)
    return False
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stream = socket.socket()
stream.settimeout(5)
print([
    refused(lambda: stream.connect(("{ELSEWHERE}", 80))),
    refused(lambda: stream.connect_ex(("{ELSEWHERE}", 80))),
    refused(lambda: datagram.sendto(b"x", ("{ELSEWHERE}", 9))),
    refused(lambda: socket.getaddrinfo("example.org", 80)),
    refused(lambda: socket.gethostbyname("example.org")),
])
stream.close()
datagram.close()
"""
ALL_REFUSED = "[True, True, True, True, True]"


def test_this_process_is_blocked(capsys):
    exec(compile(ATTEMPTS, "attempts", "exec"), {})
    assert capsys.readouterr().out.strip() == ALL_REFUSED
    with pytest.raises(ConnectionRefusedError, match="tests run without network"):
        socket.create_connection((ELSEWHERE, 80), timeout=5)


def test_a_subprocess_is_blocked():
    ran = subprocess.run([sys.executable, "-c", ATTEMPTS], capture_output=True, text=True)
    assert ran.stdout.strip() == ALL_REFUSED, ran.stderr


def test_a_kernel_is_blocked(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ATTEMPTS)])
    executed, _ = run_notebook(notebook, tmp_path, {})
    assert executed.cells[0].outputs[0].text.strip() == ALL_REFUSED


def test_without_the_block_the_attempt_would_be_made():
    """The refusal comes from the suite's block, not from the machine it runs on."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import sys; print(getattr(sys, '_course_offline', False))"
    for environment, expected in ((clean, "False"), (dict(os.environ), "True")):
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert ran.stdout.strip() == expected


def test_loopback_is_open():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname(), timeout=5) as client:
            assert client.getpeername() == server.getsockname()


def test_the_block_lies_where_python_looks_for_it():
    assert (Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]) / "sitecustomize.py").is_file()

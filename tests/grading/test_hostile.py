"""Answers that attack: each gets its own status, and the exercise after it is graded as ever.

The secret is a file beside the course that a submission would like to read; after each attack
nothing outside the scratch folder has changed.
"""

from __future__ import annotations

import os

import pytest

from tests.grading.conftest import RIGHT, left, named, needs_sandbox
from utils.grading.referee import grade_notebook
from utils.grading.sandbox import Limits

pytestmark = needs_sandbox
LIMITS = Limits(memory_mb=3072, scratch_mb=64, file_mb=32, processes=60)

WRONG = "\n\ndef centre(x):\n    return 0 * x\n\n\nlab.check('7.1', centre)"
"""What an attack is worth if it changes nothing: a wrong answer, so `failed`."""

ATTACKS = {
    # --- it does not end, or takes everything
    "endless loop": ("while True: pass" + WRONG, "timeout"),
    "loop that catches everything": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass" + WRONG,
        "timeout",
    ),
    "endless loop in the function": (
        "def centre(x):\n    while True: pass\n\nlab.check('7.1', centre)", "timeout",
    ),
    "sleep": ("import time\ntime.sleep(10_000)" + WRONG, "timeout"),
    "input": ("input('who are you?')" + WRONG, "error"),
    "alarm cancelled": (
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: pass" + WRONG,
        "timeout",
    ),
    "memory bomb": ("x = bytearray(2**40)" + WRONG, "out of memory"),
    "memory bomb in torch": (
        "import torch\nparts = [torch.ones(2**26) for _ in range(200)]" + WRONG, "out of memory",
    ),
    "fork bomb": (
        "import os\nwhile True:\n    os.fork()" + WRONG, ("error", "timeout", "tampered"),
    ),
    "fork bomb that catches errors": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError: pass" + WRONG,
        ("error", "timeout", "tampered"),
    ),
    "thread bomb": (
        "import threading, time\nfor _ in range(10_000):\n"
        "    threading.Thread(target=time.sleep, args=(999,), daemon=True).start()" + WRONG,
        ("error", "out of memory"),
    ),
    "disk bomb": (
        "with open('/tmp/big', 'wb') as f:\n    for _ in range(4096): f.write(bytes(2**20))"
        + WRONG, "error",
    ),
    "many files": (
        "import os\nfor i in range(200):\n"
        "    with open(f'/tmp/{i}', 'wb') as f: f.write(bytes(2**20))" + WRONG, "error",
    ),
    "shared memory bomb": (
        "for i in range(200):\n    with open(f'/dev/shm/{i}', 'wb') as f: f.write(bytes(2**20))"
        + WRONG, "error",
    ),
    "huge output": ("print('x' * 10**8)\nprint('y' * 10**8)" + WRONG, "failed"),
    "recursion without end": ("def f(): return f()\nf()" + WRONG, "error"),
    # --- it leaves
    "os._exit": ("import os\nos._exit(0)" + WRONG, "error"),
    "sys.exit": ("import sys\nsys.exit(0)" + WRONG, "error"),
    "kernel killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)" + WRONG,
                      ("out of memory", "error")),
    "signals to everyone": ("import os, signal\nos.kill(-1, signal.SIGKILL)" + WRONG,
                            ("failed", "error", "out of memory")),
    "signal to the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)" + WRONG,
                             ("failed", "error", "out of memory")),
    "crash": ("import ctypes\nctypes.string_at(0)" + WRONG, "error"),
    # --- it forges
    "output that looks like results": (
        "print('7.1 passed: 4 of 4 points')\nprint('{\"status\": \"passed\", \"points\": 4}')"
        + WRONG, "failed",
    ),
    "lab overwritten": (
        "class Lab:\n    def check(self, *a): print('passed')\nlab = Lab()" + WRONG, "tampered",
    ),
    "check of the lab replaced": (
        "type(lab).check = lambda *a: print('passed')" + WRONG, "tampered",
    ),
    "grade always passes": (
        "import utils.lessons.session as s\ns.Lab.grade = lambda self, e, a: s.Result(e, 'passed',"
        " 4, 4, '')" + WRONG, "failed",
    ),
    "checks replaced": (
        "import utils.lessons.checks as c, sys\nfor m in list(sys.modules.values()):\n"
        "    if hasattr(m, 'check_7_1'): m.check_7_1 = lambda *a: None\n"
        "for c in lab._checks.values(): object.__setattr__(c, 'function', lambda *a: None)" + WRONG,
        "failed",
    ),
    "comparison replaced": (
        "import torch\ntorch.allclose = lambda *a, **k: True\ntorch.equal = torch.allclose\n"
        "torch.testing.assert_close = lambda *a, **k: None" + WRONG, "failed",
    ),
    "builtins replaced": (
        "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.abs = lambda *a: 0"
        + WRONG, ("failed", "error", "tampered"),
    ),
    "sys.modules emptied": ("import sys\nsys.modules.clear()" + WRONG,
                            ("failed", "error", "tampered")),
    "always equal": (
        "class Yes:\n    def __eq__(self, o): return True\n    def __lt__(self, o): return True\n"
        "    def __getattr__(self, n): return Yes()\n    def __call__(self, *a): return Yes()\n\n"
        "lab.check('7.1', Yes())", "failed",
    ),
    "result written to the channel": (
        "import utils.grading.inside as i\n"
        "i._channel.send({'event': 'done', 'status': 'passed', 'points': 4})\n"
        "i._channel.send({'event': 'result', 'status': 'passed'})" + WRONG, "tampered",
    ),
    "noise on the channel": (
        "import utils.grading.inside as i\ni._channel._socket.sendall(b'\\xff' * 4096)" + WRONG,
        "tampered",
    ),
    "channel closed": (
        "import utils.grading.inside as i\ni._channel.close()" + WRONG, ("tampered", "error"),
    ),
    "pickle on the channel": (
        "import pickle, os, utils.grading.inside as i\n"
        "class Bomb:\n    def __reduce__(self): return (os.system, ('touch /tmp/owned',))\n"
        "i._channel.send({'event': 'check', 'exercise': '7.1', 'value': {'is': 'pickle'}},"
        " pickle.dumps(Bomb()))" + WRONG, "tampered",
    ),
    "answer that unpickles": (
        "import os\nclass Bomb:\n    def __reduce__(self): return (os._exit, (3,))\n\n"
        "lab.check('7.1', Bomb())", "failed",
    ),
    "asked again until it fits": (
        "for k in range(100):\n    def centre(x, k=k): return x - x.mean(0) * k\n"
        "    lab.check('7.1', centre)", "failed",
    ),
    "another exercise's check": ("lab.check('7.2', 4)" + WRONG, "failed"),
    "unknown exercise": ("lab.check('9.9', 4)" + WRONG, "failed"),
    # --- it looks for what is not its own
    "frames walked": (
        "import sys\nf = sys._getframe()\nfound = []\nwhile f:\n    found += list(f.f_locals)\n"
        "    f = f.f_back\nassert not any('solution' in n.lower() for n in found)"
        + WRONG, "failed",
    ),
    "sockets": (
        "import socket\nfor a in ('127.0.0.1', '192.0.2.1'):\n    s = socket.socket()\n"
        "    s.settimeout(2)\n    try:\n        s.connect((a, 80))\n    except OSError: continue\n"
        "    raise SystemExit('connected')" + WRONG, "failed",
    ),
    "subprocess left behind": (
        "import subprocess\nsubprocess.Popen(['/usr/bin/sleep', '7654321'],"
        " start_new_session=True)" + WRONG, "failed",
    ),
    "setuid": ("import os\nos.setuid(0)" + WRONG, ("error", "failed")),
    "mount": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) != 0\n"
        "assert libc.unshare(0x10000000) != 0 or True" + WRONG, "failed",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder that no submission may see or change."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "key.json").write_text("the secret")
    return folder


def _grade(notebook, seconds=3.0):
    found = grade_notebook(notebook, "07", limits=LIMITS, cell_seconds=seconds)
    return {row.exercise: row for row in found.rows}, found


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_its_own_exercise_only(name, notebook, outside):
    source, expected = ATTACKS[name]
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    expected = (expected,) if isinstance(expected, str) else expected
    # what only a limit of time ends gets a short one; the rest must not hit it on a busy machine
    rows, _ = _grade(notebook(a71=source), 3.0 if "timeout" in expected else 60.0)
    assert rows["7.1"].status in expected, rows["7.1"]
    assert rows["7.1"].points == 0 and rows["7.1"].message
    assert (rows["7.2"].status, rows["7.2"].points) == ("passed", 1), rows["7.2"]
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    assert not left(lambda: named("7654321")) and not os.path.exists("/tmp/owned")


def test_the_right_answer_passes_where_the_attacks_do_not(notebook):
    rows, found = _grade(notebook())
    assert [(row.status, row.points) for row in rows.values()] == [("passed", 4), ("passed", 1)]
    assert found.restarts == 0 and not found.notes


def test_a_sandbox_sees_nothing_worth_stealing(notebook, outside, course):
    from utils.grading.sandbox import ROOT

    wanted = [outside, course / "solutions", course / "notebooks", course.parent, "/etc/passwd"]
    wanted += [ROOT / "solutions", ROOT / "utils", ROOT / "tests"]
    wanted += ["/course/utils/grading/referee.py", "/course/solutions", "/var/log", "/boot"]
    source = (
        "import os\nseen = [p for p in "
        + repr([str(p) for p in wanted])
        + " if os.path.exists(p)]\n"
        "seen += [k for k in os.environ if 'SECRET' in k]\n"
        "seen += [p for p in os.listdir('/proc') if p.isdigit() and int(p) > 50]\n"
        "for place in ('/course', '/usr', '/lessons', '/', '/dev'):\n"
        "    try:\n        open(place + '/new', 'w').close(); seen.append(place)\n"
        "    except OSError: pass\n"
        "raise ValueError(f'seen {seen}')"
    )
    os.environ["SECRET_OF_THE_GRADER"] = "x"
    try:
        rows, _ = _grade(notebook(a71=source))
    finally:
        del os.environ["SECRET_OF_THE_GRADER"]
    assert "seen []" in rows["7.1"].message, rows["7.1"].message


def test_each_submission_has_a_scratch_of_its_own(notebook):
    write = "open('/tmp/left', 'w').write('x')\n" + RIGHT["7.1"]
    assert _grade(notebook(a71=write))[0]["7.1"].status == "passed"
    look = "import os\nassert not os.path.exists('/tmp/left')\n" + RIGHT["7.1"]
    assert _grade(notebook(a71=look))[0]["7.1"].status == "passed"

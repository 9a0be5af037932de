"""Two small programs stand for the servers: what matters here is who is told to stop, and what is passed on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dirsync.run.both import run_both

SERVER = """
import signal, sys, threading
role, plan = sys.argv[-1], sys.argv[1]
if role == plan[0]:
    print("dirsync: no", file=sys.stderr)
    sys.exit(int(plan[1:]))
signal.signal(signal.SIGTERM, lambda *_: (print("stopped", role, flush=True), sys.exit(0)))
print("ready", role, flush=True)
threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def own_signals() -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("plan", "status"), [("a2", 2), ("b1", 1), ("b0", 0)])
def test_when_one_ends_the_other_is_stopped(capfd: pytest.CaptureFixture[str], plan: str, status: int) -> None:
    assert run_both([sys.executable, "-c", SERVER, plan]) == status
    assert f"{plan[0].upper()}  dirsync: no\n" in capfd.readouterr().out


def test_an_interrupt_stops_both(tmp_path: Path) -> None:
    program = tmp_path / "both.py"
    program.write_text(
        "import sys\n"
        "from dirsync.run.both import run_both\n"
        f"sys.exit(run_both([sys.executable, '-c', {SERVER!r}, '-']))\n"
    )
    both = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    assert both.stdout is not None
    assert {both.stdout.readline(), both.stdout.readline()} == {"ready a\n", "ready b\n"}
    both.send_signal(signal.SIGTERM)
    rest, _ = both.communicate()
    assert sorted(rest.splitlines()) == ["stopped a", "stopped b"]
    assert both.returncode == 0

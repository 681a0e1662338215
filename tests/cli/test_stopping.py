"""Ctrl-C: in words, with exit code 130 and without a traceback, whatever the command is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import typer

from edgefilter.cli.profile import Terminated, terminable
from edgefilter.cli.stopping import guarded

NOTHING = "Stopped: nothing was written. Start the same command again.\n"

PRESS = """
import os, signal, sys

signal.signal(signal.SIGINT, HANDLER)
module = sys.argv.pop(1)

class Press:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
from edgefilter.cli import main
main()
"""  # Ctrl-C at the moment when a module is imported


LISTEN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgefilter.cli import main
main()
"""


def pressed(module, *arguments, folder, handler="signal.default_int_handler"):
    code = PRESS.replace("HANDLER", handler)
    command = [sys.executable, "-c", code, module, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="no os.kill with SIGINT")
@pytest.mark.parametrize(
    ("module", "command"),
    [("typer", "explain"), ("edgefilter.cli.options", "kernels"), ("torch", "explain"), ("torch.nn", "check"),
     ("captum", "compare")],
)  # fmt: skip
def test_ctrl_c_while_the_library_loads(tmp_path, module, command):
    """An exception in the middle of an import would be shown as another error, or as a traceback."""
    done = pressed(module, command, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", NOTHING)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
def test_ctrl_c_from_a_terminal_while_photos_are_explained(tmp_path, photos):
    """As a user: a process of its own, stopped when the first picture is there; what is kept can be read, and no half file is left."""
    command = [
        sys.executable,
        "-c",
        LISTEN,
        "explain",
        photos,
        "--model",
        "digits",
        "--out",
        "pictures",
        "--csv",
        "t.csv",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(Path("pictures").glob("[!.]*.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("Stopped after ")
    assert err.endswith("Start the same command with --resume to go on.\n")
    assert err.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
    """As under nohup."""
    if sys.platform == "win32":
        pytest.skip("no os.kill with SIGINT")
    done = pressed(
        "edgefilter.cli.options", "kernels", "--bank", "sobel", folder=tmp_path, handler="signal.SIG_IGN"
    )
    assert done.returncode == 0, done.stderr
    assert "sobel_x" in done.stdout


@pytest.mark.parametrize("command", ["explain", "check", "compare", "profile"])
def test_ctrl_c_while_weights_load(run, photos, monkeypatch, command):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgefilter.classifiers.loading.load_classifier", interrupt)
    result = run(command, photos if command == "profile" else f"{photos}/a/x.png")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.startswith("Stopped")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("explain", "edgefilter.attribution.attribution.EdgeFilterAttribution.explain"),
        ("explain", "edgefilter.cli.running.print_answer"),
        ("check", "edgefilter.attribution.check.check"),
        ("compare", "edgefilter.evaluation.comparing.compare"),
    ],
)
def test_ctrl_c_while_a_photo_is_explained(run, photo, small_classifier, monkeypatch, drawn, command, place):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    small_classifier()
    monkeypatch.setattr(place, interrupt)
    result = run(command, photo)
    assert result.exit_code == 130
    assert result.stderr.startswith("Stopped")
    assert "Traceback" not in result.output


def test_no_handler_is_left_behind_in_a_program_that_calls_a_command(run):
    """Only the command line as a program listens to signals by itself."""
    before = signal.getsignal(signal.SIGINT)
    assert run("kernels", "--bank", "sobel").exit_code == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
def test_ctrl_c_in_the_callback_of_a_weak_reference_is_not_lost(capfd, kind):
    """Python prints an exception there, and goes on as if nothing had been."""

    class Part:
        pass

    def interrupt(_):
        raise kind

    def work():
        part = Part()
        reference = weakref.ref(part, interrupt)
        del part
        assert reference() is None
        time.sleep(20)

    with pytest.raises(typer.Exit) as caught:
        guarded(terminable()(work))()
    assert caught.value.exit_code == (130 if kind is KeyboardInterrupt else 143)
    assert "Traceback" not in capfd.readouterr().err

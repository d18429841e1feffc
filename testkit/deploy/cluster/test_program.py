"""The program takes what deploy/kubernetes gives it: every setting, and the keys that make-secrets makes."""

import os
import queue
import signal
import subprocess
import threading

import pytest

from objects import copied, rendered

PROGRAM = os.environ.get("PROGRAM")
# What stands for something that is in a cluster only.
# And few connections, so that a machine where a process may open few files has nothing to say about it.
LOOPBACK = {
    "EVENTBOOKER_LISTEN": "127.0.0.1:0",
    "EVENTBOOKER_DATABASE": "sqlite:eventbooker.db",
    "EVENTBOOKER_CONNECTIONS_MAX": "100",
}
SECONDS_MAX = 60


def settings_on_loopback(objects, server, folder):
    """The settings of a server, with its files in a folder."""
    for path, name, key in server.mounted_files():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(objects.secret(name, key))
    settings = {
        name: str(folder / value.lstrip("/")) if value.startswith("/") else value
        for name, value in objects.settings(server).items()
    }
    # A file has no password.
    del settings["EVENTBOOKER_DATABASE_PASSWORD_FILE"]
    if "EVENTBOOKER_INTERNAL_LISTEN" in settings:
        settings["EVENTBOOKER_INTERNAL_LISTEN"] = "127.0.0.1:0"
    return settings | LOOPBACK


def log_of_a_run(settings, folder):
    """What it says from its start to its end, which it is told to come to as soon as it listens."""
    process = subprocess.Popen(
        [PROGRAM, "serve"], cwd=folder, env=settings, stderr=subprocess.PIPE, text=True
    )
    lines = queue.Queue()

    def read():
        for line in process.stderr:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read).start()
    said = []
    try:
        while (line := lines.get(timeout=SECONDS_MAX)) is not None:
            said.append(line)
            if '"listening on http://' in line:
                process.send_signal(signal.SIGTERM)
        process.wait(timeout=SECONDS_MAX)
    finally:
        process.kill()
        process.wait()
    log = "".join(said)
    assert process.returncode == 0, log
    return log


@pytest.mark.skipif(PROGRAM is None, reason="no program was named")
@pytest.mark.parametrize("overlay", ["single", "saga"])
def test_the_program_starts_with_these_settings_and_keys(tmp_path, overlay):
    objects = rendered(copied(tmp_path) / "overlays" / overlay)
    for server in objects.servers():
        folder = tmp_path / server.name
        folder.mkdir()
        log = log_of_a_run(settings_on_loopback(objects, server, folder), folder)
        # Nor does it warn that nobody may know its key.
        assert '"WARN"' not in log and '"ERROR"' not in log, log
        assert ("listening for the other services" in log) == (overlay == "saga")

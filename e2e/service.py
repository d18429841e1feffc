"""The program under test, with a database that nobody else knows."""

import datetime
import itertools
import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# How long anything may take that has to happen. Only a test that fails waits as long.
PATIENCE_S = 60
PASSWORD = "correct horse battery"
# What the demo's admin has, as everybody may know.
DEMO_PASSWORD = "password"

# One machine is many users here, so what is counted by address is not limited.
FLAGS = [
    "--registrations-per-address=1000000",
    "--failed-sign-ins-per-address=1000000",
    "--log=warn,eventbooker=info",
]


class Database:
    """On the store that EVENTBOOKER_TEST_STORE names; removed when it is closed."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="eventbooker-e2e-")
        self.schema = None
        store = os.environ.get("EVENTBOOKER_TEST_STORE", "sqlite")
        if store == "sqlite":
            self.url = f"sqlite:{self.directory.name}/eventbooker.db"
            return
        assert store == "postgres", f"EVENTBOOKER_TEST_STORE is {store}; it can be sqlite or postgres"
        self.server = os.environ["EVENTBOOKER_TEST_POSTGRES_URL"]
        self.schema = f"test_e2e_{time.time_ns()}_{os.getpid()}"
        separator = "&" if "?" in self.server else "?"
        self.url = f"{self.server}{separator}options=-c%20search_path%3D{self.schema}"
        self._sql(f"CREATE SCHEMA {self.schema}")

    def close(self):
        if self.schema:
            self._sql(f"DROP SCHEMA {self.schema} CASCADE")
        self.directory.cleanup()

    def _sql(self, statement):
        psql = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--command={statement}"]
        quiet = os.environ | {"PGOPTIONS": "-c client_min_messages=warning"}
        subprocess.run([*psql, self.server], check=True, env=quiet, timeout=PATIENCE_S)


class Service:
    """`eventbooker serve --demo`. What is made here goes past the pages, through the API."""

    def __init__(self, program):
        self.program = program
        self.database = Database()
        self.log = pathlib.Path(self.database.directory.name, "log")
        try:
            self._start("127.0.0.1:0")
            self.admin = Client(self.origin)
            self.admin.sign_in("admin", DEMO_PASSWORD)
        except BaseException:
            self._kill()
            print(self.log.read_text())
            self.database.close()
            raise

    def _start(self, address):
        serve = [self.program, "serve", "--demo", f"--listen={address}", f"--database={self.database.url}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*serve, *FLAGS], cwd=self.database.directory.name, stderr=log, stdin=subprocess.DEVNULL
            )
        self.origin = self._when_ready()

    def stop(self):
        """Ends it, and fails if it complained."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, "the service did not end well"
        lines = self.log.read_text().splitlines()
        complaints = [line for line in lines if re.search(" (ERROR|WARN) ", line)]
        assert not complaints, "\n".join(complaints)

    def start_again(self):
        """Starts it where it was, after it has been stopped."""
        self._start(self.origin.removeprefix("http://"))

    def _kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _when_ready(self):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, "the service has ended"
            listening = re.search(r"listening on (http://\S+)", self.log.read_text())
            if listening and is_ready(listening[1]):
                return listening[1]
            assert time.monotonic() < deadline, "the service does not become ready"
            time.sleep(0.05)

    def event(self, name=None, *, capacity=40, price=0, minutes=30, days=400.0, description=""):
        """Makes an event of the caller's own."""
        date = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        event = self.admin.post(
            "/events",
            name=name or unique("Event"),
            date=date.isoformat(),
            capacity=capacity,
            price=price,
            paymentTTL=minutes,
            description=description,
        )
        return event | {"page": f"/user/events/{event['id']}"}

    def user(self, login=None, balance=0):
        """Makes a user of the caller's own, who is signed in to the API."""
        client = Client(self.origin)
        login = login or unique("user")
        client.post("/register", login=login, password=PASSWORD, email="", first_name="", last_name="")
        client.sign_in(login, PASSWORD)
        if balance:
            client.put("/account/deposit", delta=balance)
        return client

    def close(self):
        """Ends it, and fails if it complained or leaves something that isn't sound."""
        try:
            self.stop()
            check = [self.program, "check", f"--database={self.database.url}"]
            check = subprocess.run(check, capture_output=True, text=True, timeout=PATIENCE_S)
            assert check.returncode == 0, check.stdout + check.stderr
        finally:
            self._kill()
            self.database.close()


def is_ready(origin):
    try:
        with urllib.request.urlopen(f"{origin}/ready", timeout=PATIENCE_S) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


class Client:
    """Somebody at the API."""

    def __init__(self, origin):
        self.origin = origin
        self.login = None
        self.session = None

    def sign_in(self, login, password):
        self.login = login
        self._send("POST", "/login", {"login": login, "password": password})

    def get(self, path):
        return self._send("GET", path, None)

    def post(self, path, **body):
        return self._send("POST", path, body)

    def put(self, path, **body):
        return self._send("PUT", path, body)

    def book(self, event, seats):
        return self.post(f"/events/{event['id']}/book", seats=seats)

    def _send(self, method, path, body):
        request = urllib.request.Request(self.origin + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self.session:
            request.add_header("Cookie", f"session_id={self.session}")
        try:
            answer = urllib.request.urlopen(request, timeout=PATIENCE_S)
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(f"{method} {path}: {refused.read().decode()}") from None
        with answer:
            if session := re.match("session_id=([^;]+)", answer.headers.get("Set-Cookie", "")):
                self.session = session[1]
            return json.load(answer)


_numbers = itertools.count(1)
_run = secrets.token_hex(3)


def unique(word):
    """A name that no other test gives."""
    return f"{word}-{_run}-{next(_numbers)}"

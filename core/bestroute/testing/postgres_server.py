"""A temporary PostgreSQL server for tests: in a new folder, on a socket in it, removed at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

_PLACES = ("/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin")
_PASSWORD = "p@ss:w/rd?"
"""A password with every character that has a meaning in URLs."""
_OPTIONS = "-c listen_addresses= -c max_connections=60 -c shared_buffers=16MB -c fsync=off"


class PostgresServer:
    """Starts PostgreSQL from its Debian package; as another user where this one is root, whom it refuses.

    Example:
        >>> with PostgresServer() as server:  # doctest: +SKIP
        ...     ledger = Ledger(server.url())
    """

    def __init__(self) -> None:
        """Set up without starting."""
        self.folder = Path()

    @staticmethod
    def missing() -> str | None:
        """Return why no server can be started; ``None`` if one can."""
        if _binaries() is None:
            return "PostgreSQL's initdb is not installed (apt-get install postgresql)"
        if os.name != "posix" or (os.geteuid() == 0 and shutil.which("setpriv") is None):
            return "PostgreSQL does not run as root, and there is no setpriv to become somebody else"
        return None

    def __enter__(self) -> PostgresServer:
        """Create a database and start the server."""
        self.folder = Path(tempfile.mkdtemp(prefix="bestroute-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        password = self.folder / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "tester",
            "-A",
            "scram-sha-256",
            f"--pwfile={password}",
            "-N",
            "-E",
            "UTF8",
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and remove everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server on its folder."""
        options = f"{_OPTIONS} -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop the server at once, as in a crash."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop", check=False)

    def url(self, name: str = "postgres") -> str:
        """Return the URL of a database, with its password unescaped."""
        return f"postgresql+psycopg://tester:{_PASSWORD}@/{name}?host={self.folder}"

    def new_url(self) -> str:
        """Create a database and return its URL."""
        name = f"test_{len(list(self.folder.glob('made-*')))}"
        (self.folder / f"made-{name}").touch()
        self._run("createdb", "-h", str(self.folder), "-U", "tester", name)
        return self.url(name)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        found = _binaries()
        assert found is not None
        become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*become, str(found / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "PGPASSWORD": _PASSWORD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed with {done.returncode}: {log.read_text() if log.exists() else ''}")


def _binaries() -> Path | None:
    for place in (*_PLACES, *(os.path.dirname(found) for found in [shutil.which("initdb")] if found)):
        if (Path(place) / "initdb").exists():
            return Path(place)
    return None

"""`python -m lab.postgres --port P --home DIR`: an empty PostgreSQL server on loopback, for state that ECS tasks share.

It is the server that is installed on this machine. Its password, of the user `pointsman` and the database `postgres`,
comes from the environment (PGPASSWORD). Its data are made anew at every start, because the lab's S3 begins empty as
well. The process becomes the server itself, so whoever started it ends it with SIGTERM. PostgreSQL refuses to run as
root; it then runs as the user `postgres`, who has to get through to the folder.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pointsman.errors import DependencyDown, InputRefused, PointsmanError

_INSTALLED = Path("/usr/lib/postgresql")
_INSTEAD = "Or name a server that is up: POINTSMAN_DATABASE_URL=postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
_INITDB_WITHIN_S = 60


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest where there are several."""
    found = shutil.which("postgres")
    candidates = [Path(found).resolve().parent] if found else []
    versions = [path for path in _INSTALLED.glob("*/bin") if path.parent.name.isdigit()]
    candidates += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    return next((one for one in candidates if (one / "postgres").exists() and (one / "initdb").exists()), None)


def make_cluster(program: Path, home: Path, password: str, account: pwd.struct_passwd | None) -> Path:
    """The folder of an empty database cluster in `home`, which is `account`'s. Raises `DependencyDown`."""
    data, told = home / "data", home / "password"
    shutil.rmtree(data, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    told.touch(mode=0o600)
    told.write_text(password)
    if account is not None:
        for path in (home, told):
            os.chown(path, account.pw_uid, account.pw_gid)
    options = ["--username=pointsman", "--auth=scram-sha-256", f"--pwfile={told}", "--encoding=UTF8"]
    try:
        done = subprocess.run(
            [program / "initdb", f"--pgdata={data}", *options, "--no-sync", "--no-instructions"],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            cwd=home,
            timeout=_INITDB_WITHIN_S,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
    finally:
        told.unlink()
    if done.returncode != 0:
        raise DependencyDown(
            f"`initdb` failed{f' for the user {account.pw_name}' if account else ''}: {done.stderr.strip()[-500:]}",
            instruction=f"Mend what it names; where it may not enter a folder, name another POINTSMAN_HOME. {_INSTEAD}",
            code="database_not_ready",
        )
    return data


def _account() -> pwd.struct_passwd | None:
    """Whom to become; None when it need not be another."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise DependencyDown(
            "PostgreSQL does not run as root, and there is no user `postgres` to run it as.",
            instruction=f"Install its server. {_INSTEAD}",
            code="database_not_ready",
        ) from error


def _environment() -> Mapping[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}


def main(argv: Sequence[str]) -> int:
    """Become the server, or return the exit code of CONTRACTS."""
    parser = argparse.ArgumentParser(prog="python -m lab.postgres", description="The lab's PostgreSQL.")
    parser.add_argument("--port", type=int, required=True, help="on loopback")
    parser.add_argument("--home", type=Path, required=True, help="its folder; the folder `data` in it is made anew")
    asked = parser.parse_args(argv)
    try:
        password = os.environ.get("PGPASSWORD")
        if not password:
            raise InputRefused("PGPASSWORD", password, "the password of the server, in the environment")
        program = binaries()
        if program is None:
            raise DependencyDown(
                "No PostgreSQL server (initdb, postgres) is installed here.",
                instruction=f"Install it: apt-get install postgresql. {_INSTEAD}",
                code="database_not_ready",
            )
        account = _account()
        data = make_cluster(program, asked.home.absolute(), password, account)
    except PointsmanError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if account is not None:
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.chdir(data)
    # What it holds goes with it: nothing waits for the disk.
    options = ["-h", "127.0.0.1", "-p", str(asked.port), "-k", "", "-F", "-c", "max_connections=200"]
    os.execve(program / "postgres", ["postgres", "-D", str(data), *options], _environment())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The running process: moto's server on loopback and, beside it, the agents of FIS and ECS."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from lab.aws.agent import Agent, Ending
from lab.aws.appconfig import AppConfig, AppConfigDoor
from lab.aws.ecs import EcsAgent, EcsDoor
from lab.aws.gaps import fill_gaps
from lab.aws.machines import MotoMachines
from lab.aws.workers import LabWorkers
from lab.aws.world import TEMPLATE, fis, make_group, make_template
from lab.effects.catalogue import GROUP
from pointsman.clock import SystemClock
from pointsman.settings import Secret
from pointsman.storage import write_atomically

log = logging.getLogger(__name__)
_STEP_S = 0.05

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def serve(port: int, effects_url: str, secret: Secret, url_file: Path) -> None:
    """Serve until SIGTERM or SIGINT, with the address in `url_file`.

    Raises `DependencyDown` when the effects backend does not answer.
    """
    workers = LabWorkers(effects_url, secret)
    owners = workers.instance_ids(GROUP)
    fill_gaps()
    make_group(GROUP, owners)
    make_template(TEMPLATE)
    agent, ecs = Agent(fis().experiments, workers, MotoMachines(), SystemClock()), EcsAgent(SystemClock())
    behind = AppConfigDoor(_Lab(DomainDispatcherApplication(create_backend_app), agent), AppConfig(SystemClock()))
    application = EcsDoor(behind, ecs)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=MotoRequestHandler)
    ended = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        # `shutdown` waits for the loop that this handler interrupts.
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    stepping = threading.Thread(target=_keep_stepping, args=(agent, ended))
    stepping.start()
    url = f"http://127.0.0.1:{server.server_port}"
    ecs.start(url)
    url_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(url_file, url.encode())
    print(f"ready {url}", flush=True)
    try:
        server.serve_forever()
    finally:
        url_file.unlink(missing_ok=True)
        ended.set()
        stepping.join()
        ecs.close()


def _keep_stepping(agent: Agent, ended: threading.Event) -> None:
    while not ended.wait(_STEP_S):
        try:
            agent.step()
        except httpx.HTTPError as error:
            log.warning("the effects backend did not do what an experiment says: %s", error)


class _Lab:
    """WSGI: moto, and beside it `GET /healthz` and `POST /lab/endings`."""

    def __init__(self, moto: Any, agent: Agent) -> None:
        self._moto = moto
        self._agent = agent

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/healthz":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [b'{"status": "ok"}']
        if environ["PATH_INFO"] != "/lab/endings":
            return self._moto(environ, start_response)  # type: ignore[no-any-return]
        asked: list[Any] = []
        with suppress(ValueError):
            asked = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        good = isinstance(asked, list) and all(one in get_args(Ending) for one in asked)
        if good:
            self._agent.endings.extend(asked)
        start_response("204 No Content" if good else "422 Unprocessable Content", [("Content-Length", "0")])
        return []

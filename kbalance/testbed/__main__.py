"""The embedded cluster as a process of its own: ``python -m kbalance.testbed SCENARIO``, told what to do over stdin.

Each line on stdin is a JSON command and gets a line on stdout back; the first line on stdout says that all is up. The end of
stdin ends the process, so it never outlives whoever started it, however that one ended.
"""

import asyncio
import contextlib
import json
import resource as limits
import signal
import sys
from collections.abc import Mapping
from typing import Any

from kbalance.testbed.outages import Outage, WatchEnd
from kbalance.testbed.scenario import SCENARIOS, Fault, Scenario
from kbalance.testbed.stage import Stage
from kbalance.testbed.transfer import from_json


def _obey(stage: Stage, command: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reply to one command."""
    match command:
        case {"do": "scale", "pods": int(pods)} if pods >= 0:
            stage.scale(pods)
        case {"do": "fault", "pod": str(pod), "fault": str(fault), "delay_ms": delay_ms}:
            stage.set_fault(pod, Fault(fault), delay_ms)
        case {"do": "job-fault", "fault": str() | None as fault}:
            stage.set_job_fault(fault)
        case {"do": "deny", "verb": str(verb), "resource": str(resource)}:
            stage.deny(verb, resource)
        case {"do": "allow-only", "rules": list(rules)}:
            stage.allow_only(rules)
        case {"do": "expire-lists"}:
            stage.expire_lists()
        case {"do": "outage", "outage": str(outage)}:
            stage.set_outage(Outage(outage))
        case {"do": "bookmark"}:
            stage.bookmark()
        case {"do": "end-watches", "how": str(how)}:
            return {"ended": stage.end_watches(WatchEnd(how))}
        case {"do": "put", "resource": str(plural), "object": dict(found)}:
            stage.put(plural, found)
        case {"do": "remove", "resource": str(plural), "namespace": str(namespace), "name": str(name)}:
            stage.remove(plural, namespace, name)
        case {"do": "picks"}:
            return {"picks": stage.picks()}
        case {"do": "answered"}:
            return {"answered": stage.answered()}
        case _:
            raise ValueError(f"unknown command {command}")
    return {"pods": [pod.name for pod in stage.active]}


def _reply(stage: Stage, line: bytes) -> Mapping[str, Any]:
    try:
        return _obey(stage, json.loads(line))
    except (ValueError, KeyError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _say(value: Mapping[str, Any]) -> None:
    print(json.dumps(value), flush=True)


async def _run(scenario: Scenario) -> None:
    stage = Stage(scenario)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    try:
        await _serve(stage, commands)
    finally:
        stage.close()


async def _serve(stage: Stage, commands: asyncio.StreamReader) -> None:
    _say({"service": stage.service, "api": stage.api, "pods": [pod.name for pod in stage.active]})
    while line := await commands.readline():
        _say(_reply(stage, line))


def main(arguments: list[str]) -> int:
    """Run until stdin ends.

    Args:
        arguments: a scenario's name, and optionally a scenario in JSON that is used in its place.
    """
    # Ctrl-C goes to the whole process group; the parent still reads its last answers from us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        limits.setrlimit(limits.RLIMIT_NOFILE, (limits.getrlimit(limits.RLIMIT_NOFILE)[1],) * 2)
    if not arguments or (len(arguments) == 1 and arguments[0] not in SCENARIOS):
        print(f"usage: python -m kbalance.testbed SCENARIO\nscenarios: {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    scenario = from_json(arguments[1]) if len(arguments) > 1 else SCENARIOS[arguments[0]]
    try:
        asyncio.run(_run(scenario))
    except BrokenPipeError:
        pass  # whoever started us is gone, and so are we
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

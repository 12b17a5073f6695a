"""Why a Job does not run, from the words of real clusters."""

from typing import Any

from kbalance.kube import troubles

Value = dict[str, Any]


def pod(**status: Any) -> Value:
    return {"metadata": {"name": "kbalance-x-0-abcde"}, "status": status}


def container(**state: Any) -> Value:
    return pod(phase="Pending", containerStatuses=[{"name": "agent", "state": state}])


def job(reason: str, message: str = "") -> Value:
    condition = {"type": "Failed", "status": "True", "reason": reason, "message": message}
    return {"metadata": {"name": "kbalance-x"}, "status": {"conditions": [condition]}}


def test_a_back_off_is_explained_by_the_event_before_it() -> None:
    stuck = container(waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x:1"'})
    events = [
        {"type": "Normal", "reason": "Scheduled", "message": "Successfully assigned"},
        {"type": "Warning", "reason": "Failed", "message": 'Failed to pull image "x:1": not found'},
        {"type": "Warning", "reason": "Failed", "message": "Error: ImagePullBackOff"},
    ]

    found = troubles.waiting(stuck)

    assert found is not None
    assert found[0] in troubles.HOPELESS
    assert troubles.not_started(stuck, *found, "x:1", events) == (
        'The image x:1 of Pod kbalance-x-0-abcde cannot be pulled (ImagePullBackOff: Failed to pull image "x:1": not found);'
        " name one that the nodes have with --image."
    )


def test_creating_a_container_is_no_trouble() -> None:
    assert troubles.waiting(container(waiting={"reason": "ContainerCreating"})) is None
    assert troubles.waiting(container(running={})) is None
    assert troubles.waiting(pod(phase="Pending")) is None


def test_no_node_that_takes_it() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available."}
    stuck = pod(phase="Pending", conditions=[condition])

    found = troubles.waiting(stuck)

    assert found == ("Unschedulable", "0/2 nodes are available.")
    assert "No node takes Pod kbalance-x-0-abcde: 0/2 nodes are available; see --node" in troubles.not_started(stuck, *found, "x")


def test_ends_are_told_apart() -> None:
    def ended(**how: Any) -> str:
        return troubles.ended_badly(container(terminated=how))

    assert "more memory than its limit (OOMKilled)" in ended(reason="OOMKilled", exitCode=137)
    assert "has no python3" in ended(reason="StartError", exitCode=128, message='exec: "python3": executable file not found')
    assert ended(reason="Error", exitCode=3) == "Pod kbalance-x-0-abcde ended with exit code 3 (Error)."
    assert "was evicted: The node was low on resource: memory;" in troubles.ended_badly(
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    )


def test_a_job_that_was_ended() -> None:
    assert "raise --deadline" in (troubles.job_failed(job("DeadlineExceeded")) or "")
    assert troubles.job_failed(job("PodFailurePolicy", "No.")) == "Job kbalance-x failed (PodFailurePolicy: No)."
    assert troubles.job_failed({"metadata": {"name": "x"}, "status": {}}) is None


def test_pods_that_may_not_be_made() -> None:
    def refused(message: str) -> str | None:
        return troubles.no_pods({"metadata": {"name": "kbalance-x"}}, [{"reason": "FailedCreate", "message": message}])

    assert "ResourceQuota does not let Job kbalance-x" in (
        refused("Error creating: pods is forbidden: exceeded quota: full") or ""
    )
    assert "create its Pod: violates PodSecurity" in (refused("Error creating: violates PodSecurity") or "")
    assert troubles.no_pods({"metadata": {"name": "x"}}, []) is None

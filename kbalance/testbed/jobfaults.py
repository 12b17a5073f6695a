"""What can go wrong with a Job here, and the words that a real cluster has for it. Plain values.

Source: statuses and events of Kubernetes v1.34 with containerd, each fault provoked there.
"""

from enum import StrEnum


class JobFault(StrEnum):
    """What is wrong with the Jobs that are created from now on."""

    IMAGE_PULL = "image-pull"
    """The image cannot be pulled."""
    UNSCHEDULABLE = "unschedulable"
    """No node takes the pods."""
    STUCK_PENDING = "stuck-pending"
    """A node takes the pods and never gets further than ContainerCreating; nothing says why."""
    QUOTA = "quota"
    """The namespace may have no pods."""
    ADMISSION = "admission"
    """The namespace's Pod Security level forbids the pods."""
    CONFIG_REFUSED = "config-refused"
    """The namespace may have no more ConfigMaps; their creation is refused."""
    NO_PYTHON = "no-python"
    """The image lacks the program."""
    OOM = "oom"
    """The kernel kills the process for its memory after its first line of output."""
    CRASH = "crash"
    """The process dies of a segmentation fault after its first line of output."""
    LOG_BREAK = "log-break"
    """The first log stream that is followed is reset after some lines."""


LINES_BEFORE_BREAK = 2
"""Of a log stream, with `JobFault.LOG_BREAK`."""

UNSCHEDULABLE = (
    "0/{nodes} nodes are available: {nodes} node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, "
    "preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
)
PULL = 'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
START = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to "
    'start container process: exec: "{program}": executable file not found in $PATH: unknown'
)
QUOTA = "exceeded quota: {quota}, requested: {what}=1, used: {what}=0, limited: {what}=0"
QUOTA_NAME = "embedded"
ADMISSION = (
    'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "{container}" must set '
    'securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "{container}" must set '
    'securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "{container}" must set '
    'securityContext.runAsNonRoot=true), seccompProfile (pod or container "{container}" must set '
    'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
)

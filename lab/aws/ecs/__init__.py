"""The lab's ECS: every task that RunTask creates in the lab's AWS runs its command as a local process.

It is part of `python -m lab.aws`, whose address (`ready URL`, and the file of `--url-file`) is its endpoint; it needs
Linux. A cluster is made as anywhere (`create_cluster`), and RunTask is Fargate in subnets of the default VPC, which is
what prefect-aws asks for by default: no role, network configuration, credentials block or image is needed. Tasks have
one container.

**A worker** of an `ecs` pool is `python -m prefect worker start --pool POOL --type ecs` with this environment and no
PREFECT_HOME of the host, because it hands every PREFECT_* setting of its own to its tasks:

    HOME=<folder of its own>  PREFECT_API_URL=...  PREFECT_WORKER_QUERY_SECONDS=1
    AWS_ENDPOINT_URL=URL  AWS_DEFAULT_REGION=us-east-1  AWS_ACCESS_KEY_ID=of-the-lab  AWS_SECRET_ACCESS_KEY=of-the-lab

**Events** ("ECS Task State Change", as EventBridge sends them) go to the SQS queue `prefect-ecs-tasks-events`, which
exists from the start and is what the worker's observer reads by default. Deleting it is how to try a missing queue.

**A task's environment** is what its definition and its overrides say, with `secrets` resolved; besides that:

    PATH HOME TMPDIR LANG HOSTNAME PYTHONPATH     of the image; HOME and TMPDIR are folders of the task
    AWS_ENDPOINT_URL                              of the lab: a task reaches no other AWS
    AWS_REGION AWS_DEFAULT_REGION AWS_EXECUTION_ENV
    AWS_CONTAINER_CREDENTIALS_FULL_URI            of the task's role: boto3 needs no keys
    ECS_CONTAINER_METADATA_URI_V4                 `GET $.../task` tells the task its TaskARN; also the marker by which
                                                  every process of the task is known

Its working directory has the application as an image has it (`flows`, `tasks`, `pointsman`, ..., `prefect.yaml`, no
`.pointsman`, `tests` or `lab`), and goes with the task. Output is in the log group of the `awslogs` options, in the
stream `prefix/container/task id`; without such options nobody keeps it.

**Stopping** is that of a container runtime: SIGTERM goes to the first process alone; when that has ended, or the
definition's `stopTimeout` (30 s) has passed, every process of the task gets SIGKILL. (A first process that does not
handle SIGTERM ends by it, as with `initProcessEnabled`; on AWS it does not hear it without.) An engine that is to drain
must be told by the first process: `prefect flow-run execute` does that where
PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR is set.

**Faults**: `POST URL/lab/ecs/faults` with a JSON list; 204, or 422 with `{"error": ...}`. A list replaces what was to
come still of the one before, so `[]` ends that.

    {"kind": "no-capacity", "times": 3}                         RunTask answers failures[RESOURCE:MEMORY]
    {"kind": "throttle", "operation": "RunTask", "times": 15}   or RegisterTaskDefinition; botocore's retries count
    {"kind": "cannot-pull", "times": 1}                         TaskFailedToStart, CannotPullContainerError
    {"kind": "exit-0", "times": 1}                              the command is not executed, the exit code is 0
    {"kind": "kill", "task": ID_OR_ARN}                         a running task, now: exit code 137
    {"kind": "spot", "task": ID_OR_ARN, "notice_s": 5}          SIGTERM now, SIGKILL after the notice; SpotInterruption
    {"kind": "s3-out", "for_s": 60}                             from now on S3 answers 503 to everybody

**Roles**: where somebody made the execution role of a task in the lab's IAM, its policies decide which secrets of
Secrets Manager are read for the task; one that is no more than a name may read all.

No task outlives the lab, however its process ends.
"""

from lab.aws.ecs.agent import EcsAgent
from lab.aws.ecs.door import EcsDoor

__all__ = ["EcsAgent", "EcsDoor"]

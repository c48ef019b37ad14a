"""The parts of an environment, and how each is read: as plain documents, each with a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointsman.settings.read_only import ReadOnlyAws

Item = dict[str, Any]
_SERVICES_A_CALL = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look. `cluster` None: every ECS cluster of the region."""

    aws: ReadOnlyAws
    cluster: str | None


def _clusters(at: Place) -> list[Item]:
    names = [at.cluster] if at.cluster else list(at.aws.all("ecs", "list_clusters", "clusterArns"))
    if not names:
        return []
    answer = at.aws.ask("ecs", "describe_clusters", clusters=names)
    failures = {one["arn"]: one["reason"] for one in answer.get("failures", ())}
    found = [
        {
            "name": one["clusterName"],
            "status": one["status"],
            "running_tasks": one.get("runningTasksCount"),
            "pending_tasks": one.get("pendingTasksCount"),
            "services": one.get("activeServicesCount"),
            "capacity_providers": sorted(one.get("capacityProviders", ())),
        }
        for one in answer["clusters"]
    ]
    return [*found, *({"name": arn, "status": reason} for arn, reason in failures.items())]


def _services(at: Place) -> Iterator[Item]:
    for cluster in [at.cluster] if at.cluster else at.aws.all("ecs", "list_clusters", "clusterArns"):
        arns = list(at.aws.all("ecs", "list_services", "serviceArns", cluster=cluster))
        for start in range(0, len(arns), _SERVICES_A_CALL):
            some = arns[start : start + _SERVICES_A_CALL]
            for one in at.aws.ask("ecs", "describe_services", cluster=cluster, services=some)["services"]:
                network = one.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
                yield {
                    "cluster": one["clusterArn"].rpartition("/")[2],
                    "name": one["serviceName"],
                    "status": one["status"],
                    "desired": one["desiredCount"],
                    "running": one["runningCount"],
                    "pending": one["pendingCount"],
                    "task_definition": one["taskDefinition"].rpartition("/")[2],
                    "launch_type": one.get("launchType"),
                    "deployments": [
                        {
                            "id": deployment["id"],
                            "status": deployment["status"],
                            "rollout": deployment.get("rolloutState"),
                            "task_definition": deployment["taskDefinition"].rpartition("/")[2],
                        }
                        for deployment in one.get("deployments", ())
                    ],
                    "subnets": sorted(network.get("subnets", ())),
                    "security_groups": sorted(network.get("securityGroups", ())),
                }


def _subnets(at: Place) -> Iterator[Item]:
    for one in at.aws.all("ec2", "describe_subnets", "Subnets"):
        yield {
            "name": one["SubnetId"],
            "vpc": one["VpcId"],
            "zone": one["AvailabilityZone"],
            "cidr": one.get("CidrBlock"),
            "free_addresses": one.get("AvailableIpAddressCount"),
            "public_addresses": one.get("MapPublicIpOnLaunch"),
        }


def _security_groups(at: Place) -> Iterator[Item]:
    for one in at.aws.all("ec2", "describe_security_groups", "SecurityGroups"):
        yield {
            "name": one["GroupId"],
            "group_name": one["GroupName"],
            "vpc": one.get("VpcId"),
            "ingress": [_rule(rule) for rule in one.get("IpPermissions", ())],
            "egress": [_rule(rule) for rule in one.get("IpPermissionsEgress", ())],
        }


def _rule(rule: Mapping[str, Any]) -> Item:
    groups = [pair.get("GroupId") for pair in rule.get("UserIdGroupPairs", ())]
    ranges = [one["CidrIp"] for one in rule.get("IpRanges", ())] + [
        one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ())
    ]
    return {
        "protocol": rule["IpProtocol"],
        "from_port": rule.get("FromPort"),
        "to_port": rule.get("ToPort"),
        "with": sorted(filter(None, [*ranges, *groups])),
    }


def _auto_scaling_groups(at: Place) -> Iterator[Item]:
    for one in at.aws.all("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups"):
        yield {
            "name": one["AutoScalingGroupName"],
            "min": one["MinSize"],
            "desired": one["DesiredCapacity"],
            "max": one["MaxSize"],
            "instances": [
                {
                    "id": instance["InstanceId"],
                    "state": instance["LifecycleState"],
                    "health": instance["HealthStatus"],
                    "zone": instance["AvailabilityZone"],
                }
                for instance in one.get("Instances", ())
            ],
            "suspended": sorted(process["ProcessName"] for process in one.get("SuspendedProcesses", ())),
            "subnets": sorted(filter(None, one.get("VPCZoneIdentifier", "").split(","))),
        }


def _engine(one: Mapping[str, Any]) -> str:
    return f"{one['Engine']} {one.get('EngineVersion', '')}".strip()


def _database_instances(at: Place) -> Iterator[Item]:
    for one in at.aws.all("rds", "describe_db_instances", "DBInstances"):
        yield {
            "name": one["DBInstanceIdentifier"],
            "engine": _engine(one),
            "class": one["DBInstanceClass"],
            "status": one.get("DBInstanceStatus"),
            "multi_az": one.get("MultiAZ"),
            "cluster": one.get("DBClusterIdentifier"),
            "storage_gb": one.get("AllocatedStorage"),
        }


def _database_clusters(at: Place) -> Iterator[Item]:
    for one in at.aws.all("rds", "describe_db_clusters", "DBClusters"):
        yield {
            "name": one["DBClusterIdentifier"],
            "engine": _engine(one),
            "status": one.get("Status"),
            "multi_az": one.get("MultiAZ"),
            "members": sorted(member["DBInstanceIdentifier"] for member in one.get("DBClusterMembers", ())),
        }


def _redis_clusters(at: Place) -> Iterator[Item]:
    for one in at.aws.all("elasticache", "describe_cache_clusters", "CacheClusters"):
        yield {
            "name": one["CacheClusterId"],
            "engine": _engine(one),
            "node_type": one.get("CacheNodeType"),
            "nodes": one.get("NumCacheNodes"),
            "status": one.get("CacheClusterStatus"),
            "replication_group": one.get("ReplicationGroupId"),
        }


def _redis_replication(at: Place) -> Iterator[Item]:
    for one in at.aws.all("elasticache", "describe_replication_groups", "ReplicationGroups"):
        yield {
            "name": one["ReplicationGroupId"],
            "status": one.get("Status"),
            "automatic_failover": one.get("AutomaticFailover"),
            "multi_az": one.get("MultiAZ"),
            "members": sorted(one.get("MemberClusters", ())),
        }


def _buckets(at: Place) -> Iterator[Item]:
    for one in at.aws.all("s3", "list_buckets", "Buckets"):
        yield {"name": one["Name"], "created": one["CreationDate"].isoformat()}


def _fis_templates(at: Place) -> Iterator[Item]:
    for one in at.aws.all("fis", "list_experiment_templates", "experimentTemplates"):
        full = at.aws.ask("fis", "get_experiment_template", id=one["id"])["experimentTemplate"]
        yield {
            "name": full["id"],
            "description": full.get("description"),
            "actions": {name: action.get("actionId") for name, action in sorted(full.get("actions", {}).items())},
            "targets": {
                name: {
                    "type": target.get("resourceType"),
                    "arns": sorted(target.get("resourceArns", ())),
                    "tags": target.get("resourceTags", {}),
                    "selection": target.get("selectionMode"),
                }
                for name, target in sorted(full.get("targets", {}).items())
            },
            "stop_conditions": full.get("stopConditions", []),
        }


def _alarms(at: Place) -> Iterator[Item]:
    for page in at.aws.pages("cloudwatch", "describe_alarms", AlarmTypes=["MetricAlarm", "CompositeAlarm"]):
        for one in [*page.get("MetricAlarms", ()), *page.get("CompositeAlarms", ())]:
            changed = one.get("StateUpdatedTimestamp")
            yield {
                "name": one["AlarmName"],
                "state": one["StateValue"],
                "since": None if changed is None else changed.isoformat(),
                "actions_enabled": one.get("ActionsEnabled"),
                "metric": "/".join(filter(None, (one.get("Namespace"), one.get("MetricName")))) or None,
                "rule": one.get("AlarmRule"),
                "threshold": one.get("Threshold"),
            }


PARTS: Mapping[str, Callable[[Place], Sequence[Item] | Iterator[Item]]] = {
    "ecs clusters": _clusters,
    "ecs services": _services,
    "subnets": _subnets,
    "security groups": _security_groups,
    "auto scaling groups": _auto_scaling_groups,
    "database instances": _database_instances,
    "database clusters": _database_clusters,
    "redis clusters": _redis_clusters,
    "redis replication groups": _redis_replication,
    "buckets": _buckets,
    "fault templates": _fis_templates,
    "alarms": _alarms,
}
"""Every part of a baseline, in the order in which it is shown."""

"""Renders the templates as CloudFormation would, without AWS: intrinsic functions, conditions and nested stacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATES = CHECKOUT / "deployments" / "cloudformation"
ACCOUNT, REGION = "123456789012", "us-east-1"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "aws.test",
    "AWS::StackName": "pointsman",
}
NO_VALUE = object()
_ARNS = {  # what an ARN is made of: the service's part, the property that names the resource, whether it has a region
    "AWS::ECS::Cluster": ("ecs", "cluster/{}", "ClusterName", True),
    "AWS::ECS::TaskDefinition": ("ecs", "task-definition/{}:1", "Family", True),
    "AWS::ECR::Repository": ("ecr", "repository/{}", "RepositoryName", True),
    "AWS::IAM::Role": ("iam", "role/{}", "RoleName", False),
    "AWS::IAM::ManagedPolicy": ("iam", "policy/{}", "ManagedPolicyName", False),
    "AWS::SNS::Topic": ("sns", "{}", "TopicName", True),
    "AWS::SQS::Queue": ("sqs", "{}", "QueueName", True),
    "AWS::SecretsManager::Secret": ("secretsmanager", "secret:{}-AbCdEf", "Name", True),
    "AWS::Events::Rule": ("events", "rule/{}", "Name", True),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "alarm:{}", "AlarmName", True),
    "AWS::CloudTrail::Trail": ("cloudtrail", "trail/{}", "TrailName", True),
    "AWS::Logs::LogGroup": ("logs", "log-group:{}:*", "LogGroupName", True),
}
_REF_IS_ARN = {
    "AWS::ECS::TaskDefinition",
    "AWS::IAM::ManagedPolicy",
    "AWS::SNS::Topic",
    "AWS::SecretsManager::Secret",
}


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


@cache
def load(name: str) -> dict[str, Any]:
    """A template with its functions in their long form."""
    return yaml.load((TEMPLATES / f"{name}.yaml").read_text(), _Loader)


def names() -> list[str]:
    return sorted(path.stem for path in TEMPLATES.glob("*.yaml"))


@dataclass
class Rendered:
    """A stack: resources whose condition holds with their properties resolved, outputs, and the stack's tags."""

    template: str
    parameters: dict[str, Any]
    tags: dict[str, str]
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    nested: dict[str, Rendered] = field(default_factory=dict)

    def properties(self, logical: str) -> dict[str, Any]:
        return self.resources[logical].get("Properties", {})

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        return {name: self.properties(name) for name, one in self.resources.items() if one["Type"] == kind}

    def walk(self, path: str = "") -> Iterator[tuple[str, Rendered]]:
        """This stack and every nested one, by path."""
        yield path or self.template, self
        for name, stack in self.nested.items():
            yield from stack.walk(f"{path}/{name}".lstrip("/"))


def render(name: str, parameters: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None) -> Rendered:
    """Render a template and what it nests. Every parameter without a default must be given."""
    return _Rendering(name, dict(parameters or {}), dict(tags or {})).stack()


class _Rendering:
    def __init__(self, name: str, given: dict[str, Any], tags: dict[str, str]) -> None:
        self._template = load(name)
        declared = self._template.get("Parameters", {})
        assert set(given) <= set(declared), f"{name}: {sorted(set(given) - set(declared))}"
        missing = [key for key, one in declared.items() if "Default" not in one and key not in given]
        assert missing == [], f"{name} needs {missing}"
        self._out = Rendered(name, {key: given.get(key, one.get("Default")) for key, one in declared.items()}, tags)
        for key, value in self._out.parameters.items():
            _check(f"{name}.{key}", declared[key], value)

    def stack(self) -> Rendered:
        self._check_rules()
        for name in self._template["Resources"]:
            self._resource(name)
        for name, output in self._template.get("Outputs", {}).items():
            if self._holds(output.get("Condition")):
                self._out.outputs[name] = self._value(output["Value"])
        return self._out

    def _check_rules(self) -> None:
        for rule in self._template.get("Rules", {}).values():
            if self._value(rule["RuleCondition"]):
                for one in rule["Assertions"]:
                    assert self._value(one["Assert"]), one["AssertDescription"]

    def _holds(self, condition: str | None) -> bool:
        return condition is None or bool(self._value(self._template["Conditions"][condition]))

    def _resource(self, name: str) -> dict[str, Any]:
        if name in self._out.resources:
            return self._out.resources[name]
        declared = self._template["Resources"][name]
        if not self._holds(declared.get("Condition")):
            return {"Type": declared["Type"], "Properties": {}}
        rendered = {**declared, "Properties": self._value(declared.get("Properties", {}))}
        self._out.resources[name] = rendered
        if declared["Type"] == "AWS::CloudFormation::Stack":
            properties = rendered["Properties"]
            tags = {one["Key"]: one["Value"] for one in properties["Tags"]}
            child = Path(properties["TemplateURL"]).stem
            self._out.nested[name] = render(child, properties.get("Parameters", {}), tags)
        return rendered

    def _value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self._value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, argument),) = node.items()
            if key == "Ref":
                return self._ref(argument)
            if key == "Condition" and isinstance(argument, str):
                return self._holds(argument)
            if key.startswith("Fn::"):
                return getattr(self, "_" + key.removeprefix("Fn::").lower())(argument)
        found = {key: self._value(value) for key, value in node.items()}
        return {key: value for key, value in found.items() if value is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._out.parameters:
            value = self._out.parameters[name]
            listed = self._template["Parameters"][name]["Type"] == "CommaDelimitedList"
            return str(value).split(",") if listed else value
        resource = self._resource(name)
        if resource["Type"] in _REF_IS_ARN:
            return self._arn(name, resource)
        naming = _ARNS.get(resource["Type"])
        properties = resource["Properties"]
        wanted = (naming[2] if naming else None, "BucketName", "AutoScalingGroupName", "DashboardName")
        named = next((properties[key] for key in wanted if key in properties), None)
        return named or f"{resource['Type'].rpartition('::')[2].lower()}-{name}"

    def _arn(self, name: str, resource: Mapping[str, Any]) -> str:
        service, form, naming, regional = _ARNS[resource["Type"]]
        called = resource["Properties"].get(naming, f"pointsman-{name}")
        return f"arn:aws:{service}:{REGION if regional else ''}:{ACCOUNT}:{form.format(called)}"

    def _getatt(self, argument: list[str]) -> Any:
        name, attribute = argument
        resource = self._resource(name)
        if attribute.startswith("Outputs."):
            return self._out.nested[name].outputs[attribute.removeprefix("Outputs.")]
        if attribute == "Arn" and resource["Type"] in _ARNS:
            return self._arn(name, resource)
        if attribute == "Arn" and resource["Type"] == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{self._ref(name)}"
        if attribute == "QueueName":
            return resource["Properties"]["QueueName"]
        return f"<{name}.{attribute}>"

    def _sub(self, argument: Any) -> str:
        text, local = argument if isinstance(argument, list) else (argument, {})
        values = {key: self._value(value) for key, value in local.items()}

        def replaced(match: re.Match[str]) -> str:
            name = match[1]
            if name in values:
                return str(values[name])
            return str(self._getatt(name.split(".", 1)) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^!}]+)\}", replaced, text)

    def _if(self, argument: list[Any]) -> Any:
        condition, then, other = argument
        return self._value(then if self._holds(condition) else other)

    def _equals(self, argument: list[Any]) -> bool:
        return str(self._value(argument[0])) == str(self._value(argument[1]))

    def _not(self, argument: list[Any]) -> bool:
        return not self._value(argument[0])

    def _and(self, argument: list[Any]) -> bool:
        return all(self._value(one) for one in argument)

    def _join(self, argument: list[Any]) -> str:
        return str(argument[0]).join(map(str, self._value(argument[1])))

    def _split(self, argument: list[Any]) -> list[str]:
        return str(self._value(argument[1])).split(argument[0])

    def _select(self, argument: list[Any]) -> Any:
        return self._value(argument[1])[int(argument[0])]

    def _findinmap(self, argument: list[Any]) -> Any:
        mapping, first, second = map(self._value, argument)
        return self._template["Mappings"][mapping][str(first)][second]

    def _getazs(self, argument: Any) -> list[str]:
        return [f"{REGION}a", f"{REGION}b"]

    def _base64(self, argument: Any) -> Any:
        return self._value(argument)


def _check(field_name: str, declared: Mapping[str, Any], value: Any) -> None:
    """A parameter's value against what its template allows."""
    allowed = declared.get("AllowedValues")
    assert allowed is None or str(value) in map(str, allowed), f"{field_name}: {value!r} is not one of {allowed}"
    pattern = declared.get("AllowedPattern")
    assert pattern is None or re.search(pattern, str(value)), f"{field_name}: {value!r} is not {pattern}"
    for limit, holds in (("MinValue", float.__ge__), ("MaxValue", float.__le__)):
        assert limit not in declared or holds(float(value), float(declared[limit])), f"{field_name}: {value}"


def documents(stack: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every identity policy of a stack, by resource and name."""
    for logical, role in stack.of_type("AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            yield f"{logical}/{policy['PolicyName']}", policy["PolicyDocument"]
    for kind in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy"):
        for logical, policy in stack.of_type(kind).items():
            yield logical, policy["PolicyDocument"]


def trust(role: Mapping[str, Any]) -> dict[str, Any]:
    """The document that says who may assume a role."""
    document = role["AssumeRolePolicyDocument"]
    return json.loads(document) if isinstance(document, str) else document

"""The gateways on AWS keep the contract: AppConfig against the lab's stand-in, the load balancer against moto."""

import json
import threading
from dataclasses import dataclass

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from moto import mock_aws
from werkzeug.serving import make_server

from lab.aws.appconfig import AppConfig, AppConfigDoor
from pointsman.clock import ManualClock
from pointsman.errors import Conflict, DependencyDown, GuardRefused, InputRefused, RunFailed
from pointsman.model import Binding
from pointsman.routing import (
    AlbGateway,
    AlbSpec,
    AppConfigGateway,
    AppConfigSpec,
    BindingRequest,
    GatewaySpec,
    apply_binding,
    current,
    drift,
    read_gateway,
    reconcile,
    rollback,
)
from pointsman.routing.gateways import ShowsNoBinding
from pointsman.routing.gateways.flagd_document import write_document
from tests.routing.gateway_contract import GatewayContract, binding
from tests.routing.worlds import OTHER_ROUTE, ROUTE, A, B, C, variant

KEYS = {"region_name": "eu-west-1", "aws_access_key_id": "of-the-lab", "aws_secret_access_key": "of-the-lab"}


@dataclass
class Hosted:
    """A hosted configuration of the stand-in, over a real loopback connection."""

    client: object
    service: AppConfig
    clock: ManualClock
    spec: AppConfigSpec

    @property
    def gateway(self):
        return AppConfigGateway(self.client, self.spec, clock=self.clock)

    def deployments(self):
        asked = {"ApplicationId": self.spec.application, "EnvironmentId": self.spec.environment}
        return [(one["DeploymentNumber"], one["State"]) for one in self.client.list_deployments(**asked)["Items"]]


@pytest.fixture(scope="module")
def service():
    clock = ManualClock()
    service = AppConfig(clock)
    server = make_server("127.0.0.1", 0, AppConfigDoor(lambda *_: [], service), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    client = boto3.client(
        "appconfig",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        config=Config(retries={"max_attempts": 0}),
        **KEYS,
    )
    client.meta.events.register("after-call.appconfig.*", _as_botocore_says)
    yield client, service, clock
    server.shutdown()
    server.server_close()
    thread.join(5)


def _as_botocore_says(parsed, model, http_response, **_):
    """Every answer of the stand-in has the shape that botocore's model of the service says, and nothing else."""
    if http_response.status_code >= 300:
        return
    shape = model.output_shape
    plain = {name: value for name, value in parsed.items() if name not in ("ResponseMetadata", "Content")}
    assert set(plain) <= set(shape.members), (model.name, set(plain) - set(shape.members))
    assert not ParamValidator().validate(plain, shape).has_errors(), model.name
    if shape.serialization.get("payload") is None:
        told = set(json.loads(http_response.content))
        assert told <= set(shape.members), (model.name, told - set(shape.members))


@pytest.fixture
def hosted(service):
    client, appconfig, clock = service

    def make(growing=0, baking=0, patience_s=900):
        application = client.create_application(Name="routes")["Id"]
        profile = client.create_configuration_profile(
            ApplicationId=application, Name="flags", LocationUri="hosted", Type="AWS.Freeform"
        )["Id"]
        environment = client.create_environment(ApplicationId=application, Name="prod")["Id"]
        strategy = client.create_deployment_strategy(
            Name="steps",
            DeploymentDurationInMinutes=growing,
            GrowthFactor=50,
            FinalBakeTimeInMinutes=baking,
            ReplicateTo="NONE",
        )["Id"]
        spec = AppConfigSpec(
            application=application,
            environment=environment,
            profile=profile,
            strategy=strategy,
            patience_s=patience_s,
        )
        return Hosted(client, appconfig, clock, spec)

    return make


class TestAppConfigGateway(GatewayContract):
    @pytest.fixture
    def gateway(self, hosted):
        return hosted(growing=2, baking=1).gateway


def test_a_deployment_is_shown_from_its_bake_time_on_and_not_while_it_grows(hosted):
    one = hosted(growing=10, baking=20)
    began = one.clock.now()
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    assert 10 <= (one.clock.now() - began).total_seconds() < 12
    assert one.deployments() == [(1, "BAKING")]
    one.clock.sleep(20)
    assert one.deployments() == [(1, "COMPLETE")]


def test_a_binding_that_still_bakes_is_stopped_for_the_next_one(hosted):
    one = hosted(growing=1, baking=60)
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    one.gateway.publish(binding(2, {B: 100}), expected=1)
    assert one.deployments() == [(2, "BAKING"), (1, "ROLLED_BACK")]
    assert one.gateway.read(ROUTE) == binding(2, {B: 100})


def test_an_alarm_in_the_bake_time_lets_appconfig_go_back_and_that_is_drift(hosted, ws):
    one = hosted(growing=1, baking=60)
    apply(ws, one.gateway, {A: 100}, None)
    one.clock.sleep(100)
    apply(ws, one.gateway, {B: 100}, 1)
    one.service.ring(one.spec.application, one.spec.environment)
    assert one.gateway.read(ROUTE).weights == {A: 100}
    restored = reconcile(ws, one.gateway, ROUTE)
    assert (restored.done, restored.serves) == ("restored", one.gateway.read(ROUTE))


def test_a_deployment_that_is_rolled_back_while_it_grows_fails_the_generation(hosted, ws):
    one = hosted(growing=5)
    apply(ws, one.gateway, {A: 100}, None)
    gateway = one.gateway
    sleep = one.clock.sleep

    def ringing(seconds):
        sleep(seconds)
        one.service.ring(one.spec.application, one.spec.environment)

    one.clock.sleep = ringing
    try:
        with pytest.raises(RunFailed, match="ended deployment 2 of generation 2 as ROLLED_BACK"):
            apply(ws, gateway, {B: 100}, 1)
    finally:
        del one.clock.sleep
    assert current(ws, ROUTE) == one.gateway.read(ROUTE)


def test_a_deployment_that_does_not_end_is_stopped_and_the_same_call_goes_on_later(hosted, ws):
    slow = hosted(growing=100, patience_s=10)
    with pytest.raises(DependencyDown, match="within 10 s; stopped it"):
        apply(ws, slow.gateway, {A: 100}, None)
    assert slow.deployments() == [(1, "ROLLED_BACK")]
    assert slow.gateway.read(ROUTE) is None
    patient = AppConfigGateway(slow.client, slow.spec.model_copy(update={"patience_s": 200}), clock=slow.clock)
    assert apply(ws, patient, {A: 100}, None) == current(ws, ROUTE) == patient.read(ROUTE)


def test_a_change_that_was_cut_short_while_it_grew_is_waited_for(hosted):
    one = hosted(growing=5)

    class Killed(BaseException):
        pass

    def killed(_):
        raise Killed

    one.clock.sleep = killed
    try:
        with pytest.raises(Killed):
            one.gateway.publish(binding(1, {A: 100}), expected=None)
    finally:
        del one.clock.sleep
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    assert one.deployments() == [(1, "COMPLETE")]


def test_going_back_and_restoring_do_not_wait_for_the_strategy(hosted, ws):
    one = hosted(growing=20, baking=30)
    apply(ws, one.gateway, {A: 100}, None)
    apply(ws, one.gateway, {B: 100}, 1)
    one.clock.sleep(60)
    began = one.clock.now()
    back = rollback(ws, one.gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="worse")
    assert (one.clock.now() - began).total_seconds() == 0
    assert one.gateway.read(ROUTE) == back
    one.gateway.publish(binding(9, {C: 100}), expected=3, at_once=True)
    assert reconcile(ws, one.gateway, ROUTE).done == "restored"
    assert (one.clock.now() - began).total_seconds() == 0


def test_somebody_who_deploys_at_the_same_moment_is_not_overwritten(hosted):
    one = hosted()
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    gateway = one.gateway
    create = one.client.create_hosted_configuration_version

    class Racing:
        def __getattr__(self, name):
            return getattr(one.client, name)

        def create_hosted_configuration_version(self, **asked):
            create(**{**asked, "Content": write_document({"flags": {}})})
            return create(**asked)

    gateway._client = Racing()
    with pytest.raises(Conflict, match="changed by somebody else at the same moment"):
        gateway.publish(binding(2, {B: 100}), expected=1)
    assert one.gateway.read(ROUTE) == binding(1, {A: 100})


def test_flags_of_other_people_stay_and_what_is_no_flag_definition_is_named(hosted):
    one = hosted()
    place = {"ApplicationId": one.spec.application, "ConfigurationProfileId": one.spec.profile}

    def deployed(content, number):
        one.client.create_hosted_configuration_version(**place, Content=content, ContentType="application/json")
        one.client.start_deployment(
            ApplicationId=one.spec.application,
            EnvironmentId=one.spec.environment,
            DeploymentStrategyId=one.spec.strategy,
            ConfigurationProfileId=one.spec.profile,
            ConfigurationVersion=str(number),
        )

    deployed(json.dumps({"flags": {"dark-mode": {"state": "DISABLED"}}}).encode(), 1)
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    kept = one.client.get_hosted_configuration_version(**place, VersionNumber=2)["Content"].read()
    assert json.loads(kept)["flags"]["dark-mode"] == {"state": "DISABLED"}
    deployed(b"not json", 3)
    with pytest.raises(DependencyDown, match="is not JSON"):
        one.gateway.read(ROUTE)


def test_deployments_of_other_profiles_do_not_hide_what_serves(hosted):
    """More of them than one page holds: flags of the profile would be taken for none, and be lost."""
    one = hosted()
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    application = {"ApplicationId": one.spec.application}
    other = one.client.create_configuration_profile(
        **application, Name="theirs", LocationUri="hosted", Type="AWS.Freeform"
    )["Id"]
    theirs = {**application, "ConfigurationProfileId": other}
    one.client.create_hosted_configuration_version(**theirs, Content=b"{}", ContentType="application/json")
    for _ in range(51):
        one.client.start_deployment(
            **theirs,
            EnvironmentId=one.spec.environment,
            DeploymentStrategyId=one.spec.strategy,
            ConfigurationVersion="1",
        )
    assert one.gateway.read(ROUTE) == binding(1, {A: 100})
    one.gateway.publish(binding(2, {B: 100}), expected=1)
    assert one.gateway.read(ROUTE) == binding(2, {B: 100})


def test_what_others_deploy_in_the_environment_is_waited_for_and_not_stopped(hosted):
    """Also where a route goes back: the change is not failed for good, and the same call goes on with it."""
    one = hosted(patience_s=2)
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    application = {"ApplicationId": one.spec.application}
    other = one.client.create_configuration_profile(
        **application, Name="theirs", LocationUri="hosted", Type="AWS.Freeform"
    )["Id"]
    theirs = {**application, "ConfigurationProfileId": other}
    one.client.create_hosted_configuration_version(**theirs, Content=b"{}", ContentType="application/json")
    slow = one.client.create_deployment_strategy(
        Name="slow", DeploymentDurationInMinutes=4, GrowthFactor=50, FinalBakeTimeInMinutes=0, ReplicateTo="NONE"
    )["Id"]
    one.client.start_deployment(
        **theirs, EnvironmentId=one.spec.environment, DeploymentStrategyId=slow, ConfigurationVersion="1"
    )
    with pytest.raises(DependencyDown, match="deployment 2 of others does not end"):
        one.gateway.publish(binding(2, {B: 100}), expected=1, at_once=True)
    one.gateway.publish(binding(2, {B: 100}), expected=1, at_once=True)
    assert one.gateway.read(ROUTE) == binding(2, {B: 100})
    assert one.deployments()[1] == (2, "COMPLETE")


def test_what_grows_of_another_route_is_waited_for_unless_a_route_goes_back(hosted):
    one = hosted(growing=2)
    one.gateway.publish(binding(1, {A: 100}), expected=None)
    lonely = variant("x264", route=OTHER_ROUTE)

    def grow(generation, expected):
        """The other route's, by somebody who does not wait for it here."""
        begun = one.gateway
        begun._wait = lambda *_: None
        begun.publish(Binding(OTHER_ROUTE, generation, {lonely: 100}, "test"), expected=expected)

    grow(1, None)
    one.gateway.publish(binding(2, {B: 100}), expected=1)
    assert one.gateway.read(OTHER_ROUTE).generation == 1
    grow(2, 1)
    began = one.clock.now()
    one.gateway.publish(binding(3, {A: 100}), expected=2, at_once=True)
    assert (one.clock.now() - began).total_seconds() == 0
    assert one.gateway.read(ROUTE) == binding(3, {A: 100})
    assert one.gateway.read(OTHER_ROUTE).generation == 1


def test_an_appconfig_out_of_reach_is_a_dependency_out_of_reach(hosted):
    one = hosted()
    away = boto3.client(
        "appconfig", endpoint_url="http://127.0.0.1:1", config=Config(retries={"max_attempts": 0}), **KEYS
    )
    with pytest.raises(DependencyDown, match="cannot be reached"):
        AppConfigGateway(away, one.spec).read(ROUTE)
    absent = one.spec.model_copy(update={"application": "absent"})
    with pytest.raises(DependencyDown, match="ResourceNotFoundException"):
        AppConfigGateway(one.client, absent).read(ROUTE)


def apply(ws, gateway, weights, expected):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, weights, expected, "test", f"{expected}"))


OTHER = variant("x264", route=OTHER_ROUTE)


@pytest.fixture
def alb(monkeypatch):
    """A client, rules for two routes, and target groups of their variants."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-lab")
    with mock_aws():
        ec2, client = (boto3.client(name, **KEYS) for name in ("ec2", "elbv2"))
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]][:2]
        balancer = client.create_load_balancer(Name="effects", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
        groups = {
            str(one): client.create_target_group(
                Name=f"g{number}", Protocol="HTTP", Port=80, VpcId=network, TargetType="ip"
            )["TargetGroups"][0]["TargetGroupArn"]
            for number, one in enumerate((A, B, C, OTHER))
        }
        for arn in groups.values():
            client.register_targets(TargetGroupArn=arn, Targets=[{"Id": "172.31.0.9"}])
        refuse = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
        listener = client.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[refuse])
        rules = {}
        for number, route in enumerate((ROUTE, OTHER_ROUTE), 1):
            rules[str(route)] = client.create_rule(
                ListenerArn=listener["Listeners"][0]["ListenerArn"],
                Conditions=[{"Field": "path-pattern", "Values": [f"/{number}"]}],
                Priority=number,
                Actions=[refuse],
            )["Rules"][0]["RuleArn"]
        yield client, AlbSpec(rules=rules, target_groups=groups)


def same(one, other):
    return one is not None and one.leads_as(other)


def test_a_load_balancer_shows_weights_and_generation_and_keeps_the_rules_conditions(alb):
    client, spec = alb
    gateway = AlbGateway(client, spec)
    assert gateway.read(ROUTE) is None
    gateway.publish(binding(3, {A: 95, B: 5}), expected=None)
    assert same(gateway.read(ROUTE), binding(3, {A: 95, B: 5}))
    gateway.publish(binding(4, {A: 0, B: 100}), expected=3)
    assert same(gateway.read(ROUTE), binding(4, {B: 100}))
    gateway.publish(binding(4, {B: 100}), expected=None)
    (rule,) = client.describe_rules(RuleArns=[spec.rules[str(ROUTE)]])["Rules"]
    assert [one["Type"] for one in rule["Actions"]] == ["forward"], "it ends in one action"
    assert rule["Conditions"][0]["Values"] == ["/1"]
    weights = {one["TargetGroupArn"]: one["Weight"] for one in rule["Actions"][-1]["ForwardConfig"]["TargetGroups"]}
    assert weights == {spec.target_groups[str(A)]: 0, spec.target_groups[str(B)]: 100}
    assert gateway.read(OTHER_ROUTE) is None


def test_what_a_rule_does_before_it_forwards_stays_and_so_does_its_stickiness(alb):
    """A rule ends in one action only; the secret of its OIDC client is not described, and must not be lost."""
    client, spec = alb
    oidc = {"Issuer": "i", "AuthorizationEndpoint": "a", "TokenEndpoint": "t", "UserInfoEndpoint": "u", "ClientId": "c"}
    login = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": oidc}
    sticky = {"Enabled": True, "DurationSeconds": 60}
    group = {"TargetGroupArn": spec.target_groups[str(A)], "Weight": 1}
    forward = {"TargetGroups": [group], "TargetGroupStickinessConfig": sticky}
    asked = []

    class Balancer:
        def __getattr__(self, name):
            return getattr(client, name)

        def describe_rules(self, **_):
            return {"Rules": [{"Actions": [{"Type": "forward", "Order": 2, "ForwardConfig": forward}, login]}]}

        def modify_rule(self, **change):
            asked.append(change["Actions"])

    AlbGateway(Balancer(), spec).publish(binding(1, {B: 100}), expected=None)
    ((first, last),) = asked
    assert first == {**login, "AuthenticateOidcConfig": {**oidc, "UseExistingClientSecret": True}}
    assert (last["Type"], last["Order"], last["ForwardConfig"]["TargetGroupStickinessConfig"]) == ("forward", 2, sticky)
    assert last["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": spec.target_groups[str(B)], "Weight": 100}]


@pytest.mark.parametrize(("new", "expected"), [(4, 5), (5, 5), (6, 4), (6, None), (4, 4)])
def test_a_load_balancer_is_not_given_what_is_older_or_unexpected(alb, new, expected):
    gateway = AlbGateway(*alb)
    gateway.publish(binding(5, {A: 100}), expected=None)
    with pytest.raises(Conflict):
        gateway.publish(binding(new, {B: 100}), expected=expected)
    assert same(gateway.read(ROUTE), binding(5, {A: 100}))


def test_a_route_goes_over_a_load_balancer_and_back_and_a_change_by_hand_is_restored(alb, ws):
    client, spec = alb
    gateway = AlbGateway(client, spec)
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    back = rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="worse")
    assert same(gateway.read(ROUTE), back)
    assert reconcile(ws, gateway, ROUTE).done == "nothing"
    group = {"TargetGroupArn": spec.target_groups[str(C)], "Weight": 100}
    client.modify_rule(
        RuleArn=spec.rules[str(ROUTE)], Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": [group]}}]
    )
    assert reconcile(ws, gateway, ROUTE).done == "restored"
    assert same(gateway.read(ROUTE), current(ws, ROUTE))
    assert gateway.read(ROUTE).weights == {A: 100}


def test_what_a_load_balancer_cannot_show_is_named(alb):
    client, spec = alb
    without = AlbGateway(client, AlbSpec(rules={str(ROUTE): spec.rules[str(ROUTE)]}, target_groups={}))
    with pytest.raises(InputRefused, match="a route with a rule"):
        without.read(OTHER_ROUTE)
    with pytest.raises(InputRefused, match="variants with a target group: none"):
        without.publish(binding(1, {A: 100}), expected=None)
    AlbGateway(client, spec).publish(binding(1, {A: 100}), expected=None)
    with pytest.raises(ShowsNoBinding, match="shows no binding"):
        without.read(ROUTE)


def test_a_change_to_a_target_group_that_nobody_is_well_in_is_refused_and_going_back_is_not(alb, ws):
    client, spec = alb
    gateway = AlbGateway(client, spec)
    apply(ws, gateway, {A: 100}, None)
    client.deregister_targets(TargetGroupArn=spec.target_groups[str(B)], Targets=[{"Id": "172.31.0.9"}])
    with pytest.raises(GuardRefused, match="the target group of x265@lab-cpu has no targets") as refused:
        apply(ws, gateway, {B: 100}, 1)
    assert refused.value.code == "gateway_not_ready"
    apply(ws, gateway, {C: 100}, 1)
    client.deregister_targets(TargetGroupArn=spec.target_groups[str(A)], Targets=[{"Id": "172.31.0.9"}])
    assert rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="worse").weights == {A: 100}

    class Balancer:
        def describe_target_health(self, **_):
            return {"TargetHealthDescriptions": [{"TargetHealth": {"State": state}} for state in self.states]}

    gateway = AlbGateway(Balancer(), spec)
    for states, why in (
        (["unhealthy", "unhealthy", "draining"], "has no target that is well (1 draining, 2 unhealthy)"),
        (["unhealthy", "healthy"], ""),
        (["unused"], ""),
    ):
        Balancer.states = states
        assert gateway.unready(ROUTE, {A: 0, B: 100}).endswith(why) is True
        assert bool(gateway.unready(ROUTE, {A: 0, B: 100})) is bool(why)
    assert "no target group of vp9@lab-spot is named" in AlbGateway(
        Balancer(), spec.model_copy(update={"target_groups": {}})
    ).unready(ROUTE, {C: 100})
    many = {variant(f"w{n}"): 0 for n in range(6)}
    assert "among 5 variants at most, and these are 6" in gateway.unready(ROUTE, many)


def test_weights_set_by_hand_that_are_no_binding_are_drift_that_is_restored_and_stop_no_way_back(alb, ws):
    client, spec = alb
    gateway = AlbGateway(client, spec)
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    halves = [{"TargetGroupArn": spec.target_groups[str(one)], "Weight": 1} for one in (A, B)]
    by_hand = {"Type": "forward", "ForwardConfig": {"TargetGroups": halves}}
    client.modify_rule(RuleArn=spec.rules[str(ROUTE)], Actions=[by_hand])
    assert "shows no binding" in drift(ws, gateway, ROUTE).why
    assert reconcile(ws, gateway, ROUTE).done == "restored"
    client.modify_rule(RuleArn=spec.rules[str(ROUTE)], Actions=[by_hand])
    back = rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="worse")
    assert same(gateway.read(ROUTE), back)


def test_a_throttled_load_balancer_leaves_the_change_to_be_repeated(alb, ws):
    client, spec = alb
    apply(ws, AlbGateway(client, spec), {A: 100}, None)

    class Throttled:
        def __getattr__(self, name):
            return getattr(client, name)

        def modify_rule(self, **_):
            raise ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "ModifyRule")

    with pytest.raises(DependencyDown, match=r"did not do modify_rule: .*Rate exceeded"):
        apply(ws, AlbGateway(Throttled(), spec), {B: 100}, 1)
    assert current(ws, ROUTE).weights == {A: 100}
    assert apply(ws, AlbGateway(client, spec), {B: 100}, 1) == current(ws, ROUTE)


def test_a_load_balancer_out_of_reach_is_a_dependency_out_of_reach():
    away = boto3.client("elbv2", endpoint_url="http://127.0.0.1:1", config=Config(retries={"max_attempts": 0}), **KEYS)
    with pytest.raises(DependencyDown, match="did not do describe_tags"):
        AlbGateway(away, AlbSpec(rules={str(ROUTE): "arn"}, target_groups={})).read(ROUTE)


def test_a_gateway_is_read_from_a_file_and_is_of_one_kind(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    path = tmp_path / "gateway.toml"
    path.write_text(
        'region = "eu-west-1"\n[appconfig]\napplication = "a"\nenvironment = "e"\nprofile = "p"\nstrategy = "s"\n'
    )
    assert isinstance(read_gateway(path).build(), AppConfigGateway)
    path.write_text(f'region = "eu-west-1"\n[alb.rules]\n"{ROUTE}" = "arn"\n[alb.target_groups]\n"{A}" = "arn"\n')
    assert isinstance(read_gateway(path).build(), AlbGateway)
    for text, field in (("", "exactly one of"), ("path = 1", "gateway, path"), ("[", "TOML")):
        path.write_text(text)
        with pytest.raises(InputRefused, match=field):
            read_gateway(path)
    with pytest.raises(InputRefused):
        read_gateway(tmp_path / "absent.toml")
    assert GatewaySpec(path="flags.json").build().path.name == "flags.json"
    assert binding(1, {A: 100}).leads_as(Binding(ROUTE, 1, {A: 100, B: 0}, "another cause"))

"""Both gateways keep the contract; the flagd file is also what flagd itself reads."""

import fcntl
import json
import logging
import multiprocessing
import stat

import pytest

from pointsman.clock import ManualClock
from pointsman.errors import Conflict, DependencyDown
from pointsman.model import Binding
from pointsman.routing import BindingRequest, FlagdFileGateway, GatewaySpec, apply_binding, drift, reconcile, rollback
from pointsman.routing.gateways import ShowsNoBinding
from tests.routing.gateway_contract import GatewayContract, binding
from tests.routing.worlds import ROUTE, A, B, C, MemoryGateway


class TestMemoryGateway(GatewayContract):
    @pytest.fixture
    def gateway(self):
        return MemoryGateway()


class TestFlagdFileGateway(GatewayContract):
    @pytest.fixture
    def gateway(self, tmp_path):
        return FlagdFileGateway(tmp_path / "new folder" / "flags.json")


@pytest.fixture
def flags(tmp_path):
    return tmp_path / "flags.json"


def test_a_spec_builds_the_gateway_that_it_describes(flags):
    GatewaySpec(path=str(flags)).build().publish(binding(1, {A: 100}), expected=None)
    assert FlagdFileGateway(flags).read(ROUTE) == binding(1, {A: 100})


def test_flags_of_other_people_and_other_top_level_keys_stay_as_they_are(flags):
    theirs = {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on", "targeting": {"if": [1, "on"]}}
    flags.write_text(json.dumps({"$evaluators": {"x": {}}, "flags": {"dark-mode": theirs}, "metadata": {"team": "é"}}))
    gateway = FlagdFileGateway(flags)
    gateway.publish(binding(1, {A: 100}), expected=None)
    gateway.publish(binding(2, {A: 50, B: 50}), expected=1)
    document = json.loads(flags.read_text())
    assert document["flags"].pop(str(ROUTE))["metadata"]["generation"] == 2
    assert document == {"$evaluators": {"x": {}}, "flags": {"dark-mode": theirs}, "metadata": {"team": "é"}}


def test_the_file_is_readable_for_a_flagd_of_another_user_and_keeps_the_rights_it_had(flags):
    gateway = FlagdFileGateway(flags)
    gateway.publish(binding(1, {A: 100}), expected=None)
    assert stat.S_IMODE(flags.stat().st_mode) == 0o644
    flags.chmod(0o640)
    gateway.publish(binding(2, {B: 100}), expected=1)
    assert stat.S_IMODE(flags.stat().st_mode) == 0o640


def test_a_crash_while_writing_leaves_the_old_file_and_the_next_writer_succeeds(flags, monkeypatch):
    gateway = FlagdFileGateway(flags)
    gateway.publish(binding(1, {A: 100}), expected=None)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            gateway.publish(binding(2, {B: 100}), expected=1)
    assert gateway.read(ROUTE) == binding(1, {A: 100})
    gateway.publish(binding(2, {B: 100}), expected=1)
    assert gateway.read(ROUTE) == binding(2, {B: 100})
    assert sorted(path.name for path in flags.parent.iterdir()) == [".flags.json.lock", "flags.json"]


def good_flag(**changes):
    flag = {
        "state": "ENABLED",
        "variants": {"a": str(A), "b": str(B)},
        "defaultVariant": "a",
        "metadata": {"generation": 1, "cause": "by hand"},
    }
    return json.dumps({"flags": {str(ROUTE): {**flag, **changes}}})


BUCKET = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}


def test_a_flag_written_by_hand_is_read_with_all_traffic_on_its_default(flags):
    flags.write_text(good_flag())
    assert FlagdFileGateway(flags).read(ROUTE) == Binding(ROUTE, 1, {A: 100, B: 0}, "by hand")


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        '{"flags": []}',
        good_flag(state="DISABLED"),
        good_flag(metadata={"cause": "no generation"}),
        good_flag(metadata={"generation": 0, "cause": ""}),
        good_flag(variants={"a": "not a variant id"}),
        good_flag(defaultVariant="nobody"),
        good_flag(targeting={"if": [True, "a", "b"]}),
        good_flag(targeting={"fractional": [["a", 50], ["b", 50]]}),
        good_flag(targeting={"fractional": [BUCKET, ["a", 50], ["b"]]}),
        good_flag(targeting={"fractional": [BUCKET, ["a", 100]]}),
        good_flag(targeting={"fractional": [BUCKET, ["a", 60], ["b", 60]]}),
    ],
)
def test_a_file_that_shows_no_binding_is_named_and_left_as_it_is(flags, content):
    flags.write_text(content)
    gateway = FlagdFileGateway(flags)
    with pytest.raises(DependencyDown, match=str(flags)) as down:
        gateway.read(ROUTE)
    assert down.value.instruction
    with pytest.raises((DependencyDown, Conflict), match=str(flags)):
        gateway.publish(binding(2, {A: 100}), expected=1)
    assert flags.read_text() == content


def test_a_flag_of_the_route_that_is_no_binding_is_drift_that_is_restored_and_stops_no_way_back(ws, flags):
    gateway = FlagdFileGateway(flags)
    apply_binding(ws, gateway, BindingRequest(ROUTE, {A: 100}, None, "test", "1"))
    apply_binding(ws, gateway, BindingRequest(ROUTE, {B: 100}, 1, "test", "2"))

    def by_hand():
        document = json.loads(flags.read_text())
        document["flags"][str(ROUTE)]["state"] = "DISABLED"
        flags.write_text(json.dumps(document))

    by_hand()
    with pytest.raises(ShowsNoBinding):
        gateway.read(ROUTE)
    found = drift(ws, gateway, ROUTE)
    assert (found.shown, "the flag's state is 'DISABLED'" in found.why) == (None, True)
    assert reconcile(ws, gateway, ROUTE).done == "restored"
    assert drift(ws, gateway, ROUTE) is None
    by_hand()
    back = rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="worse")
    assert (back.weights, gateway.read(ROUTE)) == ({A: 100}, back)


def test_a_path_that_cannot_be_read_locked_or_written_is_a_dependency_out_of_reach(tmp_path):
    folder = tmp_path / "flags.json"
    folder.mkdir()
    with pytest.raises(DependencyDown, match="cannot be read"):
        FlagdFileGateway(folder).read(ROUTE)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DependencyDown, match="cannot be locked"):
        FlagdFileGateway(file / "flags.json").publish(binding(1, {A: 100}), expected=None)


def test_a_full_disk_is_a_dependency_out_of_reach_and_the_old_file_stays(flags, monkeypatch):
    gateway = FlagdFileGateway(flags)
    gateway.publish(binding(1, {A: 100}), expected=None)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DependencyDown, match="No space left"):
        gateway.publish(binding(2, {B: 100}), expected=1)
    assert gateway.read(ROUTE) == binding(1, {A: 100})


def test_a_writer_waits_for_another_and_gives_up_after_its_patience(flags):
    clock = ManualClock()
    gateway = FlagdFileGateway(flags, clock=clock, patience_s=2.0)
    with (flags.parent / ".flags.json.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DependencyDown, match="locked by another writer for 2 s"):
            gateway.publish(binding(1, {A: 100}), expected=None)
    assert 2.0 <= clock.monotonic() < 3.0
    gateway.publish(binding(1, {A: 100}), expected=None)


def _race(path, name, start, won):
    from tests.routing.worlds import variant

    gateway = FlagdFileGateway(path)
    start.wait()
    for generation in range(1, 21):
        try:
            gateway.publish(
                Binding(ROUTE, generation, {variant(name): 100}, name),
                expected=generation - 1 if generation > 1 else None,
            )
            won.put(generation)
        except Conflict:
            pass


def test_of_two_processes_that_publish_one_generation_exactly_one_wins(flags):
    context = multiprocessing.get_context("spawn")  # a fork would take over the threads of other tests
    start, won = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(flags, name, start, won)) for name in ("x264", "x265")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    generations = [won.get(timeout=5) for _ in range(20)]
    assert sorted(generations) == list(range(1, 21))
    assert won.empty()
    assert FlagdFileGateway(flags).read(ROUTE).generation == 20


@pytest.fixture
def resolver(flags):
    """The real OpenFeature flagd provider, reading our file."""
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    providers = []

    def resolve(keys):
        provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(flags), deadline_ms=100)
        providers.append(provider)
        provider.initialize(EvaluationContext())
        found = [
            provider.resolve_string_details(str(ROUTE), "nothing", EvaluationContext(targeting_key=key)) for key in keys
        ]
        assert all(details.error_code is None for details in found)
        return found

    yield resolve
    for provider in providers:
        provider.shutdown()


def test_flagd_itself_resolves_the_route_to_the_variant_and_tells_the_generation(flags, resolver):
    gateway = FlagdFileGateway(flags)
    gateway.publish(binding(1, {A: 100}), expected=None)
    (first,) = resolver(["job"])
    gateway.publish(binding(2, {A: 0, B: 100}), expected=1)
    (second,) = resolver(["job"])
    assert (first.value, first.flag_metadata["generation"]) == (str(A), 1)
    assert (second.value, second.flag_metadata["generation"]) == (str(B), 2)


def test_flagd_itself_splits_traffic_by_the_weights(flags, resolver, caplog):
    FlagdFileGateway(flags).publish(binding(1, {A: 80, B: 20, C: 0}), expected=None)
    with caplog.at_level(logging.ERROR):
        found = [details.value for details in resolver([f"job-{n}" for n in range(2000)])]
    assert not caplog.records
    assert set(found) == {str(A), str(B)}
    assert 320 <= found.count(str(B)) <= 480, "400 of 2,000 within 4.5 standard deviations"

"""A home in which a variant, an input set and a binding are registered, and nothing runs."""

from pointsman.benchmark import (
    InputFile,
    register_effect_revision,
    register_environment,
    register_input_set,
    register_variants,
)
from pointsman.ids import VariantId
from pointsman.model import Variant
from pointsman.routing import BindingRequest, GatewaySpec, apply_binding, gateway_of
from pointsman.settings import load_settings
from pointsman.workspace import Workspace

INCUMBENT = "er:postcard-1:wf:x264-medium-crf26:env:lab:stage:demo:provider:lab-cpu:exp:default"
OTHER = "er:postcard-1:wf:x265-fast-crf28:env:lab:stage:demo:provider:lab-cpu:exp:default"
ROUTE = "er:postcard-1:env:lab:stage:demo"


def registered(home):
    """The workspace. The picture of the input set is the smallest that ffmpeg reads."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    register_environment(ws, "lab", name="lab", kind="local")
    register_effect_revision(ws, "postcard-1", name="Postcard", media="video")
    register_variants(ws, [Variant(VariantId.parse(one), "lab", {"crf": 26}) for one in (INCUMBENT, OTHER)])
    picture = home / "inputs" / "picture.ppm"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"P6 2 2 255\n" + bytes(12))
    register_input_set(ws, "some-clips", [InputFile(picture, "one", "picture")])
    route_key = VariantId.parse(INCUMBENT).route_key
    apply_binding(
        ws,
        gateway_of(ws, route_key, None, lambda _: GatewaySpec(path=str(home / "routing" / "flags.json"))),
        BindingRequest(route_key, {VariantId.parse(INCUMBENT): 100}, None, "the first", "the first"),
    )
    return ws

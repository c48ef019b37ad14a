"""Which judge to use, as a request form has it, and how to build it from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pointsman.clock import Clock
from pointsman.errors import InputRefused
from pointsman.model import Missing, Number
from pointsman.quality.calls import SpendCap
from pointsman.quality.local import LocalJudge
from pointsman.quality.looking import Sound
from pointsman.quality.protocol import Judge
from pointsman.quality.rubric import load_rubric
from pointsman.quality.trust_policy import TrustPolicy
from pointsman.settings import Settings, load_credential


@dataclass(frozen=True, slots=True)
class ChosenJudge:
    """A judge, why it was chosen (a sentence to show), and its spending cap if it has one.

    `sees` are the data classes that it may be shown; None = all, because nothing leaves this machine.
    """

    judge: Judge
    reason: str
    cap: SpendCap | None
    trust: TrustPolicy
    sees: tuple[str, ...] | None = None
    compares: bool = False
    """Whether it holds outputs against the incumbent's, which then has to be known."""
    waits: bool = False
    """Whether it sends all it is given together and waits for the answers, so that it wants everything at once."""


class JudgeSpec(BaseModel):
    """Who judges the outputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[
        Literal["auto", "gemini", "local"],
        Field(
            description="auto: Gemini when GEMINI_API_KEY is set, else the local evaluator (VMAF against the source)"
        ),
    ] = "auto"
    rubric: Annotated[
        str, Field(description="For Gemini: a built-in rubric or the path of a TOML file", min_length=1, max_length=400)
    ] = "video-effect"
    model: Annotated[
        str | None,
        Field(description="For Gemini: the model; else POINTSMAN_GEMINI_MODEL", pattern=r"^[A-Za-z0-9._-]{1,100}$"),
    ] = None
    mode: Annotated[
        Literal["pointwise", "pairwise"],
        Field(description="For Gemini: rate each output alone, or compare it with the incumbent's in both orders"),
    ] = "pointwise"
    repeats: Annotated[
        int, Field(description="For Gemini: how often each output is judged; their mean counts", ge=1, le=9)
    ] = 1
    concurrency: Annotated[
        int, Field(description="For Gemini: calls at once; fewer while the API refuses some", ge=1, le=64)
    ] = 8
    video: Annotated[
        Literal["inline", "frames"],
        Field(description="For Gemini: clips as they are, or up to 16 pictures of each for models without video"),
    ] = "inline"
    sound: Annotated[
        Sound,
        Field(
            description="For the local evaluator: as_source: an output that lost the sound of its source, or whose "
            "sound is longer or shorter, scores 0; free: that is only noted"
        ),
    ] = "as_source"
    wait_hours: Annotated[
        int | None,
        Field(
            description="For Gemini: send the calls as batches, which cost less, and wait so many hours for each; what "
            "has no answer then is asked at once. Empty: all are asked at once",
            ge=1,
            le=48,
        ),
    ] = None
    max_spend_usd: Annotated[
        Decimal | None, Field(description="For Gemini: judging stops and falls back at this cost", gt=0, le=100_000)
    ] = None
    data_classes: Annotated[
        tuple[str, ...],
        Field(description="For Gemini: data classes of inputs that it may be shown, such as faces", max_length=50),
    ] = ()

    trust: Annotated[
        TrustPolicy, Field(description="What the judge has to be worth before its verdict may move traffic")
    ] = TrustPolicy()

    @model_validator(mode="after")
    def _pairs_are_asked_twice_anyway(self) -> JudgeSpec:
        if self.mode == "pairwise" and self.repeats != 1:
            raise ValueError("a pair is shown in both orders: repeats of a pairwise judge is 1")
        return self

    def at_once(self) -> JudgeSpec:
        """The same judge for what somebody waits for."""
        return self.model_copy(update={"wait_hours": None})

    def build(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        price: Callable[[str], Number] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> ChosenJudge:
        """The judge. `price` gives the USD of one unit of a sku, which a spending cap needs.

        `tell` is given a sentence now and then by a judge that makes people wait for hours.

        Raises `InputRefused` when Gemini is asked for without a key, and when a cap cannot be held because there is no
        price; nothing was sent then.
        """
        if self.kind == "local":
            return ChosenJudge(
                LocalJudge(clock=clock, sound=self.sound), "The local evaluator was asked for.", None, self.trust
            )
        key = load_credential("GEMINI_API_KEY", given=settings.gemini_api_key)
        if key is None:
            if self.kind == "auto":
                reason = "GEMINI_API_KEY is not set, so outputs are judged locally: VMAF against their sources."
                return ChosenJudge(LocalJudge(clock=clock, sound=self.sound), reason, None, self.trust)
            raise InputRefused(
                "GEMINI_API_KEY",
                None,
                "the key of the Gemini API",
                instruction="Set GEMINI_API_KEY, or choose the judge `auto` or `local`.",
            )
        # Takes two seconds to import, which only those should wait for who ask Gemini.
        from pointsman.quality.gemini import GeminiJudge

        judge = GeminiJudge(
            api_key=key,
            model=self.model or settings.gemini_model,
            rubric=load_rubric(self.rubric),
            base_url=settings.gemini_base_url,
            clock=clock,
            workers=self.concurrency,
            repeats=self.repeats,
            video=self.video,
            pairwise=self.mode == "pairwise",
            wait_s=3600.0 * (self.wait_hours or 0),
            tell=tell,
        )
        how = f", in batches that may take {self.wait_hours} hours" if self.wait_hours else ""
        return ChosenJudge(
            judge,
            f"Gemini ({judge.identity.model}) judges by the rubric {self.rubric}{how}.",
            self._cap(judge, price),
            self.trust,
            self.data_classes,
            compares=self.mode == "pairwise",
            waits=self.wait_hours is not None,
        )

    def _cap(self, judge: Judge, price: Callable[[str], Number] | None) -> SpendCap | None:
        if self.max_spend_usd is None:
            return None
        for sku in judge.billed_skus:
            known = price(sku) if price else Missing("no price book was given")
            if isinstance(known, Missing):
                raise InputRefused(
                    "max_spend_usd",
                    str(self.max_spend_usd),
                    f"no cap, or a model with known prices: {sku} has none ({known.reason})",
                )
        assert price is not None
        return SpendCap(self.max_spend_usd, price)

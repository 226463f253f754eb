"""Tool: on-target scores, side by side and never averaged."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from biotools.errors import ToolInputError

Context = Annotated[str, Field(pattern="^[ACGTacgt]{35}$")]


class GuideContext(BaseModel):
    """A guide's id and its 35 nt: 6 + 20 protospacer + 3 PAM + 6, or null at a record's end."""

    id: str
    context: Context | None


class OnTargetScores(BaseModel):
    """Null where a model is absent, the context is null, or the PAM is not NGG."""

    id: str
    rule_set_3: float | None
    crisprscan: float | None


class Model(BaseModel):
    """A scoring model and whether it could be used; `reason` says why not."""

    name: str
    version: str
    available: bool
    reason: str | None
    source: str


class OnTargetReport(BaseModel):
    """Scores in the order asked, and the models behind them."""

    scores: list[OnTargetScores]
    models: list[Model]


def score_on_target(
    guides: Annotated[list[GuideContext], Field(max_length=20000)],
    tracr: Literal["Hsu2013", "Chen2013"] = "Hsu2013",
) -> OnTargetReport:
    """Score guides with Rule Set 3 (sequence model) and CRISPRscan.

    Rule Set 3 is for U6-driven SpCas9 knockout; take tracr Chen2013 for a scaffold without T in
    its fifth position. CRISPRscan is for T7-made guides. Both are defined for NGG PAMs only.
    """
    from biotools.crispr.crisprscan import crisprscan

    if len({guide.id for guide in guides}) < len(guides):
        raise ToolInputError("invalid_argument", "Two guides have the same id.", "Number them.")
    usable = {
        guide.id: guide.context.upper()
        for guide in guides
        if guide.context is not None and guide.context[27:29].upper() == "GG"
    }
    scores, model = _rule_set_3(usable, tracr)
    return OnTargetReport(
        scores=[
            OnTargetScores(
                id=guide.id,
                rule_set_3=scores.get(guide.id),
                crisprscan=crisprscan(usable[guide.id]) if guide.id in usable else None,
            )
            for guide in guides
        ],
        models=[model, _CRISPRSCAN],
    )


_CRISPRSCAN = Model(
    name="CRISPRscan",
    version="2015",
    available=True,
    reason=None,
    source="Moreno-Mateos et al. 2015, doi:10.1038/nmeth.3543",
)


def _rule_set_3(
    contexts: dict[str, str], tracr: Literal["Hsu2013", "Chen2013"]
) -> tuple[dict[str, float], Model]:
    from biotools.crispr.rule_set_3 import VERSION, ModelMissingError, rule_set_3

    reason, scores = None, {}
    try:
        values = rule_set_3([text[2:32] for text in contexts.values()], tracr)
        scores = dict(zip(contexts, values, strict=True))
    except ModelMissingError as error:
        reason = str(error)
    model = Model(
        name="Rule Set 3 (sequence)",
        version=f"rs3 {VERSION}, tracr {tracr}",
        available=reason is None,
        reason=reason,
        source="DeWeirdt et al. 2022, doi:10.1038/s41467-022-33024-2",
    )
    return scores, model

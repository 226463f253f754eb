"""The task `crispr_knockout`: guides, oligos and primers that knock a gene out, checked."""

from app.agents.knockout.design import compute
from app.agents.knockout.evaluation import evaluate
from app.agents.knockout.inputs import KnockoutInput
from app.agents.knockout.preparation import plan, retrieve
from app.agents.knockout.report import VERSION, report
from app.agents.template import TaskTemplate
from app.billing import UsageRate

# A run makes some twenty calls; one whose first tries are refused, three times as many.
_RATES = (
    UsageRate("tool", "*", "calls", 1, 100_000, 17, 60),
    UsageRate("tool", "*", "bytes_out", 1_000_000, 200_000, 100_000, 2_000_000),
    UsageRate("sandbox", "*", "calls", 1, 50_000, 1, 3),
    UsageRate("sandbox", "*", "cpu_ms", 1000, 20_000, 0, 60_000),
)

CRISPR_KNOCKOUT = TaskTemplate(
    name="crispr_knockout",
    title="CRISPR knockout",
    description=(
        "Designs SpCas9 guides that knock out a gene: every guide of the coding sequence with "
        "scores and exact off-targets, oligos for the vector, validation primers, a map and an "
        "annotated record. All figures are recomputed by another road before anything is charged."
    ),
    version=VERSION,
    price_micro=5_000_000,
    input_model=KnockoutInput,
    policies=("specific",),
    plan=plan,
    retrieve=retrieve,
    compute=compute,
    evaluate=evaluate,
    report=report,
    usage_rates=_RATES,
)

"""What a researcher gives for a knockout."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Pam = Literal["NGG", "NAG", "NGA"]


def _file_id(value: str) -> str:
    return str(UUID(value))


Variant = Annotated[str, Field(pattern="^[1-9][0-9]{0,8}[ACGTacgt]{1,50}>[ACGTacgt]{1,50}$")]
FileId = Annotated[str, AfterValidator(_file_id), Field(json_schema_extra={"format": "file"})]


class KnockoutInput(BaseModel):
    """Input of `crispr_knockout`, version 1."""

    model_config = ConfigDict(extra="forbid", title="CRISPR knockout")

    record: FileId = Field(
        description="GenBank or EMBL record with the gene's CDS, or FASTA with `location`."
    )
    gene: str | None = Field(
        None, min_length=1, max_length=200, description="Gene as the record names it."
    )
    location: str | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="CDS in GenBank syntax, 1-based: join(101..250,400..620). Needed for FASTA.",
    )
    backgrounds: list[FileId] = Field(
        default_factory=list,
        max_length=8,
        description="Genomes searched for off-targets besides the record: FASTA, .gz or .2bit.",
    )
    pam: Literal["NGG"] = Field("NGG", description="PAM of the guides (SpCas9).")
    off_target_pams: list[Pam] = Field(
        ["NGG", "NAG", "NGA"], min_length=1, description="PAMs at which off-targets are counted."
    )
    max_mismatches: int = Field(4, ge=1, le=4, description="Off-targets up to so many mismatches.")
    vector: Literal["pX330", "lentiCRISPRv2"] = Field("pX330", description="Guide vector.")
    vector_file: FileId | None = Field(
        None, description="The whole plasmid; without it only its cloning cassette is checked."
    )
    guides: int = Field(4, ge=1, le=10, description="How many guides to choose.")
    window_min: float = Field(0.05, ge=0, lt=1, description="Earliest cut, as share of the CDS.")
    window_max: float = Field(0.65, gt=0, le=1, description="Latest cut, as share of the CDS.")
    tracr: Literal["Hsu2013", "Chen2013"] = Field(
        "Hsu2013", description="Scaffold for Rule Set 3; both vectors carry that of Hsu 2013."
    )
    variants: list[Variant] = Field(
        default_factory=list,
        max_length=1000,
        description="Known variants, in positions of the record from 1: 62205A>G.",
    )
    hdr: bool = Field(False, description="Also design a donor for repair by homology per guide.")

    @model_validator(mode="after")
    def _agree(self) -> "KnockoutInput":
        if "NGG" not in self.off_target_pams:
            raise ValueError("off_target_pams must include NGG, the PAM Cas9 cuts best")
        if self.window_min >= self.window_max:
            raise ValueError("window_min must be smaller than window_max")
        # A genome searched twice would count twice.
        once = dict.fromkeys(file for file in self.backgrounds if file != self.record)
        self.backgrounds = list(once)
        self.off_target_pams = list(dict.fromkeys(self.off_target_pams))
        return self

    @property
    def genomes(self) -> list[str]:
        """Every file searched for off-targets: the record first."""
        return [self.record, *self.backgrounds]


ENZYMES = {"pX330": "BbsI", "lentiCRISPRv2": "BsmBI"}
GC_MIN, GC_MAX = 0.30, 0.80

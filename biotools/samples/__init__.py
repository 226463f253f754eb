"""Real sequence records for tests and the demonstration; MANIFEST.json gives source and licence."""

from pathlib import Path

HBB_REGION = Path(__file__).with_name("human_HBB_region_U01317.gb")
HLA_REGION = Path(__file__).with_name("human_chr6p21_HLA_BA000025.gb.gz")

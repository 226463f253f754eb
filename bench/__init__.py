"""One file per performance claim, each measured against its peer in the same run."""

"""SpCas9 guides: enumeration, on-target scores, exact off-target search, outcome, map."""

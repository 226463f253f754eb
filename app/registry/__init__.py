"""The registry: which tools exist, what they cost, and which definition of each is approved."""

"""The science of the task `crispr_knockout`: input, ranking, checks and report.

Nothing here computes on sequences: that is the tools' work. What is here decides, and says why.
"""

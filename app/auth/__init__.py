"""Users, projects and API keys: who may act, and as whom."""

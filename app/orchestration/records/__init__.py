"""What users see of jobs: their rows, idempotency keys and traces."""

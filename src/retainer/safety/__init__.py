"""The guard and what it knows: policy, people and pairing, approvals, mandates, limits, redaction, the audit chain."""

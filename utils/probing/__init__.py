"""Probes with their controls, contrastive probes, and erasure of concepts."""

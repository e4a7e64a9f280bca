"""Inputs and the programs that label them: tensors in, tensors out, nothing of models."""

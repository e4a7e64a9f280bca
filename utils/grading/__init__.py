"""Grading: learners' notebooks and explanations in, a gradebook out.

A learner's code runs in a sandbox that holds nothing worth stealing; the checks run outside it, and
reach the learner's functions over a channel that carries data only. So an answer can be wrong, but
a result cannot be forged.
"""

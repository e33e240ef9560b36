"""Objective, schedule, Lightning module and checkpoints."""

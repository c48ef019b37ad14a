"""Puts flows on infrastructure."""

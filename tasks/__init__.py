"""Thin tasks: open what a Spec describes, call one engine function with ids, apply a failure policy, record."""

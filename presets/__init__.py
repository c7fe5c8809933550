"""Experiments and their ingredients as YAML. This module only makes the files findable when installed."""

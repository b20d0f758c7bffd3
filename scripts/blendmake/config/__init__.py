"""The config of a problem: everything a user decides about *what* is built.

The models here are the single source of defaults, of the JSON schema (config/schema.json) and of
config/README.md; a test keeps the three in step. One module per section.
"""

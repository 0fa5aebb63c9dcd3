"""The command line: noun then verb, tables for people and JSON for programs."""

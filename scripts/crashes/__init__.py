"""Behind scripts/chaos.py: runs that are killed, resumed as a user would, and held against whole ones."""

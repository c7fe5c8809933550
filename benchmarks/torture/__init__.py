"""Faults by the hundred: kills, power cuts, full disks, damaged files, hostile text, storms of keys, many runs."""

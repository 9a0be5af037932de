"""Blocking file system calls; decides nothing."""

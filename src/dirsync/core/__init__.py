"""Pure rules over plain values; nothing in here can reach a disk, a socket or a clock."""
